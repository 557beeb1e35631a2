"""One policy's side of the comparison: the router's machine over one partition, its state in a temporary RocksDB."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import structlog

from agents.router.machine import RouterMachine
from app.domain.catalog import Catalog
from app.domain.out import Out
from app.domain.routing import Providers
from app.ports import LogRecord
from app.simulate.fates import Fate, Fates, after_end, after_event
from app.streaming.store import PartitionStore, block_cache
from app.virtual import VirtualPartition, WritableRows
from schemas.decode import Invalid
from schemas.lifecycle import LifecycleEvent, read_lifecycle
from schemas.results import SendResult, read_result
from schemas.topics import LIFECYCLE, RESULTS

log = structlog.get_logger(__name__)

_FATES = "fates"
_BATCH = 200
_CACHE_MB = 16
#: Ends after which no provider has accepted a send.
_UNSENT = frozenset(("failed", "suppressed", "expired", "cancelled"))

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Fate).decode


class TemporaryRows(WritableRows):
    """Rows in a RocksDB of a folder that nobody keeps."""

    def __init__(self, folder: Path) -> None:
        self._store = PartitionStore(folder, block_cache(_CACHE_MB))

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._store.get(table, key)

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        return self._store.scan(table, start, end)

    def write(self, table: str, changes: Mapping[bytes, bytes | None]) -> None:
        self._store.write({table: changes}, {})

    def close(self) -> None:
        self._store.close()


class Side:
    """What a policy makes of the partition's records. Nothing that the machine says goes anywhere but into fates.

    Commands and broadcasts that it writes are dropped: those of the recorded run lie among the records.
    """

    def __init__(
        self,
        catalog: Catalog,
        providers: Providers,
        partitions: int,
        partition: int,
        folder: Path,
        secret: bytes,
    ) -> None:
        self._rows = TemporaryRows(folder)
        machine = RouterMachine(catalog, partitions=partitions, providers=providers, secret=secret)
        self._virtual = VirtualPartition(machine, self._rows, partition, batch=_BATCH)
        self._changed: dict[bytes, Fate | None] = {}
        self._now = 0
        #: Records that were refused, by topic: a receipt of a send that isn't made here is one.
        self.refused: Counter[str] = Counter()

    def until(self, moment: int) -> None:
        """Lets time pass until then (Unix ms): waits end, digests close, each at its time."""
        while (due := self._virtual.next_due()) is not None and due <= moment:
            self._now = max(self._now, due)
            out = self._virtual.wake(self._now)
            assert out is not None
            self._note(out)
        self._now = max(self._now, moment)

    def take(self, record: LogRecord) -> None:
        """Takes a record at the time that it is."""
        try:
            self._note(self._virtual.handle(record, self._now))
        except Invalid:
            self.refused[record.topic] += 1
            return
        except Exception:  # as in the runner: bad input harms only itself
            log.exception("a record could not be handled", topic=record.topic, offset=record.offset)
            self.refused[record.topic] += 1
            return
        if record.topic == RESULTS and record.value is not None:
            self._end(read_result(record.value))

    def forget(self, user_id: str) -> None:
        """Drops what became of a user who was erased meanwhile."""
        start = _user_prefix(user_id)
        self._store_fates()
        self._rows.write(_FATES, dict.fromkeys((key for key, _ in self._rows.scan(_FATES, start, _after(start))), None))

    def fates(self) -> Iterator[tuple[str, Fates]]:
        """What became of everything, user by user, in the order of the users' ids' bytes."""
        self._store_fates()
        user, fates = "", Fates()
        for key, value in self._rows.scan(_FATES, b"", None):
            whose, notification_id, channel = key.decode().split("\0")
            if whose != user and fates:
                yield user, fates
                fates = {}
            user = whose
            fates[notification_id, channel] = _decode(value)  # type: ignore[index]
        if fates:
            yield user, fates

    def close(self) -> None:
        self._rows.close()

    def _note(self, out: Out) -> None:
        for record in out.records:
            if record.topic == LIFECYCLE and record.value is not None:
                self._take_event(read_lifecycle(record.value))
        if len(self._changed) > _BATCH:
            self._store_fates()

    def _take_event(self, event: LifecycleEvent) -> None:
        if event.notification_id is None:
            return  # of a device
        key = _key(event.user_id, event.notification, event.channel or "")
        before = self._fate(key)
        fate = after_event(before, event)
        if fate is None or fate is before:
            return
        self._changed[key] = fate
        of_all = _key(event.user_id, event.notification, "")
        if event.channel is not None and self._fate(of_all) is not None:
            self._changed[of_all] = None  # (there is no longer anything to say of all channels)

    def _end(self, result: SendResult) -> None:
        """A send that failed in the recorded run is taken to fail here too, where it is the same send."""
        if result.status not in _UNSENT:
            return
        key = _key(result.user_id, result.notification_id, result.channel)
        before = self._fate(key)
        if before is not None:
            self._changed[key] = after_end(before, result.send_id, result.status, result.reason)  # type: ignore[arg-type]

    def _fate(self, key: bytes) -> Fate | None:
        if key in self._changed:
            return self._changed[key]
        value = self._rows.get(_FATES, key)
        return None if value is None else _decode(value)

    def _store_fates(self) -> None:
        encoded = {key: None if fate is None else _encode(fate) for key, fate in self._changed.items()}
        self._rows.write(_FATES, encoded)
        self._changed.clear()


def _user_prefix(user_id: str) -> bytes:
    return user_id.encode() + b"\0"


def _after(prefix: bytes) -> bytes:
    return prefix[:-1] + b"\1"


def _key(user_id: str, notification_id: str, channel: str) -> bytes:
    return f"{user_id}\0{notification_id}\0{channel}".encode()
