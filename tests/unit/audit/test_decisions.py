"""Batches are decided again from a copy of the tables: the same bytes, unless the copy or the record is another."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from agents.inbox.machine import InAppMachine
from agents.router.machine import RouterMachine
from app.audit.decisions import Again, DecisionTerms, StoredState, writers_of
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
from schemas.lifecycle import LifecycleEvent
from schemas.sends import encode_send
from schemas.topics import COMMANDS, EVENTS, send_topic
from schemas.words import CAME_BACK, CHANNELS, Status
from tests.agents.harness import HOUR, NOON, PROVIDERS, SECRET, catalog, template
from tests.agents.stage import a_send
from tests.records import Record

CATALOG = catalog()
INBOX_SENDS = send_topic("in_app", "normal")
MACHINES: Mapping[str, Callable[[Catalog], Any]] = {
    "router": lambda in_force: RouterMachine(in_force, partitions=1, providers=PROVIDERS, secret=SECRET),
    "in_app": lambda in_force: InAppMachine(in_force, partitions=1),
}


class Live:
    """A partition as its owner has it: what it draws is recorded."""

    def __init__(self, folder: Path, role: str, topics: Sequence[str]) -> None:
        self.role = role
        self.store = PartitionStore(folder, block_cache(1))
        self.log: dict[str, list[Record]] = {topic: [] for topic in topics}
        self.batches: list[Batch] = []
        self._drawn = dict.fromkeys(self.log, 0)
        self._processor = self._opened()
        self._recorder = BatchRecorder(role, lambda: CATALOG.mark)

    def _opened(self) -> Processor:
        return Processor(MACHINES[self.role](CATALOG), self.store, 0, lambda *_: None, lambda *_: None)

    def restart(self) -> None:
        """Its process ends, and another one opens the tables."""
        self._processor = self._opened()

    def say(self, topic: str, user: str, moment: int, **fields: Any) -> None:
        self.produce(topic, user, moment, json.dumps({"user_id": user, **fields}).encode())

    def command(self, kind: str, user: str, moment: int, **fields: Any) -> None:
        name = f"{kind} of {user} at {moment}"
        self.say(COMMANDS, user, moment, type=kind, id=name, at=rfc3339(moment), **fields)

    def produce(self, topic: str, user: str, moment: int, value: bytes) -> None:
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


@pytest.fixture(params=list(MACHINES))
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Live]:
    """Three batches of ann and bob, and the first has bob's last: seven records, and two timers in the second."""
    making = {"router": routers, "in_app": inboxes}[request.param]
    live = making(tmp_path / "live")
    yield live
    live.store.close()


def routers(folder: Path) -> Live:
    live = Live(folder, "router", (COMMANDS, EVENTS))
    for user in ("ann", "bob"):
        known = {"email": f"{user}@example.com", "email_verified": True, "timezone": "UTC"}
        live.command("profile.set", user, NOON, **known)
        live.say(EVENTS, user, NOON, event_type="order.shipped", idempotency_key="1")
        later = rfc3339(NOON + HOUR)
        live.say(EVENTS, user, NOON, event_type="mail.sent", idempotency_key="2", send_at=later)
    live.draw(NOON)
    live.draw(NOON + HOUR)
    live.say(EVENTS, "ann", NOON + HOUR, event_type="mail.sent", idempotency_key="3")
    live.draw(NOON + HOUR + 1)
    return live


def inboxes(folder: Path) -> Live:
    """An item comes, is put off for an hour and back then; and another comes."""
    live = Live(folder, "in_app", (INBOX_SENDS, COMMANDS))
    for number, user in enumerate(("ann", "bob"), 1):
        live.command("profile.set", user, NOON, name=user, timezone="UTC")
        send(live, user, number, NOON)
        name, until = a_send(number).notification_id, rfc3339(NOON + HOUR)
        live.command("inbox.snooze", user, NOON, notification_id=name, until=until)
    live.draw(NOON)
    live.draw(NOON + HOUR)
    send(live, "ann", 3, NOON + HOUR)
    live.draw(NOON + HOUR + 1)
    return live


def send(live: Live, user: str, number: int, moment: int) -> None:
    to_user = a_send(
        number, user_id=user, channel="in_app", template_id="note", accepted_at=moment, expires_at=moment + 48 * HOUR
    )
    live.produce(INBOX_SENDS, user, moment, encode_send(to_user))


def go_on(live: Live, user: str, moment: int, number: int) -> None:
    """Something that comes later."""
    if live.role == "in_app":
        send(live, user, number, moment)
    else:
        live.say(EVENTS, user, moment, event_type="mail.sent", idempotency_key=f"{number}")


async def again(
    live: Live, tmp_path: Path, erased: Erased | None = None, skip: int = 0, known: Catalog = CATALOG
) -> Finding:
    copy = PartitionStore(tmp_path / "copy", block_cache(1))
    scratch, finding = Scratch(tmp_path / "scratch"), Finding("decisions")
    lanes: Any = Lanes(live.log)
    following: Any = SimpleNamespace(erasures=erased or Erased())
    terms, state = DecisionTerms(MACHINES, DEFAULT_BOUNDS, 1), StoredState(live.role, 0, copy, 0, NOON)
    deciding = Again(terms, state, {known.mark: known}, following, scratch, finding, lanes)
    try:
        for offset, batch in enumerate(live.batches):
            if offset >= skip:
                await deciding.take(offset, batch)
    finally:
        scratch.close()
        copy.close()
    return finding


