"""What routers answered of candidates, as every gateway keeps it: from ``tocsin_replay_outcomes``, in a file.

The file is only a copy. Where it is lost, or was made by another version, it is read again from the topic.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from msgspec import Struct
from msgspec.structs import replace

from app.domain.erasure import user_hash
from app.kafka.consumers import LogConsumer
from app.ports import LogRecord
from app.replay.receipt import NOT_BEGUN, Counts
from app.store.erased import ErasedUsers
from schemas.decode import Invalid
from schemas.replays import ReplayOutcome, read_replay_outcome
from schemas.topics import REPLAY_OUTCOMES

log = structlog.get_logger(__name__)

_VERSION = 1
_TABLES = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE positions (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE candidates (
    replay_id TEXT, send_id TEXT, user_id TEXT NOT NULL, user_hash BLOB NOT NULL, notification_id TEXT NOT NULL,
    at INTEGER NOT NULL, judged TEXT NOT NULL, judged_reason TEXT, outcome TEXT NOT NULL, reason TEXT, new_send_id TEXT,
    PRIMARY KEY (replay_id, send_id)
) WITHOUT ROWID;
CREATE INDEX of_user ON candidates (user_hash);
CREATE TABLE counts (
    replay_id TEXT, judged TEXT, outcome TEXT, count INTEGER NOT NULL, PRIMARY KEY (replay_id, judged, outcome)
) WITHOUT ROWID;
"""
#: What is written anew is overwritten at once: nothing of an erased user stays in the file.
_OPENED = "PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; PRAGMA secure_delete = ON;"
_POLL_MS = 200
_BACKOFF_S = 1.0
_AT_ONCE = 500
_SWEEP_S = 20.0


class Candidate(Struct, frozen=True):
    """One candidate in the receipt's list. Of an erased user no reason is shown."""

    send_id: str
    new_send_id: str | None
    notification_id: str
    user_id: str
    outcome: str
    reason: str | None


class Change(NamedTuple):
    """The outcome of a candidate is another one than before."""

    replay_id: str
    outcome: str


