"""When a call is claimed: when it may begin, not while it would only wait. What is slow costs the others nothing."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

import agents.claiming
import agents.recalling
from agents.calls import Result
from agents.claiming import DRAIN_MS, SLOW_AT_ONCE, SLOW_MS
from agents.recalling import AT_ONCE
from agents.sender import SenderMachine
from agents.turn import Carrier
from app.domain.out import Out
from app.domain.outcome import LANE_FULL, LANE_RESTS, Outcome
from app.domain.silence import FIRST_REST_MS, LONGEST_REST_MS, SILENT_CALLS
from app.streaming.deciding import Decider
from schemas.instants import rfc3339
from schemas.sends import Withdraw, encode_send
from schemas.topics import COMMANDS, DEAD, send_topic
from schemas.words import Provider
from tables.attempts import send_key
from tests.agents.senders import PHONE, a_push, push, sms
from tests.agents.stage import DAY, HOUR, MINUTE, NOON, Record, Stage, a_catalog, a_send

TIMEOUT_MS = 15_000


class FewSlots:
    """So many slots of each provider, given back by hand; None: it rests."""

    def __init__(self, **free: int | None) -> None:
        self.free: dict[str, int | None] = dict(free)

    def take(self, provider: Provider, claim: tuple[bytes, int], *, urgent: bool) -> Outcome | None:
        free = self.free[provider]
        if free is None:
            return Outcome("throttle", code=LANE_RESTS, retry_after_ms=1_000)
        if not free:
            return Outcome("throttle", code=LANE_FULL)
        self.free[provider] = free - 1
        return None


def with_slots(slots: FewSlots, channel: Any = "sms", providers: tuple[Any, ...] = ("twilio",), **policy: Any) -> Stage:
    carrier = Carrier(channel, dict.fromkeys(providers, TIMEOUT_MS), slots=slots)
    stage = Stage(SenderMachine(a_catalog(**policy), carrier))
    for user in ("u1", "u2", "u3"):
        stage.command("profile.set", user, phone=PHONE[:-1] + user[1], phone_verified=True, timezone="Europe/London")
        stage.command("device.add", user, device_id="d1", platform="ios", token=user[1] * 64)
        stage.command("device.add", user, device_id="d2", platform="android", token="android-" + user)
    return stage


def called(stage: Stage) -> list[int]:
    """The numbers of the sends whose calls are under way."""
    return [int(call.handle.send_id[-12:-4], 16) for call in stage.calls]


def answer_questions(stage: Stage) -> None:
    """Nothing is found of what is in doubt."""
    for call in [call for call in stage.calls if call.purpose == "ask"]:
        stage.answer(None, call)


def let_pass(stage: Stage, ms: int) -> None:
    """Time passes, and questions are answered meanwhile."""
    end = stage.now + ms
    while stage.now < end:
        due = stage.next_due()
        stage.wait(max(0, min(end, end if due is None else due) - stage.now))
        answer_questions(stage)


def told(stage: Stage, *numbers: int) -> list[list[tuple[str, str | None]]]:
    return [stage.story(number) for number in numbers]


# --- one call of a user at a time ---


def test_what_waits_for_an_earlier_call_of_its_user_is_not_claimed():
    stage = sms()
    for number in (1, 2, 3):
        stage.take(a_send(number))

    assert called(stage) == [1]
    assert told(stage, 1, 2, 3) == [[("sending", None)], [], []]


def test_the_next_is_claimed_in_the_settle_of_the_one_before():
    stage = sms()
    for number in (3, 1, 2):
        stage.take(a_send(number))

    assert [int(name[-12:-4], 16) for name in stage.answer_all()] == [3, 1, 2]
    assert stage.rows_of("pauses") == {}
    assert [status for status, _ in stage.story(2)] == ["sending", "sent"]


@pytest.mark.parametrize("answer", ["ok", "drop", "bad_token", "retry", "throttle", "config", "in_doubt"])
def test_whatever_a_call_comes_to_the_next_has_its_turn(answer: str):
    stage = sms()
    stage.take(a_send(1))
    stage.take(a_send(2))
    stage.answer(answer)

    assert called(stage) == [2]


def test_users_do_not_wait_for_each_other_nor_devices_of_one_user():
    stage = with_slots(FewSlots(apns=10, fcm=10), "push", ("apns", "fcm"))
    stage.take(a_push(1))
    stage.take(a_push(2, user_id="u2"))
    stage.take(a_send(3, channel="push", device_id="d2"))

    assert called(stage) == [1, 2, 3]


def test_a_critical_call_waits_only_for_its_like():
    stage = sms()
    for number, priority in ((1, "normal"), (2, "critical"), (3, "critical"), (4, "normal")):
        stage.take(a_send(number, priority=priority))
    assert called(stage) == [1, 2]
    stage.answer("ok", stage.calls[1])

    assert called(stage) == [1, 3]


def test_bulk_goes_behind_what_a_user_is_sent_otherwise():
    stage = sms()
    for number, bulk in ((1, True), (2, True), (3, True), (4, False)):
        stage.take(a_send(number, bulk=bulk))

    assert [int(name[-12:-4], 16) for name in stage.answer_all()] == [1, 4, 2, 3]


def test_a_call_that_takes_long_no_longer_holds_up_its_user_and_a_few_may():
    stage = sms()
    for number in range(1, 10):
        stage.take(a_send(number))
    stage.wait(SLOW_MS - 1)
    assert called(stage) == [1]
    stage.wait(1)
    assert called(stage) == [1, 2]
    stage.wait(5 * SLOW_MS)

    assert called(stage) == list(range(1, 1 + SLOW_AT_ONCE))


def test_one_answer_in_eight_lost_does_not_keep_a_user_for_minutes():
    stage = sms()
    for number in range(1, 161):
        stage.take(a_send(number))
    begun = stage.now
    number = 0
    silent: list[Any] = []
    while stage.calls or silent:
        answer_questions(stage)
        for call in [call for call in stage.calls if call not in silent]:
            number += 1
            if number % 8 == 0:
                silent.append(call)
            else:
                stage.answer("ok", call)
        if [call for call in stage.calls if call not in silent]:
            continue
        over = min((call.claimed_at + TIMEOUT_MS for call in silent), default=stage.now)
        stage.wait(min(100, max(1, over - stage.now)))
        for call in [call for call in silent if call.claimed_at + TIMEOUT_MS <= stage.now]:
            silent.remove(call)
            stage.answer("in_doubt", call, doubt="timeout")

    assert number == 160
    assert stage.now - begun < 2 * MINUTE  # one after the other they took five


def test_after_a_crash_a_line_goes_on_without_the_call_that_was_lost():
    stage = sms()
    for number in (1, 2, 3):
        stage.take(a_send(number))
    stage.crash()
    stage.take(a_send(4))
    stage.wait(SLOW_MS)
    assert called(stage) == [2]
    stage.answer_all()

    assert told(stage, 2, 3, 4) == [[("sending", None), ("sent", None)]] * 3


def test_doubts_after_a_crash_are_at_most_the_calls_that_were_under_way():
    stage = sms()
    for user in ("u2", "u3"):
        stage.command("profile.set", user, phone=PHONE, phone_verified=True)
    for number in range(1, 91):
        stage.take(a_send(number, user_id=f"u{1 + number % 3}"))
    under_way = {call.handle.send_id for call in stage.calls}
    assert len(under_way) == 3
    stage.crash()
    for _ in range(60):
        let_pass(stage, SLOW_MS)
        stage.answer_all()

    assert sum(event.status == "sent" for event in stage.events) == 87
    assert {event.send_id for event in stage.events if event.status == "in_doubt"} == under_way


# --- the last look, while it waits ---


def test_what_waits_in_line_is_looked_at_when_its_turn_comes():
    stage = sms()
    for number in (1, 2, 3):
        stage.take(a_send(number, expires_at=NOON + (MINUTE if number == 2 else DAY)))
    stage.now += MINUTE
    stage.answer("ok")

    assert stage.story(2) == [("expired", None)]
    assert called(stage) == [3]


def test_what_waits_in_line_expires_in_time_though_nothing_moves():
    stage = sms()
    stage.take(a_send(1))
    stage.take(a_send(2, expires_at=NOON + SLOW_MS - 500))
    stage.wait(SLOW_MS - 500)

    assert stage.story(2) == [("expired", None)]


def test_a_command_reaches_what_waits_in_line_at_once():
    stage = sms()
    for number in (1, 2, 3):
        stage.take(a_send(number))
    stage.command("preferences.set", preferences={"channels": {"sms": False}})

    assert told(stage, 2, 3) == [[("suppressed", "opted_out")]] * 2


def test_what_waits_in_line_can_be_withdrawn_and_replaced():
    stage = sms()
    for number in (1, 2, 3, 4):
        stage.take(a_send(number, collapse_key="k" if number == 3 else None))
    stage.take(Withdraw(send_id=a_send(2).send_id, user_id="u1", status="cancelled"))
    stage.take(a_send(5, collapse_key="k"))
    assert told(stage, 2, 3) == [[("cancelled", None)], [("suppressed", "replaced")]]

    assert [int(name[-12:-4], 16) for name in stage.answer_all()] == [1, 4, 5]


# --- slots ---


def test_without_a_slot_nothing_is_claimed_and_users_get_the_slots_in_order():
    slots = FewSlots(twilio=1)
    stage = with_slots(slots)
    for number, user in enumerate(("u1", "u2", "u3"), 1):
        stage.take(a_send(number, user_id=user))
    assert told(stage, 1, 2, 3) == [[("sending", None)], [], []]

    order = []
    while stage.calls:
        order += called(stage)
        slots.free["twilio"] = 1
        stage.answer("ok")
    assert order == [1, 2, 3]
    assert stage.rows_of("pauses") == {}


def test_a_slot_that_another_partition_gave_back_is_found_by_looking():
    slots = FewSlots(twilio=0)
    stage = with_slots(slots)
    for number, user in enumerate(("u1", "u2", "u3"), 1):
        stage.take(a_send(number, user_id=user))
    slots.free["twilio"] = 2
    stage.wait(DRAIN_MS)

    assert called(stage) == [1, 2]


def test_the_urgent_get_a_slot_first_and_bulk_last():
    slots = FewSlots(twilio=0)
    stage = with_slots(slots)
    stage.take(a_send(1, user_id="u1", bulk=True))
    stage.take(a_send(2, user_id="u2"))
    stage.take(a_send(3, user_id="u3", priority="critical"))
    order = []
    for _ in range(3):
        slots.free["twilio"] = 1
        stage.wait(DRAIN_MS)
        order += called(stage)
        stage.calls.clear()

    assert order == [3, 2, 1]


def test_a_provider_without_slots_holds_up_no_other():
    stage = with_slots(FewSlots(apns=0, fcm=9), "push", ("apns", "fcm"))
    for number in range(1, 6):
        stage.take(a_push(number))
    stage.take(a_send(6, channel="push", device_id="d2"))

    assert called(stage) == [6]


def test_a_send_that_is_over_makes_room_for_the_next_that_waits_for_a_slot():
    slots = FewSlots(twilio=0)
    stage = with_slots(slots)
    for number in (1, 2):
        stage.take(a_send(number))
    stage.command("notification.cancel", notification_id=a_send(1).notification_id, source="shop")
    slots.free["twilio"] = 1
    stage.wait(SLOW_MS)

    assert stage.story(1) == [("cancelled", None)]
    assert called(stage) == [2]
    assert len(stage.rows_of("pauses")) == 0


def test_behind_an_open_breaker_a_send_is_held_without_being_claimed():
    stage = with_slots(FewSlots(twilio=None))
    stage.take(a_send())

    assert stage.story() == [("held", "provider_outage")]
    assert stage.events[0].attempt is None


def test_where_one_provider_rests_the_next_is_called_at_once():
    stage = with_slots(FewSlots(twilio=None, vonage=1), "sms", ("twilio", "vonage"))
    stage.take(a_send())

    assert [call.provider for call in stage.calls] == ["vonage"]
    assert stage.story() == [("sending", None)]


# --- addresses that don't answer ---


def silent(stage: Stage, call: Any) -> None:
    let_pass(stage, max(0, call.claimed_at + TIMEOUT_MS - stage.now))
    if call in stage.calls:
        stage.answer("in_doubt", call, doubt="timeout")
    answer_questions(stage)


def silence_u1(stage: Stage) -> int:
    """Has u1's address fall silent until it rests. Returns how many calls that took."""
    for number in range(1, 151):
        stage.take(a_send(number))
    calls = 0
    while stage.calls:
        silent(stage, stage.calls[0])
        calls += 1
    return calls


