"""Batches are decided again from a copy of the tables: the same bytes, unless the copy or the record is another."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from agents.router.machine import RouterMachine
from app.audit.decisions import DecisionTerms, StoredState, _Again, _NotAgain
from app.audit.findings import Finding
from app.audit.scratch import Scratch
from app.domain.bounds import DEFAULT_BOUNDS
from app.domain.catalog import Catalog
from app.domain.out import Out
from app.streaming.process import Processor
from app.streaming.recording import BatchRecorder
from app.streaming.store import PartitionStore, block_cache
from schemas.batches import Batch, Drawn, due_mark, read_batch
from schemas.instants import rfc3339
from schemas.topics import COMMANDS, EVENTS
from tests.agents.harness import HOUR, NOON, PROVIDERS, SECRET, catalog, template
from tests.records import Record

CATALOG = catalog()


def router(in_force: Catalog) -> RouterMachine:
    return RouterMachine(in_force, partitions=1, providers=PROVIDERS, secret=SECRET)


class Live:
    """A partition as its owner has it: what it draws is recorded."""

    def __init__(self, folder: Path) -> None:
        self.store = PartitionStore(folder, block_cache(1))
        self.log: dict[str, list[Record]] = {COMMANDS: [], EVENTS: []}
        self.batches: list[Batch] = []
        self._drawn = dict.fromkeys(self.log, 0)
        self._processor = Processor(router(CATALOG), self.store, 0, lambda *_: None, lambda *_: None)
        self._recorder = BatchRecorder(lambda: CATALOG.mark)

    def say(self, topic: str, user: str, moment: int, **fields: Any) -> None:
        value = json.dumps({"user_id": user, **fields}).encode()
        self.log[topic].append(Record(topic, 0, len(self.log[topic]), moment, user.encode(), value))

    def draw(self, now: int) -> None:
        out, drawn = Out(), []
        for topic, records in self.log.items():
            new = records[self._drawn[topic] :]
            for record in new:
                self._processor.handle(record, out, now)
            if new:
                drawn.append(Drawn(topic, len(new), new[0].offset, new[-1].offset))
            self._drawn[topic] = len(records)
        due = self._processor.due(now, 500)
        for key, row in due:
            self._processor.wake(key, row, out, now)
        if due:
            drawn.append(Drawn("", len(due), dues=b"".join(due_mark(key) for key, _ in due)))
        self._recorder.note(now, drawn)
        self.store.write(self._processor.changes(), {})
        self._processor.stored()
        produced = self._recorder.recorded(out.records, len(self.batches))
        self.batches.append(read_batch(produced[-1].value or b""))


class Lanes:
    def __init__(self, log: Mapping[str, list[Record]]) -> None:
        self.log = log

    async def take(self, drawn: Drawn) -> list[Record]:
        return self.log[drawn.topic][drawn.first : drawn.last + 1]


class Erased:
    """``spoken``: the command that says so."""

    def __init__(self, *users: str, spoken: Record | None = None) -> None:
        self.users = {user.encode() for user in users}
        self._spoken = spoken

    def hides(self, record: Record) -> bool:
        return record.key in self.users and record is not self._spoken

    def __contains__(self, user_id: object) -> bool:
        return str(user_id).encode() in self.users


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    live = Live(tmp_path / "live")
    for user in ("ann", "bob"):
        known = {"email": f"{user}@example.com", "email_verified": True, "timezone": "UTC"}
        live.say(COMMANDS, user, NOON, type="profile.set", id=f"of {user}", at=rfc3339(NOON), **known)
        live.say(EVENTS, user, NOON, event_type="order.shipped", idempotency_key="1")
        later = rfc3339(NOON + HOUR)
        live.say(EVENTS, user, NOON, event_type="mail.sent", idempotency_key="2", send_at=later)
    live.draw(NOON)
    live.draw(NOON + HOUR)
    live.say(EVENTS, "ann", NOON + HOUR, event_type="mail.sent", idempotency_key="3")
    live.draw(NOON + HOUR + 1)
    yield live
    live.store.close()


async def again(
    live: Live, tmp_path: Path, erased: Erased | None = None, skip: int = 0, known: Catalog = CATALOG
) -> Finding:
    copy = PartitionStore(tmp_path / "copy", block_cache(1))
    scratch, finding = Scratch(tmp_path / "scratch"), Finding("decisions")
    lanes: Any = Lanes(live.log)
    following: Any = SimpleNamespace(erasures=erased or Erased())
    terms = DecisionTerms(router, DEFAULT_BOUNDS, 1)
    deciding = _Again({}, terms, StoredState(0, copy, 0, NOON), {known.mark: known}, following, scratch, finding, lanes)
    try:
        for offset, batch in enumerate(live.batches):
            if offset >= skip:
                await deciding._decide(offset, batch)
    finally:
        scratch.close()
        copy.close()
    return finding


async def test_what_was_drawn_comes_to_the_same_bytes(live: Live, tmp_path: Path) -> None:
    found = await again(live, tmp_path)

    assert found.differences == []
    assert found.covered["batches"] == 3
    assert (found.covered["records decided"], found.covered["timers woken"]) == (7, 2)


async def test_another_state_comes_to_other_bytes_at_a_named_batch(live: Live, tmp_path: Path) -> None:
    """The copy lacks what the first batch changed, as a state that lost it does."""
    found = await again(live, tmp_path, skip=1)

    assert {each.position for each in found.differences} == {1, 2}
    assert any("isn't due" in each.what for each in found.differences)


async def test_another_record_comes_to_other_bytes(live: Live, tmp_path: Path) -> None:
    record = live.log[EVENTS][4]
    record.value = (record.value or b"").replace(b"mail.sent", b"order.shipped")
    [found] = (await again(live, tmp_path)).differences

    assert (found.position, found.key) == (2, "ann")
    assert "not to the same bytes" in found.what


async def test_batches_with_records_of_whom_is_erased_are_left_out_and_counted(live: Live, tmp_path: Path) -> None:
    """Those of others go on to be decided, from the same batch on which what is left out is no part."""
    found = await again(live, tmp_path, Erased("bob"))

    assert found.differences == []
    assert found.not_covered["batches with records of users who were erased since"] == 2
    assert found.covered["batches"] == 1


async def test_what_an_erasure_ends_needs_what_is_left_out(live: Live, tmp_path: Path) -> None:
    """What waited of the user isn't there, as what asked for it isn't used: the erasure's own batch differs by that."""
    later = rfc3339(NOON + 10 * HOUR)
    live.say(EVENTS, "bob", NOON + 2 * HOUR, event_type="mail.sent", idempotency_key="4", send_at=later)
    live.draw(NOON + 2 * HOUR)
    live.say(COMMANDS, "bob", NOON + 2 * HOUR, type="user.erase", id="erase bob", at=rfc3339(NOON + 2 * HOUR))
    live.draw(NOON + 2 * HOUR + 1)
    live.say(EVENTS, "ann", NOON + 2 * HOUR, event_type="mail.sent", idempotency_key="5")
    live.draw(NOON + 2 * HOUR + 2)
    found = await again(live, tmp_path, Erased("bob", spoken=live.log[COMMANDS][-1]))

    assert found.differences == []
    assert found.covered["batches"] == 2


async def test_under_a_catalog_that_is_no_longer_kept_nothing_is_decided(live: Live, tmp_path: Path) -> None:
    with pytest.raises(_NotAgain, match="policy or templates"):
        await again(live, tmp_path, known=catalog(version=2))


async def test_what_another_version_decided_is_not_decided_again(live: Live, tmp_path: Path) -> None:
    live.batches[1] = replace(live.batches[1], code=b"another")
    with pytest.raises(_NotAgain, match="another version"):
        await again(live, tmp_path)


def test_what_is_in_force_has_one_mark() -> None:
    others = catalog(version=2), catalog(templates=[template("note", version=2)]), catalog(templates=[template("new")])

    assert catalog().mark == CATALOG.mark
    assert len({CATALOG.mark, *(other.mark for other in others)}) == 4
