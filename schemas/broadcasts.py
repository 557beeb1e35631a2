"""Broadcasts: what the router learnt of tokens and addresses, for every role that keeps them, on Tocsin's own topic.

Hashes are in hex (``app.domain.addresses.address_hash``), times are Unix milliseconds.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.decode import Reader, UserId
from schemas.words import Channel

Hash = Annotated[str, Meta(max_length=128, pattern=r"^([0-9a-f]{2})+$(?!\n)")]


class TokenTaken(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="token.taken"):
    """A user has a device token: nobody else keeps it, wherever they are. Lies in every partition, with no key."""

    token_hash: Hash
    #: Who has it now, and since when.
    user_id: UserId
    since: int


class TokenDead(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="token.dead"):
    """A user's device token is dead, as a provider says (``invalid_token``), or nobody has registered it for long
    (``stale``): it goes, unless it was registered since. Keyed by the user."""

    token_hash: Hash
    user_id: UserId
    since: int
    reason: Literal["invalid_token", "stale"] = "invalid_token"


class AddressSuppressed(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="address.suppressed"):
    """Nothing is sent to an address any more, whoever has it. Lies in every partition, with no key."""

    channel: Channel
    address_hash: Hash
    reason: str
    at: int


Broadcast = TokenTaken | TokenDead | AddressSuppressed

read_broadcast: Reader[Broadcast] = Reader(Broadcast, own=True)
encode_broadcast = msgspec.json.Encoder().encode
