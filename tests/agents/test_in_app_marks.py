"""Marks of all items: in force at once, written into the items slice by slice, each reported once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tables.inbox
from agents.inbox.machine import AT_ONCE, InAppMachine
from agents.shared import slices
from app.domain.ids import event_id
from app.domain.out import Out
from app.streaming.process import Processor
from schemas.commands import Mark
from schemas.instants import rfc3339
from schemas.requests import Content
from schemas.sends import Send, encode_send
from schemas.sizes import OUTCOME_BYTES
from schemas.topics import COMMANDS, DEAD, send_topic
from schemas.words import Status
from tables.inbox import KEPT_MS, MOST_ITEMS
from tests.agents.stage import NOON, Stage, a_catalog, a_send
from tests.records import Record

MARKS: tuple[Mark, ...] = ("seen", "read", "unread", "archived")
CAP, STEP = 6, 3
REPORTED: dict[Mark, tuple[Status, ...]] = {"seen": ("delivered", "seen"), "read": ("delivered", "opened", "read")}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of two items, and an inbox of a few."""
    monkeypatch.setattr(slices, "ROWS", 2)
    monkeypatch.setattr(slices, "_PAGE", 2)
    monkeypatch.setattr(tables.inbox, "MOST_ITEMS", CAP)
    monkeypatch.setattr(tables.inbox, "_TRIM_STEP", STEP)


# --- against the plain list that is marked at once ---


@dataclass
class Plain:
    """One item, marked at once."""

    send: Send
    arrived_at: int
    seen: bool = False
    read: bool = False
    archived: bool = False
    #: What was reported of it, with its cause and time.
    reported: dict[Status, tuple[str, int]] = field(default_factory=dict)

    def mark(self, mark: Mark, cause: str, now: int) -> None:
        self.seen = self.seen or mark != "unread"
        self.read = mark == "read" or (self.read and mark != "unread")
        self.archived = self.archived or mark == "archived"
        for status in REPORTED.get(mark, ()):
            self.reported.setdefault(status, (cause, now))

    @property
    def is_unread(self) -> bool:
        return not self.read and not self.archived

    @property
    def is_unseen(self) -> bool:
        return not self.seen and not self.archived

    def shown(self) -> tuple[str, bool, bool, bool]:
        return self.send.notification_id, self.seen, self.read, self.archived


