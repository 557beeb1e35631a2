"""suppressions: addresses that nothing is sent to, whoever has them, by a hash of the address."""

from collections.abc import Callable

from msgspec import Struct

from app.domain.addresses import earlier_hash, parse_email, parse_phone, parsed_hash, token_hashes
from schemas.commands import SuppressionAdd, SuppressionRemove
from schemas.decode import Invalid
from schemas.words import Channel
from tables.table import TableSpec


class Suppression(Struct, frozen=True, array_like=True, gc=False):
    reason: str | None
    since_ms: int


SUPPRESSIONS: TableSpec[Suppression] = TableSpec("suppressions", Suppression, kept=800)


_PARSERS: dict[Channel, Callable[[str], str | None]] = {"email": parse_email, "sms": parse_phone}


def suppression_key(channel: Channel, address_hash: bytes) -> bytes:
    return channel.encode() + b"\0" + address_hash


def suppressed_hashes(said: SuppressionAdd | SuppressionRemove) -> tuple[bytes, ...]:
    """The hashes of the address that a command names, by itself or by its hash. Raises Invalid.

    Mostly there is one. A device's token is named without its platform, so it counts as whatever it can be; and an
    address that leaves the list leaves it under the form that it was put there in, too.
    """
    if said.address_hash is not None:
        try:
            return (bytes.fromhex(said.address_hash),)
        except ValueError as error:
            raise Invalid("is not in hex", "address_hash") from error
    written = (said.address or "").strip()
    if said.channel == "push":
        hashes = token_hashes(written)
    else:
        parse = _PARSERS.get(said.channel, str)
        parsed = parse(written)
        hashes = hashes_of(said.channel, parsed) if parsed else ()
    if not hashes:
        raise Invalid(f"is not an address of the channel {said.channel}", "address")
    return hashes[:1] if isinstance(said, SuppressionAdd) and said.channel != "push" else hashes


def hashes_of(channel: Channel, parsed: str) -> tuple[bytes, ...]:
    """Under which the list may hold an address as ``addresses`` parses it: mostly one."""
    earlier = earlier_hash(channel, parsed)
    return (parsed_hash(channel, parsed),) if earlier is None else (parsed_hash(channel, parsed), earlier)