def test_an_address_that_never_answers_is_left_alone_after_a_few_calls():
    stage = sms()
    begun = stage.now

    assert silence_u1(stage) == SILENT_CALLS
    assert stage.now - begun < 30_000
    held = [event for event in stage.events if (event.status, event.reason) == ("held", "provider_outage")]
    assert [event.send_id for event in held] == [a_send(SILENT_CALLS + 1).send_id]
    assert [status for status, _ in stage.story(SILENT_CALLS + 2)] == []


def test_while_it_rests_its_neighbours_are_called_at_once():
    stage = with_slots(FewSlots(twilio=1_000))
    silence_u1(stage)
    stage.take(a_send(500, user_id="u2"))

    assert called(stage) == [500]


def test_an_address_that_answers_again_gets_all_that_waited():
    stage = sms()
    silence_u1(stage)
    let_pass(stage, FIRST_REST_MS)
    assert len(stage.calls) == 1  # the probe
    assert len(stage.answer_all()) == 150 - SILENT_CALLS


def test_a_silent_probe_doubles_the_rest_up_to_a_bound_and_uses_up_no_attempts_of_those_behind():
    stage = sms()
    silence_u1(stage)
    rests = []
    for _ in range(8):
        rested = stage.now
        while not stage.calls:
            let_pass(stage, 1_000)
        rests.append(stage.now - rested)
        silent(stage, stage.calls[0])

    assert rests[:3] == [FIRST_REST_MS, 2 * FIRST_REST_MS, 4 * FIRST_REST_MS]
    assert rests[-1] == LONGEST_REST_MS
    waiting = {a_send(number).send_id for number in range(100, 151)}
    assert not [event for event in stage.events if event.send_id in waiting and event.attempt]