class Both:
    """The machine beside the list that it is to show."""

    def __init__(self) -> None:
        self.stage = Stage(InAppMachine(a_catalog()))
        self.items: list[Plain] = []
        #: Those that left, and those that were erased.
        self.left: list[Plain] = []
        self.erased: list[Plain] = []
        self._commands = self._sends = 0
        self._command("profile.set", name="Ada")

    def play(self, step: tuple[Any, ...]) -> None:
        self.stage.now += 1
        match step:
            case ("add", key):
                self._add(key)
            case ("replay", place) if self.items:
                item = self.items[place % len(self.items)]
                self._take(item.send.notification_id, {item.send.notification_id}, replay_id="r")
            case ("mark", place, mark) if self.items:
                item = self.items[place % len(self.items)]
                cause = self._command("inbox.mark", notification_id=item.send.notification_id, **{"as": mark})
                item.mark(mark, cause, self.stage.now)
            case ("all", mark):
                cause = self._command("inbox.mark", all=True, **{"as": mark})
                for item in self.items:
                    item.mark(mark, cause, self.stage.now)
            case ("wake",):
                self.wake()
            case ("crash",):
                self.stage.crash()
            case ("age",):
                self.stage.now += KEPT_MS // 3
            case ("erase",):
                self._command("user.erase")
                assert self.stage.rows_of("inbox_counts") == self.stage.rows_of("schedule") == {}
                self._leave(lambda item: True, self.erased)
                self._command("profile.set", name="Ada")

    def wake(self) -> bool:
        due = self.stage.state.schedule.due(self.stage.now, 1)
        if due:
            self.stage.wake_one()
            if due[0][1].kind == "sweep":
                self._leave(lambda item: item.arrived_at + KEPT_MS <= self.stage.now)
        return bool(due)

    def check(self) -> None:
        unread, unseen = (sum(map(attribute, self.items)) for attribute in (_is_unread, _is_unseen))
        machine, state, now = self.stage.machine, self.stage.machine.open(self.stage.rows, 0), self.stage.now
        shown = machine.read("inbox", "u1", {}, state, now)
        only = machine.read("inbox", "u1", {"unread": "true"}, state, now)

        assert [_shown(item) for item in shown["notifications"]] == [item.shown() for item in self.items]
        assert [_shown(item) for item in only["notifications"]] == [i.shown() for i in self.items if i.is_unread]
        assert shown["unread_count"] == only["unread_count"] == unread
        assert machine.read("inbox_count", "u1", {}, state, now) == {"unread": unread, "unseen": unseen}
        # What was reported so far is reported rightly, and once.
        reported = self.reported()
        assert reported <= _events([*self.items, *self.left, *self.erased])
        assert reported >= _events(self.left)
        results = Counter((r.send_id, r.status) for r in self.stage.results if r.status in ("seen", "read"))
        assert results == Counter((e.send_id, e.status) for e in self.stage.events if e.status in ("seen", "read"))

    def reported(self) -> Counter[tuple[str, str, str]]:
        events = [e for e in self.stage.events if e.status in ("delivered", "seen", "opened", "read")]
        return Counter((e.event_id, e.status, e.occurred_at) for e in events)

    def _add(self, key: str | None) -> None:
        self._take(f"00000000-0000-4000-8000-{self._sends:012x}", set(), collapse_key=key)
        oldest = self.items[CAP:] if len(self.items) >= CAP + STEP else []
        self._leave(lambda item: item in oldest)

    def _take(self, notification_id: str, replaced: set[str], **changes: Any) -> None:
        self._sends += 1
        now, key = self.stage.now, changes.get("collapse_key")
        given = {"notification_id": notification_id, "expires_at": now + 1000, **changes}
        send = a_send(self._sends, channel="in_app", **given)
        self.stage.take(send)
        self._leave(lambda item: item.send.notification_id in replaced or _is_replaced(item, key))
        self.items.insert(0, Plain(send, now))

    def _leave(self, leaves: Callable[[Plain], bool], where: list[Plain] | None = None) -> None:
        (self.left if where is None else where).extend(item for item in self.items if leaves(item))
        self.items = [item for item in self.items if not leaves(item)]

    def _command(self, kind: str, **fields: Any) -> str:
        self._commands += 1
        name = f"c{self._commands}"
        message = {"type": kind, "id": name, "at": rfc3339(self.stage.now), "user_id": "u1", **fields}
        self.stage.read(COMMANDS, msgspec.json.encode(message))
        return name


def _is_unread(item: Plain) -> bool:
    return item.is_unread


def _is_unseen(item: Plain) -> bool:
    return item.is_unseen


def _is_replaced(item: Plain, key: str | None) -> bool:
    return key is not None and item.is_unread and item.send.collapse_key == key


def _shown(item: dict[str, Any]) -> tuple[Any, ...]:
    return item["id"], item["seen"], item["read"], item["archived"]


def _events(items: list[Plain]) -> Counter[tuple[str, str, str]]:
    return Counter(
        (event_id(item.send.send_id, status, None, cause), status, rfc3339(at))
        for item in items
        for status, (cause, at) in item.reported.items()
    )


marks = st.sampled_from((*MARKS, "read", "unread"))
places = st.integers(0, CAP + STEP)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("all"), marks),
        st.tuples(st.just("mark"), places, marks),
        st.sampled_from((("add", None), ("add", "k"), ("wake",))),
        st.one_of(st.tuples(st.just("replay"), places), st.sampled_from((("crash",), ("age",), ("erase",)))),
    ),
    max_size=40,
)


@pytest.mark.usefixtures("small")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from((0, 3, 5, CAP + STEP - 1)), steps)
def test_marks_in_slices_are_like_marks_at_once_whatever_comes_between(many: int, script: list[Any]) -> None:
    both = Both()
    for step in [*(("add", None),) * many, *script]:
        both.play(step)
        both.check()
    while both.wake():
        both.check()

    assert both.reported() >= _events(both.items)
    count = both.stage.state.inbox.count("u1")
    assert count.marking is None
    assert count.total == len(both.items)
    assert count.archived == sum(item.archived for item in both.items)


