"""Whatever happens in whatever order: every send ends once, and no provider takes one twice where it can be asked."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.sender.calls import Call, Result
from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from app.domain.outcome import CIRCUIT_OPEN, Outcome
from schemas.providers import ProviderPause
from schemas.sends import Withdraw
from schemas.words import ENDS
from tests.agents.stage import DAY, HOUR, MINUTE, Stage, a_catalog, a_send

#: What happens, and its details.
Step = tuple[Any, ...]

SENDS = 3
ATTEMPTS = 3

ANSWERS = {
    "ok": Outcome("ok", provider_message_id="m"),
    "retry": Outcome("retry", code="503"),
    "throttle": Outcome("throttle", retry_after_ms=1_000),
    "rests": Outcome("throttle", code=CIRCUIT_OPEN, retry_after_ms=2_000),
    "config": Outcome("config", code="20003"),
    "drop": Outcome("drop"),
    "bad_token": Outcome("bad_token"),
    "in_doubt": Outcome("in_doubt", doubt="timeout"),
}
COUNTED = ("ok", "retry", "drop", "bad_token", "in_doubt")

numbers = st.integers(1, SENDS)
answers = st.tuples(st.just("answer"), st.sampled_from([*ANSWERS, "not_made"]), st.booleans())
steps = st.lists(
    st.one_of(
        answers,
        answers,
        st.tuples(st.just("take"), numbers),
        st.tuples(st.just("wait"), st.sampled_from([100, 2_000, 30_000, 5 * MINUTE, 10 * HOUR])),
        st.tuples(st.just("crash"), st.booleans()),
        st.tuples(st.just("late"), st.booleans()),
        st.tuples(st.just("withdraw"), numbers, st.sampled_from(["cancelled", "suppressed"])),
        st.tuples(st.just("receipt"), numbers),
        st.tuples(st.just("prefer"), st.booleans()),
        st.tuples(
            st.just("give_up"),
        ),
        st.tuples(
            st.just("erase"),
        ),
        st.tuples(st.just("pause"), st.sets(st.sampled_from(("twilio", "vonage")))),
    ),
    max_size=30,
)


@dataclass
class Provider:
    """What the other side saw: messages that it took, whether or not anybody heard of it."""

    #: Whether it can be asked, and says the truth.
    honest: bool
    taken: Counter[bytes] = field(default_factory=Counter)
    counted: Counter[bytes] = field(default_factory=Counter)

    def answer(self, call: Call, word: str, took: bool) -> Result:
        if call.purpose == "ask":
            found = self.honest and self.taken[call.key] > 0
            return Result(call, ANSWERS["ok"] if found else None)
        if word == "not_made":
            return Result(call, None)
        if word == "ok" or (word == "in_doubt" and took):
            self.taken[call.key] += 1
        self.counted[call.key] += word in COUNTED
        return Result(call, ANSWERS[word])


class Play:
    """A stage, its provider, and what must never happen."""

    def __init__(self, category: str, *, honest: bool) -> None:
        self.changes = {"category": category, "event_type": "x", "priority": "normal"}
        policy = {"in_doubt": {"settle": "5m", "security": "resend", "default": "give_up"}}
        self.stage = Stage(
            SenderMachine(a_catalog(**policy), ChannelConfig("sms", {"twilio": 15_000, "vonage": 15_000}))
        )
        self.stage.command("profile.set", phone="+442071838750", phone_verified=True, timezone="Europe/London")
        self.provider = Provider(honest)
        self.lost: list[Call] = []
        self.took: set[int] = set()
        #: The calls that were under way when providers were paused last.
        self.begun: list[Call] = []

    def step(self, step: Step) -> None:
        match step:
            case ("take", number):
                self.took.add(number)
                self.stage.take(a_send(number, **self.changes))
            case ("answer", word, took) if self.stage.calls:
                call = self.stage.calls.pop(0)
                self.stage.settle(self.provider.answer(call, word, took))
            case ("wait", ms):
                self.wait_until(self.stage.now + ms)
            case ("crash", took):
                for call in self.stage.calls:
                    if call.purpose == "send":  # begun and taken, or just begun: nobody knows
                        self.lost.append(call)
                        self.provider.taken[call.key] += took
                        self.provider.counted[call.key] += 1
                self.stage.crash()
            case ("late", _) if self.lost:
                call = self.lost.pop(0)
                if self.provider.taken[call.key]:
                    self.stage.settle(Result(call, ANSWERS["ok"]))
            case ("withdraw", number, status):
                self.stage.take(Withdraw(send_id=a_send(number).send_id, user_id="u1", status=status))
            case ("receipt", number):
                send = a_send(number)
                if self.provider.taken[bytes.fromhex(send.send_id.replace("-", ""))]:
                    self.stage.receipt(send_id=send.send_id, status="delivered")
            case ("prefer", allowed):
                self.stage.command("preferences.set", preferences={"channels": {"sms": allowed}})
            case ("give_up",) if (due := self.stage.next_due()) is not None:
                self.wait_until(due)
                if self.stage.next_due() == due:
                    self.stage.give_up_one()
            case ("erase",):
                self.stage.command("user.erase")
            case ("pause", providers):
                self.pause(*providers)
        self.check()

    def pause(self, *providers: Any) -> None:
        self.begun = [*self.stage.calls]
        now = self.stage.now
        self.stage.machine.pauses = {
            name: ProviderPause(provider=name, paused=True, at=now, since=now, why="maintenance") for name in providers
        }

    def wait_until(self, end: int) -> None:
        """Time passes; no call outlasts its time limit."""
        while True:
            over = min((call.claimed_at + call.timeout_ms for call in self.stage.calls), default=end)
            due = self.stage.next_due()
            moment = min(over, end if due is None else due)
            if moment >= end:
                break
            self.stage.wait(max(0, moment - self.stage.now))
            if moment == over:
                self.step(("answer", "in_doubt", True))
        self.stage.now = max(self.stage.now, end)

    def check(self) -> None:
        """At every moment: one call at a time for a send, none for one that has ended, and none that was begun to a
        provider while it was paused."""
        for call in self.stage.calls:
            is_new = all(call is not before for before in self.begun)
            assert call.purpose == "ask" or call.provider not in self.stage.machine.pauses or not is_new
        under_way = Counter(call.key for call in self.stage.calls if call.purpose == "send")
        assert all(count == 1 for count in under_way.values())
        for key in under_way:
            row = self.stage.state.attempts.get(key)
            assert row is not None
            assert row.state == "calling" or row.state in ENDS  # an end by evidence may overtake the answer

    def finish(self) -> None:
        """Everything is answered, and what waits is waited for."""
        self.pause()
        for _ in range(200):
            while self.stage.calls:
                self.step(("answer", "ok", True))
            if self.stage.next_due() is None:
                return
            self.stage.wait_for_call()
        raise AssertionError("it never comes to rest")


def played(play: Play, script: list[Step]) -> Play:
    for step in script:
        play.step(step)
    play.finish()
    return play


def ends_of(play: Play, number: int) -> list[str]:
    return [status for status, _ in play.stage.story(number) if status in ENDS]


@settings(max_examples=300, deadline=None)
@given(steps, st.sampled_from(["orders", "security"]), st.booleans())
def test_every_send_ends_exactly_once_and_the_router_is_told_once(
    script: list[Step], category: str, honest: bool
) -> None:
    play = played(Play(category, honest=honest), script)

    for number in play.took:
        assert len(ends_of(play, number)) == 1, play.stage.story(number)
        results = [r.status for r in play.stage.results if r.send_id == a_send(number).send_id]
        reported = [status for status in results if status != "in_doubt"]  # (a doubt is reported before)
        assert reported == ends_of(play, number)
    assert play.stage.rows_of("schedule") == {}
    assert play.stage.rows_of("pauses") == {}


@settings(max_examples=300, deadline=None)
@given(steps, st.sampled_from(["orders", "security"]))
def test_no_provider_that_can_be_asked_takes_a_send_twice(script: list[Step], category: str) -> None:
    play = played(Play(category, honest=True), script)

    assert all(count <= 1 for count in play.provider.taken.values())


@settings(max_examples=300, deadline=None)
@given(steps, st.sampled_from(["orders", "security"]))
def test_without_evidence_only_a_resending_category_goes_out_again_and_once(script: list[Step], category: str) -> None:
    play = played(Play(category, honest=False), script)

    most = 2 if category == "security" else 1
    assert all(count <= most for count in play.provider.taken.values())


@settings(max_examples=300, deadline=None)
@given(steps, st.sampled_from(["orders", "security"]))
def test_attempts_count_what_the_contract_counts_and_stay_within_the_policy(script: list[Step], category: str) -> None:
    play = played(Play(category, honest=False), script)

    for number in play.took:
        key = bytes.fromhex(a_send(number).send_id.replace("-", ""))
        attempts = {e.attempt for e in play.stage.events if e.send_id == a_send(number).send_id and e.attempt}
        assert len(attempts) <= ATTEMPTS + 1
        assert attempts == set(range(1, len(attempts) + 1))
        assert play.provider.counted[key] <= ATTEMPTS + 1


@settings(max_examples=300, deadline=None)
@given(steps, st.booleans())
def test_what_a_provider_took_is_never_said_to_have_failed(script: list[Step], honest: bool) -> None:
    play = played(Play("orders", honest=honest), script)

    for number in play.took:
        key = bytes.fromhex(a_send(number).send_id.replace("-", ""))
        if play.provider.taken[key]:
            assert ends_of(play, number) in (["sent"], ["unknown"])


@settings(max_examples=100, deadline=None)
@given(steps)
def test_a_send_that_is_read_again_at_the_end_does_nothing(script: list[Step]) -> None:
    play = played(Play("orders", honest=True), script)
    before = len(play.stage.events)
    for number in play.took:
        play.stage.take(a_send(number, **play.changes))

    assert len(play.stage.events) == before
    assert play.stage.calls == []


@settings(max_examples=100, deadline=None)
@given(steps)
def test_no_two_events_share_an_id(script: list[Step]) -> None:
    play = played(Play("security", honest=False), script)
    ids = [event.event_id for event in play.stage.events]

    assert len(ids) == len(set(ids))


def test_the_play_reaches_what_it_is_meant_to_reach() -> None:
    play = played(
        Play("security", honest=False),
        [("take", 1), ("crash", True), ("wait", 30_000), ("wait", DAY)],
    )

    assert {"sending", "in_doubt"} <= {status for status, _ in play.stage.story(1)}