def test_what_waits_for_a_silent_address_expires_in_its_time():
    stage = sms()
    silence_u1(stage)
    stage.take(a_send(200, expires_at=stage.now + 1_000))
    stage.wait(1_000)

    assert stage.story(200) == [("expired", None)]


def test_another_address_of_the_user_is_called_at_once():
    stage = sms()
    silence_u1(stage)
    stage.command("profile.set", phone="+442071838751", phone_verified=True)
    stage.wait(1)

    assert len(stage.calls) == 1
    assert stage.calls[0].to.value == "+442071838751"


def test_what_is_critical_is_tried_though_the_address_rests():
    stage = sms()
    silence_u1(stage)
    stage.take(a_send(200, priority="critical", category="security", event_type="login.otp"))

    assert called(stage) == [200]


def test_a_silent_call_says_nothing_where_a_later_one_was_answered():
    stage = sms()
    for number in range(1, 31):
        stage.take(a_send(number))
    for _ in range(SILENT_CALLS + 2):
        lost = stage.calls[0]
        stage.wait(SLOW_MS)
        stage.answer("ok", stage.calls[1])
        lost_only = [call for call in stage.calls if call is not lost]
        for call in lost_only:
            stage.answer("ok", call)
        stage.answer("in_doubt", lost, doubt="timeout")

    assert not [event for event in stage.events if event.status == "held"]