def an_inbox(many: int) -> Both:
    both = Both()
    for _ in range(many):
        both.play(("add", None))
    return both


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_of_all_is_read_at_once_and_written_in_slices(mark: Mark) -> None:
    both = an_inbox(7)
    if mark == "unread":
        for place in range(7):
            both.play(("mark", place, "read"))
    both.play(("all", mark))
    both.check()
    slices = 0
    while both.wake():
        both.check()
        slices += 1

    assert slices == 3
    assert not both.stage.rows_of("schedule").keys() - {key for key, due in _due(both) if due.kind == "sweep"}


def _due(both: Both) -> list[tuple[bytes, Any]]:
    due: list[tuple[bytes, Any]] = both.stage.state.schedule.scan(b"", None)
    return due


@pytest.mark.usefixtures("small")
def test_a_later_single_mark_wins_over_a_pending_one_and_an_earlier_one_does_not() -> None:
    both = an_inbox(6)
    both.play(("mark", 4, "unread"))
    both.play(("all", "read"))
    both.play(("mark", 5, "unread"))
    while both.wake():
        both.check()

    assert [item.read for item in both.items] == [True] * 5 + [False]
    both.check()


@pytest.mark.usefixtures("small")
def test_what_comes_after_a_mark_of_all_is_left_alone() -> None:
    both = an_inbox(6)
    both.play(("all", "read"))
    both.play(("add", None))
    while both.wake():
        both.check()

    assert [item.read for item in both.items] == [False] + [True] * 6


@pytest.mark.usefixtures("small")
def test_no_more_marks_are_pending_than_two_rounds_have_slices() -> None:
    both = an_inbox(8)
    most = 0
    for number in range(40):
        both.play(("all", MARKS[number % 3]))
        marking = both.stage.state.inbox.count("u1").marking
        most = max(most, 0 if marking is None else len(marking.marks))
    both.check()

    assert 3 < most <= 2 * 5
    assert len([due for _, due in _due(both) if due.kind == "slice"]) <= 1


@pytest.mark.usefixtures("small")
def test_a_user_who_is_erased_before_the_last_slice_leaves_nothing_behind() -> None:
    both = an_inbox(6)
    both.play(("all", "read"))
    before = both.reported()
    both.play(("erase",))

    assert not both.wake()
    assert both.reported() == before
    assert not both.stage.rows_of("inbox")


# --- sizes ---


class Weighed:
    """A machine behind the runner's guard; every decision is a checkpoint of its own, and is weighed."""

    def __init__(self) -> None:
        self.stage = Stage(InAppMachine(a_catalog()))
        self.letters: Counter[str] = Counter()
        self.processor = Processor(self.stage.machine, self.stage.rows, 0, lambda *_: None, self._dead)
        self.statuses: Counter[str] = Counter()
        self.largest = 0
        self._offset = 0

    def take(self, topic: str, value: bytes) -> None:
        self._offset += 1
        record = Record(topic, 0, self._offset, self.stage.now, b"u1", value)
        self._do(lambda out: self.processor.handle(record, out, self.stage.now))

    def wake(self) -> bool:
        due = self.processor.due(self.stage.now, 1)
        for key, row in due:
            self._do(partial(self.processor.wake, key, row, now=self.stage.now))
        return bool(due)

    def wake_one(self, key: bytes, row: Any) -> None:
        self._do(lambda out: self.processor.wake(key, row, out, self.stage.now))

    def count(self) -> Any:
        state = self.stage.machine.open(self.stage.rows, 0)
        return self.stage.machine.read("inbox_count", "u1", {}, state, self.stage.now)

    def _do(self, decide: Callable[[Out], None]) -> None:
        out = Out()
        decide(out)
        self.largest = max(self.largest, out.size)
        for table, rows in self.processor.changes().items():
            self.stage.rows.write(table, rows)
        self.processor.stored()
        assert not [record for record in out.records if record.topic == DEAD]
        for record in out.records:
            if record.topic == "notify_lifecycle":
                self.statuses[msgspec.json.decode(record.value or b"")["status"]] += 1

    def _dead(self, topic: str, code: str) -> None:
        self.letters[code] += 1


