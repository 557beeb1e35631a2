"""A send whose handling fails holds up nobody, and ends when it has failed for an hour."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

import agents.sender.dispatch
import agents.sender.withdraw
from agents.sender.calls import Result
from agents.sender.dispatch import DRAIN_MS
from app.domain.out import Out
from app.domain.outcome import Outcome
from app.streaming.process import Processor
from schemas.instants import rfc3339
from schemas.sends import Send, encode_send
from schemas.topics import COMMANDS, DEAD, send_topic
from tables.attempts import send_key
from tests.agents.dispatching import FewSlots, called, with_slots
from tests.agents.stage import HOUR, MINUTE, Stage, a_send
from tests.records import Record


class Decided:
    """A stage's machine behind the runner's guard. Every batch is one decision."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.counts: Counter[str] = Counter()
        self.processor = Processor(stage.machine, stage.rows, 0, self._count, lambda topic, code: self._count(code, 1))

    def _count(self, name: str, count: int) -> None:
        self.counts[name] += count

    def wait(self, ms: int) -> None:
        """Lets time pass; what falls due is woken at its time."""
        end = self.stage.now + ms
        while (due := self.stage.next_due()) is not None and due <= end:
            self.stage.now = max(self.stage.now, due)
            [(key, row)] = self.processor.due(self.stage.now, 1)
            self.do(partial(self.processor.wake, key, row, now=self.stage.now))
        self.stage.now = end

    def take(self, send: Send) -> None:
        topic, key = send_topic(send.channel, "normal"), send.user_id.encode()
        record = Record(topic, 0, send.accepted_at, self.stage.now, key, encode_send(send))
        self.do(lambda out: self.processor.handle(record, out, self.stage.now))

    def answer(self) -> None:
        call = self.stage.calls.pop(0)
        result = Result(call, Outcome("ok", provider_message_id="m"))
        self.do(lambda out: self.processor.settle(result, out, self.stage.now))

    def do(self, decide: Callable[[Out], None]) -> None:
        out = Out()
        with capture_logs():
            decide(out)
        for table, rows in self.processor.changes().items():
            self.stage.rows.write(table, rows)
        self.processor.stored()
        out.records = [record for record in out.records if record.topic != DEAD]
        self.stage._decided(out)
        self.stage.state = self.processor._state


def failing_at(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """These sends can't be composed, by a bug."""
    compose, sends = agents.sender.dispatch.compose_for, {a_send(number).send_id for number in numbers}

    def compose_for(context: Any, delivery: Any, reach: Any) -> Any:
        if delivery.send.send_id in sends:
            raise ZeroDivisionError
        return compose(context, delivery, reach)

    monkeypatch.setattr(agents.sender.dispatch, "compose_for", compose_for)


@pytest.mark.parametrize("waits_for", ["its line", "a slot", "the morning"])
@pytest.mark.parametrize("failing", [(2,), (2, 3), (2, 4)])
def test_a_send_that_fails_holds_up_nobody_and_ends_when_it_has_failed_for_an_hour(
    monkeypatch: pytest.MonkeyPatch, waits_for: str, failing: tuple[int, ...]
) -> None:
    slots = FewSlots(twilio=0 if waits_for == "a slot" else 1_000)
    stage = with_slots(slots, in_doubt={"default": "give_up"})
    if waits_for == "the morning":
        stage.now += 11 * HOUR
    decided = Decided(stage)
    users = ["u1"] * 6 if waits_for != "a slot" else ["u1", "u2", "u3", "u1", "u2", "u3"]
    for number, user in enumerate(users, 1):
        decided.take(a_send(number, user_id=user))
    failing_at(monkeypatch, *failing)
    slots.free["twilio"] = 1_000
    decided.wait(9 * HOUR if waits_for == "the morning" else DRAIN_MS)
    while stage.calls:
        decided.answer()
        decided.wait(DRAIN_MS)
    good = {number for number in range(1, 7) if number not in failing}
    assert {number for number in range(1, 7) if ("sent", None) in stage.story(number)} == good
    assert decided.counts["results_failed"] == decided.counts["internal"] == 0
    decided.wait(3 * HOUR)
    assert all(stage.story(number)[-1] == ("failed", "permanent") for number in failing)
    assert not stage.rows_of("pauses")


def test_a_send_that_failed_for_a_while_is_made_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = with_slots(FewSlots(twilio=1_000))
    decided = Decided(stage)
    decided.take(a_send(1))
    decided.take(a_send(2))
    with monkeypatch.context() as patched:
        failing_at(patched, 2)
        decided.answer()
        decided.wait(10 * MINUTE)
    assert stage.story(2)[-1] == ("queued", None) if stage.story(2) else True
    decided.wait(10 * MINUTE)
    decided.answer()
    assert stage.story(2)[-1] == ("sent", None)


def test_a_row_that_cannot_be_read_holds_up_nobody() -> None:
    stage = with_slots(FewSlots(twilio=1_000))
    decided = Decided(stage)
    for number in (1, 2, 3):
        decided.take(a_send(number))
    stage.rows.write("attempts", {send_key(a_send(2).send_id): b"\x01damaged"})
    decided.answer()
    assert called(stage) == [3]


def test_a_command_counts_though_a_send_of_the_user_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = with_slots(FewSlots(twilio=1_000))
    decided = Decided(stage)
    decided.take(a_send(1))
    decided.take(a_send(2))

    def look_at(context: Any, delivery: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(agents.sender.withdraw, "look_at", look_at)
    message = {"type": "profile.set", "id": "c", "at": rfc3339(stage.now), "user_id": "u1", "locale": "de"}
    record = Record(COMMANDS, 0, 10_000, stage.now, b"u1", msgspec.json.encode(message))
    decided.do(lambda out: decided.processor.handle(record, out, stage.now))
    assert decided.counts["internal"] == 0
    decided.answer()
    profile = decided.processor._state.knowledge.profile("u1")
    assert profile is not None
    assert profile.locale == "de"
    assert called(stage) == [2]