# --- very many at once ---


def many(stage: Stage, count: int) -> None:
    for number in range(1, count + 1):
        stage.take(a_send(number))


def test_a_command_looks_at_very_many_a_part_at_a_time_and_reaches_them_all():
    stage = sms()
    count = 3 * AT_ONCE
    many(stage, count)
    before = len(stage.events)
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    assert len(stage.events) - before <= AT_ONCE
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    assert len(stage.events) - before <= AT_ONCE  # no second pass beside the first
    parts = 0
    while (due := stage.next_due()) is not None and due <= stage.now:
        seen = len(stage.events)
        stage.wake_one()
        parts += 1
        assert len(stage.events) - seen <= AT_ONCE
    assert sum(event.status == "suppressed" for event in stage.events) == count - 1
    assert parts < 20


def test_what_a_part_has_not_reached_yet_is_stopped_by_its_own_last_look():
    stage = sms()
    many(stage, 2 * AT_ONCE)
    stage.command("user.erase")
    stage.answer("ok")

    assert stage.calls == []


def test_a_night_lets_go_of_very_many_a_part_at_a_time():
    stage = sms()
    stage.now = NOON + 11 * HOUR
    many(stage, 2 * AT_ONCE + 10)
    assert all(event.status == "held" for event in stage.events)
    order = []
    for _ in range(3 * AT_ONCE):
        stage.wait_for_call()
        order += [int(name[-12:-4], 16) for name in stage.answer_all()]
        if stage.next_due() is None:
            break

    assert order == list(range(1, 2 * AT_ONCE + 11))


def test_very_many_that_are_over_end_a_part_at_a_time():
    stage = sms()
    for number in range(1, 3 * AT_ONCE):
        stage.take(a_send(number, expires_at=NOON + 1_000_000))
    stage.now = NOON + 1_000_000
    before = len(stage.events)
    stage.answer("ok")
    assert len(stage.events) - before <= AT_ONCE + 1
    stage.wait(1)

    assert sum(event.status == "expired" for event in stage.events) == 3 * AT_ONCE - 2
    assert stage.rows_of("pauses") == {}