@pytest.mark.parametrize(
    ("many", "body"), [(MOST_ITEMS + 99, "x" * 8_000), (7, "\u20ac" * 1_200_000)], ids=("8K", "3.6M")
)
def test_a_full_inbox_of_large_items_is_marked_by_one_command_without_a_letter(many: int, body: str) -> None:
    weighed = Weighed()
    for number in range(many):
        content = Content(title="t", body=body)
        value = encode_send(a_send(number, channel="in_app", content=content, template_id=None))
        weighed.take(send_topic("in_app", "normal"), value)
    assert weighed.count() == {"unread": many, "unseen": many}
    message = {"type": "inbox.mark", "id": "c1", "at": rfc3339(NOON), "user_id": "u1", "all": True, "as": "read"}
    weighed.take(COMMANDS, msgspec.json.encode(message))
    assert weighed.count() == {"unread": 0, "unseen": 0}
    done = 0
    while weighed.wake():
        done += 1

    assert weighed.letters == {}
    assert weighed.statuses["read"] == weighed.statuses["opened"] == weighed.statuses["delivered"] == many
    assert weighed.largest < slices.BYTES + len(body.encode()) + 500 * slices.ROWS < OUTCOME_BYTES
    assert done >= min(many * len(body.encode()) // slices.BYTES, many - 1)
    assert weighed.count() == {"unread": 0, "unseen": 0}


def _largest(number: int, **changes: Any) -> Send:
    """A send whose events are as long as they can be."""
    wide = "\U0001f600"
    named: dict[str, Any] = {"user_id": "u1", "source": wide * 100, "campaign_id": wide * 100, "category": wide * 100}
    named |= {"event_type": "e" * 100, "variant": wide * 100, "collapse_key": None, "locale": "en"}
    given = {"channel": "in_app", "content": Content(title="t", body="b"), "template_id": None}
    return a_send(number, **(named | given | changes))


def _marked_all(weighed: Weighed, *marks: Mark) -> None:
    for number, mark in enumerate(marks):
        message = {"type": "inbox.mark", "id": f"{number}" + "c" * 250, "at": rfc3339(NOON), "user_id": "u1"}
        weighed.take(COMMANDS, msgspec.json.encode({**message, "all": True, "as": mark}))


def test_a_full_inbox_expires_in_slices_though_every_mark_of_all_is_pending() -> None:
    weighed, many = Weighed(), MOST_ITEMS + 99
    for number in range(many):
        weighed.take(send_topic("in_app", "normal"), encode_send(_largest(number)))
    _marked_all(weighed, "seen", "unread", "read", "archived")
    weighed.largest = 0
    weighed.stage.now += KEPT_MS + 1
    # What the marks' own slices would have done by then falls due behind the sweep.
    sweeps = 0
    while due := weighed.processor.due(weighed.stage.now, 50):
        sweep = next((one for one in due if one[1].kind == "sweep"), due[0])
        weighed.wake_one(*sweep)
        sweeps += sweep[1].kind == "sweep"

    assert sweeps == -(-many // AT_ONCE)
    assert weighed.largest < OUTCOME_BYTES / 4
    assert weighed.statuses["read"] == weighed.statuses["seen"] == weighed.statuses["opened"] == many
    assert weighed.count() == {"unread": 0, "unseen": 0}
    assert not weighed.stage.rows_of("inbox")


def test_a_newer_item_replaces_very_many_of_its_collapse_key_in_bounded_work() -> None:
    weighed, many = Weighed(), 3 * AT_ONCE
    for number in range(many):
        weighed.take(send_topic("in_app", "normal"), encode_send(_largest(number, collapse_key="k")))
        _marked_all(weighed, "read")
        while weighed.wake():
            pass
    _marked_all(weighed, "unread", "seen", "archived", "unread", "read", "unread")
    weighed.largest = 0
    for number in range(many, many + 4):
        weighed.take(send_topic("in_app", "normal"), encode_send(_largest(number, collapse_key="k")))

    assert weighed.largest < OUTCOME_BYTES / 4