async def test_what_was_drawn_comes_to_the_same_bytes(live: Live, tmp_path: Path) -> None:
    found = await again(live, tmp_path)

    assert found.differences == []
    assert found.covered["batches"] == 3
    assert (found.covered["records decided"], found.covered["timers woken"]) == (7, 2)


async def test_what_falls_due_because_a_process_began_is_decided_again(live: Live, tmp_path: Path) -> None:
    """The second process opens tables that one of a revision before may have written; the third knows better."""
    for number in (7, 8, 9):
        live.restart()
        go_on(live, "bob", NOON + 2 * HOUR, number)
        live.draw(NOON + 2 * HOUR + number)
    found = await again(live, tmp_path)

    assert found.differences == []
    assert found.covered["timers woken"] == 2 + (live.role == "router")


async def test_another_state_comes_to_other_bytes_at_a_named_batch(live: Live, tmp_path: Path) -> None:
    """The copy lacks what the first batch changed, as a state that lost it does."""
    found = await again(live, tmp_path, skip=1)

    assert {each.position for each in found.differences} == {1, 2}
    assert any("isn't due" in each.what for each in found.differences)


async def test_another_record_comes_to_other_bytes(live: Live, tmp_path: Path) -> None:
    record = live.log[INBOX_SENDS if live.role == "in_app" else EVENTS][-1]
    record.value = (record.value or b"").replace(b"mail.sent", b"order.shipped").replace(b"orders", b"marketing")
    [found] = (await again(live, tmp_path)).differences

    assert (found.position, found.key) == (2, "ann")
    assert "not to the same bytes" in found.what


async def test_an_item_that_was_changed_by_hand_shows_when_it_is_marked(tmp_path: Path) -> None:
    """The owner's row says that it was read: it reports nothing, and what is decided again does."""
    live = inboxes(tmp_path / "live")
    [(key, row)] = [(key, row) for key, row in live.store.scan("inbox", b"ann", b"anz") if b"ann" in row][:1]
    table = live._processor.tables[[t.spec.name for t in live._processor.tables].index("inbox")]
    item = table.get(key)
    table.put(key, replace(item, seen=True, read=True, message=("delivered", "opened", "seen", "read")))
    live.store.write({"inbox": table.changes()}, {})
    table.clear()
    assert row != live.store.get("inbox", key)
    live.command("inbox.mark", "ann", NOON + 2 * HOUR, notification_id=item.notification_id, **{"as": "read"})
    live.draw(NOON + 2 * HOUR)

    [found] = (await again(live, tmp_path)).differences

    assert (found.position, found.key) == (3, "ann")
    assert "not to the same bytes" in found.what
    live.store.close()


async def test_batches_with_records_of_whom_is_erased_are_left_out_and_counted(live: Live, tmp_path: Path) -> None:
    """Those of others go on to be decided, from the same batch on which what is left out is no part."""
    found = await again(live, tmp_path, Erased("bob"))

    assert found.differences == []
    assert found.not_covered["batches with records of users who were erased since"] == 2
    assert found.covered["batches"] == 1


async def test_what_an_erasure_ends_needs_what_is_left_out(live: Live, tmp_path: Path) -> None:
    """What was there of the user isn't, as what asked for it isn't used: the erasure's own batch differs by that."""
    go_on(live, "bob", NOON + 2 * HOUR, 4)
    live.draw(NOON + 2 * HOUR)
    live.command("user.erase", "bob", NOON + 2 * HOUR)
    live.draw(NOON + 2 * HOUR + 1)
    go_on(live, "ann", NOON + 2 * HOUR, 5)
    live.draw(NOON + 2 * HOUR + 2)
    found = await again(live, tmp_path, Erased("bob", spoken=live.log[COMMANDS][-1]))

    assert found.differences == []
    assert found.covered["batches"] >= 2


async def test_under_a_catalog_that_is_no_longer_kept_nothing_is_decided(live: Live, tmp_path: Path) -> None:
    found = await again(live, tmp_path, known=catalog(version=2))

    assert "policy or templates" in next(iter(found.not_covered))
    assert found.covered["batches"] == 0


async def test_what_another_version_decided_is_not_decided_again(live: Live, tmp_path: Path) -> None:
    live.batches[1] = replace(live.batches[1], code=b"another")
    found = await again(live, tmp_path)

    assert "another version" in next(iter(found.not_covered))
    assert (found.differences, found.covered["batches"]) == ([], 1)


async def test_batches_of_another_role_are_passed_over(live: Live, tmp_path: Path) -> None:
    live.batches.insert(1, replace(live.batches[1], role="another", digest=b"of something else"))
    found = await again(live, tmp_path)

    assert (found.differences, found.covered["batches"]) == ([], 3)


def an_event(**fields: Any) -> LifecycleEvent:
    known = {"event_id": "e", "notification_id": "n", "user_id": "u", "event_type": "a.b", "category": "c"}
    return LifecycleEvent(**{**known, "priority": "normal", "source": "", "occurred_at": rfc3339(NOON), **fields})


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("status", get_args(Status))
def test_each_event_has_a_role_that_may_have_written_it(status: Any, channel: Any) -> None:
    writers = writers_of(an_event(status=status, channel=channel, send_id="s"))

    assert writers
    assert writers <= {"router", channel}
    assert writers_of(an_event(status=status, channel=channel)) == {"router"}
    if status in CAME_BACK and channel != "in_app":
        assert writers == {"router"}


def test_what_is_in_force_has_one_mark() -> None:
    others = catalog(version=2), catalog(templates=[template("note", version=2)]), catalog(templates=[template("new")])

    assert catalog().mark == CATALOG.mark
    assert len({CATALOG.mark, *(other.mark for other in others)}) == 4
