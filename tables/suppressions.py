"""suppressions: addresses that nothing is sent to, whoever has them, by a keyed hash of the address
(docs/decisions/0017-the-suppression-list-is-keyed.md)."""

from collections.abc import Callable

from msgspec import Struct

from app.domain.addresses import earlier_hash, parse_email, parse_phone, parsed_hash, token_hashes
from app.domain.keyed import HashKeys
from app.ports import Rows
from schemas.broadcasts import AddressSuppressed
from schemas.commands import SuppressionAdd, SuppressionRemove
from schemas.decode import Invalid
from schemas.words import CHANNELS, Channel
from tables.table import Table, TableSpec

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


def listed(before: Suppression | None, message: AddressSuppressed) -> Suppression | None:
    """The row after a broadcast; None: it stays. Broadcasts and commands lie on two topics, so that either may be read
    first: of a broadcast and a removal the one that was written later holds."""
    if before is not None and (before.removed or before.reported) and before.since_ms >= message.at:
        return None
    return Suppression(message.reason, message.at, reported=True)


def unlisted(before: Suppression | None, recorded_ms: int) -> Suppression | None:
    """The row after a removal that was written at ``recorded_ms`` (Unix ms); None: it stays."""
    if before is not None and before.reported and before.since_ms > recorded_ms:
        return None
    return Suppression(None, recorded_ms, removed=True, until_ms=recorded_ms + REMEMBERED_MS)


_PARSERS: dict[Channel, Callable[[str], str | None]] = {"email": parse_email, "sms": parse_phone}


#: Rows of a secret's fingerprint, one for each that hashes were made with; channels' names begin with letters.
_FINGERPRINT = b"\0"
#: Between a channel and a hash: a plain one, as they were before, and a keyed one.
_PLAIN, _KEYED = b"\0", b"\1"


class SuppressionList:
    """One partition's list. Hashes are plain where they come in and go out, and keyed where they stay."""

    def __init__(self, rows: Rows, keys: HashKeys) -> None:
        """Raises UnknownKey where the list was made with a secret that isn't among the keys."""
        self.table: Table[Suppression] = Table(SUPPRESSIONS, rows)
        self._keys = keys
        #: Where rows with plain hashes may begin; None: there are none.
        self._plain_from: bytes | None = b""
        for _, row in self.table.scan(_FINGERPRINT, b"\1"):
            keys.check(row.reason or "")

    def get(self, channel: Channel, plain: bytes) -> Suppression | None:
        row = self.table.get(self._keyed(channel, plain))
        if row is None and (self._plain_from is not None or self._keys.former):
            earlier = (self.table.get(key) for key in self._earlier_keys(channel, plain))
            row = next((found for found in earlier if found is not None), None)
        return row

    def put(self, channel: Channel, plain: bytes, row: Suppression) -> None:
        mark = _FINGERPRINT + self._keys.fingerprint.encode()
        if self.table.get(mark) is None:
            self.table.put(mark, Suppression(self._keys.fingerprint, 0))
        self.table.put(self._keyed(channel, plain), row)
        for key in self._earlier_keys(channel, plain):
            self.table.delete(key)

    def rekey(self, limit: int = 20) -> None:
        """Hashes as many plain rows of the revision before with the key. Costs nothing when there are none."""
        if self._plain_from is None:
            return
        start, found = self._plain_from, False
        for channel in sorted(CHANNELS):
            first = channel.encode() + _PLAIN
            for key, row in self.table.scan(max(start, first), channel.encode() + _KEYED, limit):
                self.put(channel, key[len(first) :], row)
                self._plain_from, limit, found = key, limit - 1, True
        if found:
            return
        # What was changed may be undone, with its record or its batch: only what is stored tells that none are left.
        self._plain_from = None if not start and not self.table.is_changed else b""

    def _keyed(self, channel: Channel, plain: bytes) -> bytes:
        return channel.encode() + _KEYED + self._keys.hashed(plain)

    def _earlier_keys(self, channel: Channel, plain: bytes) -> list[bytes]:
        name = channel.encode()
        return [name + _PLAIN + plain, *(name + _KEYED + hashed for hashed in self._keys.formerly(plain))]


def suppressed_hashes(message: SuppressionAdd | SuppressionRemove) -> tuple[bytes, ...]:
    """The hashes of the address that a command names. Raises Invalid.

    Mostly there is one. A device's token is named without its platform, so it counts as whatever it can be; and an
    address that leaves the list leaves it under the form that it was put there in, too.
    """
    written = (message.address or "").strip()
    if message.channel == "push":
        hashes = token_hashes(written)
    else:
        parse = _PARSERS.get(message.channel, str)
        parsed = parse(written)
        hashes = hashes_of(message.channel, parsed) if parsed else ()
    if not hashes:
        raise Invalid(f"is not an address of the channel {message.channel}", "address")
    return hashes[:1] if isinstance(message, SuppressionAdd) and message.channel != "push" else hashes


def hashes_of(channel: Channel, parsed: str) -> tuple[bytes, ...]:
    """Under which the list may hold an address as ``addresses`` parses it: mostly one."""
    earlier = earlier_hash(channel, parsed)
    return (parsed_hash(channel, parsed),) if earlier is None else (parsed_hash(channel, parsed), earlier)
