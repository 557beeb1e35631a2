"""suppressions: addresses that nothing is sent to, whoever has them, by a hash of the address."""

from collections.abc import Callable

from msgspec import Struct

from app.domain.addresses import earlier_hash, parse_email, parse_phone, parsed_hash, token_hashes
from schemas.broadcasts import AddressSuppressed
from schemas.commands import SuppressionAdd, SuppressionRemove
from schemas.decode import Invalid
from schemas.words import Channel
from tables.table import TableSpec

#: A removal is remembered for as long as a broadcast from before it may still be read.
REMEMBERED_MS = 30 * 24 * 3600 * 1000


class Suppression(Struct, frozen=True, array_like=True, gc=False):
    """``since_ms``: when it was listed or taken off, Unix ms. ``removed``: it was taken off. ``reported``: it was
    listed because of what came back of a send, not by a command."""

    reason: str | None
    since_ms: int
    removed: bool = False
    reported: bool = False
    until_ms: int | None = None


SUPPRESSIONS: TableSpec[Suppression] = TableSpec("suppressions", Suppression, kept=800, until="until_ms")


def listed(before: Suppression | None, said: AddressSuppressed) -> Suppression | None:
    """The row after a broadcast; None: it stays. Broadcasts and commands lie on two topics, so that either may be read
    first: of a broadcast and a removal the one that was written later holds."""
    if before is not None and (before.removed or before.reported) and before.since_ms >= said.at:
        return None
    return Suppression(said.reason, said.at, reported=True)


def unlisted(before: Suppression | None, recorded_ms: int) -> Suppression | None:
    """The row after a removal that was written at ``recorded_ms`` (Unix ms); None: it stays."""
    if before is not None and before.reported and before.since_ms > recorded_ms:
        return None
    return Suppression(None, recorded_ms, removed=True, until_ms=recorded_ms + REMEMBERED_MS)


_PARSERS: dict[Channel, Callable[[str], str | None]] = {"email": parse_email, "sms": parse_phone}


def suppression_key(channel: Channel, address_hash: bytes) -> bytes:
    return channel.encode() + b"\0" + address_hash


def suppressed_hashes(said: SuppressionAdd | SuppressionRemove) -> tuple[bytes, ...]:
    """The hashes of the address that a command names. Raises Invalid.

    Mostly there is one. A device's token is named without its platform, so it counts as whatever it can be; and an
    address that leaves the list leaves it under the form that it was put there in, too.
    """
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
