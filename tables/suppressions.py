"""suppressions: addresses that nothing is sent to, whoever has them, by a hash of the address."""

from msgspec import Struct

from app.domain.addresses import address_hash, parse_email, parse_phone
from schemas.commands import SuppressionAdd, SuppressionRemove
from schemas.decode import Invalid
from schemas.words import Channel
from tables.table import TableSpec


class Suppression(Struct, frozen=True, array_like=True, gc=False):
    reason: str | None
    since_ms: int


SUPPRESSIONS: TableSpec[Suppression] = TableSpec("suppressions", Suppression, kept=800)


def suppression_key(channel: Channel, address_hash: bytes) -> bytes:
    return channel.encode() + b"\0" + address_hash


def suppressed_hash(said: SuppressionAdd | SuppressionRemove) -> bytes:
    """The hash of the address that a command names, by itself or by its hash. Raises Invalid."""
    if said.address_hash is not None:
        try:
            return bytes.fromhex(said.address_hash)
        except ValueError as error:
            raise Invalid("is not in hex", "address_hash") from error
    written = said.address or ""
    if said.channel == "email":
        address = parse_email(written)
    elif said.channel == "sms":
        address = parse_phone(written)
    else:
        address = written
    if not address:
        raise Invalid(f"is not an address of the channel {said.channel}", "address")
    return address_hash(said.channel, address)
