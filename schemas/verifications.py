"""Verifications: what the gateway asks the router of a user for, on Tocsin's own topic: a code to an address, and
whether a code that the user gave is right.

No record holds a code or an address, only what the installation's secret makes of them (``app.domain.codes``).
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.decode import Invalid, Reader, UserId

#: The event type of the message that carries a code. Nobody can ask for it by a request.
VERIFY = "tocsin.verify"

#: What an address is verified by.
VerifiedChannel = Literal["email", "sms"]

_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$(?!\n)"
Uuid = Annotated[str, Meta(max_length=36, pattern=_UUID)]
#: HMAC-SHA256 in hex.
Mac = Annotated[str, Meta(max_length=64, pattern=r"^[0-9a-f]{64}$(?!\n)")]


class CodeRequest(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="code.request"):
    """Asks for a code. ``id`` names the code, and the notification that carries it. ``address``: which one the gateway
    saw, as ``codes.mark_of`` names it."""

    id: Uuid
    user_id: UserId
    channel: VerifiedChannel
    address: Mac


class CodeCheck(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="code.check"):
    """Asks whether a code is right. ``proof``: the code, as ``codes.proof_of`` names it for this check alone."""

    id: Uuid
    user_id: UserId
    channel: VerifiedChannel
    proof: Mac


Asked = CodeRequest | CodeCheck

_read: Reader[Asked] = Reader(Asked, own=True)
encode_verification = msgspec.json.Encoder().encode


def read_verification(value: bytes) -> Asked:
    """Raises Invalid with the field."""
    return _read(value)


def check_event_type(event_type: str) -> None:
    """Raises Invalid for what only Tocsin itself may say."""
    if event_type == VERIFY:
        raise Invalid("is for the codes that verify an address: POST /v1/users/{id}/profile/verify", "event_type")