class Ledger:
    """The file. Used by one thread at a time."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._db = _opened(file)

    def close(self) -> None:
        self._db.close()

    def positions(self) -> dict[int, int]:
        return dict(self._db.execute("SELECT partition, next FROM positions"))

    def take(self, outcomes: Iterable[ReplayOutcome], positions: Mapping[int, int]) -> list[Change]:
        """The next answers, in one step with how far they reach; what changed by them."""
        changes: list[Change] = []
        self._db.execute("BEGIN")
        try:
            for outcome in outcomes:
                self._take(outcome, changes)
            self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", positions.items())
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return changes

    def _take(self, said: ReplayOutcome, changes: list[Change]) -> None:
        key = (said.replay_id, said.send_id)
        known = self._db.execute(
            "SELECT judged, outcome FROM candidates WHERE replay_id = ? AND send_id = ?", key
        ).fetchone()
        if known is None:
            if not said.dry_run:
                log.warning("an outcome of what was never counted", replay_id=said.replay_id)
                return
            row = (
                *key,
                said.user_id,
                user_hash(said.user_id),
                said.notification_id,
                said.at,
                said.outcome,
                said.reason,
            )
            self._db.execute("INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)", (*row, NOT_BEGUN))
            self._count(said.replay_id, said.outcome, NOT_BEGUN, 1)
            return
        judged, outcome = known
        if said.dry_run:
            if outcome != NOT_BEGUN:
                return  # it was asked once more, and has begun since
            self._db.execute(
                "UPDATE candidates SET judged = ?, judged_reason = ?, at = ? WHERE replay_id = ? AND send_id = ?",
                (said.outcome, said.reason, said.at, *key),
            )
            self._move(said.replay_id, (judged, outcome), (said.outcome, outcome))
            return
        self._db.execute(
            "UPDATE candidates SET outcome = ?, reason = ?, at = ?, new_send_id = coalesce(?, new_send_id)"
            " WHERE replay_id = ? AND send_id = ?",
            (said.outcome, said.reason, said.at, said.new_send_id, *key),
        )
        if said.outcome != outcome:
            self._move(said.replay_id, (judged, outcome), (judged, said.outcome))
            changes.append(Change(said.replay_id, said.outcome))

    def _move(self, replay_id: str, old: tuple[str, str], new: tuple[str, str]) -> None:
        if old != new:
            self._count(replay_id, *old, -1)
            self._count(replay_id, *new, 1)

    def _count(self, replay_id: str, judged: str, outcome: str, more: int) -> None:
        self._db.execute(
            "INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (replay_id, judged, outcome, more),
        )

    def counts(self, replay_id: str) -> Counts:
        rows = self._db.execute("SELECT judged, outcome, count FROM counts WHERE replay_id = ? AND count", (replay_id,))
        return {(judged, outcome): count for judged, outcome, count in rows}

    def unanswered(self, replay_id: str, send_ids: Collection[str], *, dry_run: bool) -> set[str]:
        """Those of them that were not judged yet (``dry_run``), or of which nothing was begun or refused yet."""
        marks = ",".join("?" * len(send_ids))
        begun = "" if dry_run else f" AND outcome != '{NOT_BEGUN}'"
        rows = self._db.execute(
            f"SELECT send_id FROM candidates WHERE replay_id = ? AND send_id IN ({marks}){begun}",
            (replay_id, *send_ids),
        )
        return set(send_ids) - {row[0] for row in rows}

    def page(
        self, replay_id: str, *, only_counted: bool, outcome: str | None, after: str, limit: int
    ) -> list[tuple[Candidate, int]]:
        """The next candidates by send id, with when that was said (Unix ms). ``only_counted``: a dry run, whose
        candidates show what it says of them."""
        shown = "judged" if only_counted else "outcome"
        conditions, values = "", []
        if outcome is not None:
            conditions, values = f" AND ({shown} = ? OR outcome = ?)", [outcome, outcome]
        why = "judged_reason" if only_counted else "reason"
        rows = self._db.execute(
            f"SELECT send_id, new_send_id, notification_id, user_id, {shown}, {why}, at FROM candidates"
            f" WHERE replay_id = ? AND send_id > ?{conditions} ORDER BY send_id LIMIT ?",
            (replay_id, after, *values, limit),
        )
        return [(Candidate(*row[:6]), row[6]) for row in rows]

    def redact(self, hashed: bytes, before_ms: int) -> None:
        """What was said of an erased user loses its reasons."""
        self._db.execute(
            "UPDATE candidates SET reason = NULL, judged_reason = NULL WHERE user_hash = ? AND at < ?"
            " AND (reason IS NOT NULL OR judged_reason IS NOT NULL)",
            (hashed, before_ms),
        )

    def replays(self) -> set[str]:
        return {row[0] for row in self._db.execute("SELECT DISTINCT replay_id FROM counts")}

    def forget(self, replay_id: str) -> None:
        for table in ("candidates", "counts"):
            self._db.execute(f"DELETE FROM {table} WHERE replay_id = ?", (replay_id,))


def _opened(file: Path) -> sqlite3.Connection:
    """The file's database; made anew where it can't be read or is of another version."""
    for again in (True, False):
        db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        try:
            db.executescript(_OPENED)
            [version] = db.execute("PRAGMA user_version").fetchone()
            if version == _VERSION:
                return db
            if version == 0 and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                db.executescript(_TABLES)
                return db
        except sqlite3.DatabaseError:
            if not again:
                raise
        db.close()
        log.warning("answers to replays are read again from the log", file=str(file))
        file.unlink(missing_ok=True)
    raise AssertionError("a new file is of this version")


class LedgerFollower:
    """Keeps a ledger up to date, from where it stands. ``on_change``: called with what changed."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        ledger: Ledger,
        erased: ErasedUsers,
        partitions: int,
        on_change: Callable[[Sequence[Change]], None] = lambda _: None,
    ) -> None:
        self._options = client_options
        self._ledger = ledger
        self._erased = erased
        self._partitions = partitions
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._caught_up = asyncio.Event()
        self._redacted: dict[bytes, int | None] = {}
        #: Raised by one with everything that is taken.
        self.version = 0

    async def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name="follow answers to replays")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def caught_up(self, timeout_s: float) -> bool:
        """Whether all that was answered when this began has been taken."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._caught_up.wait()
        except TimeoutError:
            return False
        return True

    async def ask(self, question: Callable[[Ledger], Any]) -> Any:
        """The question's answer, worked out beside the loop."""
        async with self._lock:
            return await asyncio.to_thread(question, self._ledger)

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except KafkaError as error:
                log.warning("answers to replays are read again", error=type(error).__name__)
            except sqlite3.Error as error:
                log.error("answers to replays can't be kept", error=str(error))
            await asyncio.sleep(_BACKOFF_S)

    async def _read(self) -> None:
        consumer = LogConsumer(**self._options, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            places = [TopicPartition(REPLAY_OUTCOMES, number) for number in range(self._partitions)]
            consumer.assign(places)
            known = await self.ask(Ledger.positions)
            begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            for place in places:
                at = known.get(place.partition, 0)
                # Beyond the end: the topic was made anew.
                consumer.seek(place, at if begins[place] <= at <= ends[place] else begins[place])
            swept_at = 0.0
            loop = asyncio.get_running_loop()
            while True:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
                if fetched:
                    await self._take([record for records in fetched.values() for record in records], consumer)
                if not self._caught_up.is_set():
                    positions = [await consumer.position(place) >= ends[place] for place in places]
                    if all(positions):
                        self._caught_up.set()
                if loop.time() - swept_at > _SWEEP_S:
                    swept_at = loop.time()
                    await self._redact()
        finally:
            await consumer.stop()

    async def _take(self, records: Sequence[LogRecord], consumer: LogConsumer) -> None:
        outcomes = [self._shown(outcome) for record in records if (outcome := _outcome(record)) is not None]
        numbers = {record.partition for record in records}
        positions = {number: await consumer.position(TopicPartition(REPLAY_OUTCOMES, number)) for number in numbers}
        changes = await self.ask(lambda ledger: ledger.take(outcomes, positions))
        self.version += 1
        if changes:
            self._on_change(changes)

    def _shown(self, said: ReplayOutcome) -> ReplayOutcome:
        return replace(said, reason=None) if self._erased.hides(said.user_id, said.at) else said

    async def _redact(self) -> None:
        """Of who was erased, or began anew, since this looked last; what comes later is taken without reasons."""
        new = [(hashed, until) for hashed, until in self._erased.known() if self._redacted.get(hashed, _NEVER) != until]
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            await self.ask(partial(_redact, users=some))
            self._redacted.update(some)


def _redact(ledger: Ledger, users: Sequence[tuple[bytes, int | None]]) -> None:
    for hashed, until in users:
        ledger.redact(hashed, _EVER if until is None else until)


_NEVER: Final = -1
_EVER: Final = 2**62


def _outcome(record: LogRecord) -> ReplayOutcome | None:
    if record.value is None:
        return None
    try:
        return read_replay_outcome(record.value)
    except Invalid as invalid:
        log.warning("an answer to a replay can't be read", offset=record.offset, reason=str(invalid))
        return None