def test_a_push_waits_in_line_by_device():
    stage = push()
    stage.take(a_push(1))
    stage.take(a_push(2))
    stage.answer("ok")

    assert called(stage) == [2]


def test_what_is_remembered_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("agents.claiming._WATCHES", 5)
    stage = sms()
    for user in range(20):
        stage.command("profile.set", f"v{user}", phone=PHONE, phone_verified=True)
        stage.take(a_send(2 * user + 1, user_id=f"v{user}"))
        stage.take(a_send(2 * user + 2, user_id=f"v{user}"))
        assert len(stage.state.watches) <= 5

    assert len(stage.answer_all()) == 40
    assert stage.state.flights == {}


# --- a send that fails --------------------------------------------------------------------------------------------


class Decided:
    """A stage's machine behind the runner's guard. Every batch is one decision."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.counts: Counter[str] = Counter()
        self.decider = Decider(stage.machine, stage.rows, 0, self._count, lambda topic, code: self._count(code, 1))

    def _count(self, name: str, count: int) -> None:
        self.counts[name] += count

    def wait(self, ms: int) -> None:
        """Lets time pass; what falls due is woken at its time."""
        end = self.stage.now + ms
        while (due := self.stage.next_due()) is not None and due <= end:
            self.stage.now = max(self.stage.now, due)
            [(key, row)] = self.decider.due(self.stage.now, 1)
            self.do(lambda out, key=key, row=row: self.decider.wake(key, row, out, self.stage.now))
        self.stage.now = end

    def take(self, send: Any) -> None:
        record = Record(send_topic(send.channel, "normal"), encode_send(send), send.accepted_at, self.stage.now)
        record.key = send.user_id.encode()
        self.do(lambda out: self.decider.handle(record, out, self.stage.now))

    def answer(self) -> None:
        call = self.stage.calls.pop(0)
        result = Result(call, Outcome("ok", provider_message_id="m"))
        self.do(lambda out: self.decider.settle(result, out, self.stage.now))

    def do(self, decide: Any) -> None:
        out = Out()
        with capture_logs():
            decide(out)
        for table, rows in self.decider.changes().items():
            self.stage.rows.write(table, rows)
        self.decider.stored()
        out.records = [record for record in out.records if record.topic != DEAD]
        self.stage._decided(out)
        self.stage.state = self.decider._state


def failing_at(monkeypatch: Any, *numbers: int) -> None:
    """These sends can't be composed, by a bug."""
    compose, sends = agents.claiming.compose_for, {a_send(number).send_id for number in numbers}

    def compose_for(turn: Any, job: Any, reach: Any) -> Any:
        if job.send.send_id in sends:
            raise ZeroDivisionError
        return compose(turn, job, reach)

    monkeypatch.setattr(agents.claiming, "compose_for", compose_for)


@pytest.mark.parametrize("waits_for", ["its line", "a slot", "the morning"])
@pytest.mark.parametrize("failing", [(2,), (2, 3), (2, 4)])
def test_a_send_that_fails_holds_up_nobody_and_ends_when_it_has_failed_for_an_hour(monkeypatch, waits_for, failing):
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


def test_a_send_that_failed_for_a_while_is_made_after_all(monkeypatch):
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


def test_a_row_that_cannot_be_read_holds_up_nobody():
    stage = with_slots(FewSlots(twilio=1_000))
    decided = Decided(stage)
    for number in (1, 2, 3):
        decided.take(a_send(number))
    stage.rows.write("attempts", {send_key(a_send(2).send_id): b"\x01damaged"})
    decided.answer()
    assert called(stage) == [3]


def test_a_command_counts_though_a_send_of_the_user_fails(monkeypatch):
    stage = with_slots(FewSlots(twilio=1_000))
    decided = Decided(stage)
    decided.take(a_send(1))
    decided.take(a_send(2))

    def look_at(turn: Any, job: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(agents.recalling, "look_at", look_at)
    said = {"type": "profile.set", "id": "c", "at": rfc3339(stage.now), "user_id": "u1", "locale": "de"}
    record = Record(COMMANDS, msgspec.json.encode(said), 10_000, stage.now)
    decided.do(lambda out: decided.decider.handle(record, out, stage.now))
    assert decided.counts["internal"] == 0
    decided.answer()
    profile = decided.decider._state.knowledge.profile("u1")
    assert profile is not None
    assert profile.locale == "de"
    assert called(stage) == [2]
