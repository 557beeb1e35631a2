"""The checker is checked: a run that went well passes, and each violation is found by its name and no other."""

import ast
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import faults.checker
from faults.checker.__main__ import main
from faults.checker.folder import read_run
from faults.checker.values import BadRun, Verdict
from faults.checker.verdicts import INVARIANTS
from tests.unit.faults.world import HOUR, MINUTE, START, World, a_good_run, rfc3339

Plant = Callable[[World], None]


def failing(verdicts: list[Verdict]) -> dict[str, list[str]]:
    return {each.name: list(each.examples) for each in verdicts if not each.holds}


def test_a_run_that_went_well_passes(tmp_path: Path) -> None:
    verdicts = a_good_run().judge(tmp_path)

    assert failing(verdicts) == {}
    assert [each.name for each in verdicts][:3] == ["LOST", "DUP", "D"]
    assert len(verdicts) == len(INVARIANTS)


def test_the_members_of_d_are_listed_with_what_they_came_to(tmp_path: Path) -> None:
    d = next(each for each in a_good_run().judge(tmp_path) if each.name == "D")

    assert (d.value, d.bound) == (2, 2)
    assert {(m["channel"], m["reason"], m["came_to"], m["accepted"]) for m in d.listed} == {
        ("email", "connection_lost", "unknown", 1),
        ("push", "crash", "unknown", 1),
    }


def test_what_was_made_once_more_is_listed(tmp_path: Path) -> None:
    world = a_good_run()
    first, further = texts_of(world)
    [listed] = next(each for each in world.judge(tmp_path) if each.name == "DUP").listed

    assert (listed["of"], listed["send_id"], listed["channel"]) == (first, further, "sms")


# --- one violation each


def name_of(world: World, key: str) -> str:
    return next(str(line["notification_id"]) for line in world.asked if line.get("idempotency_key") == key)


def send_of(world: World, key: str, channel: str) -> str:
    name = name_of(world, key)
    return str(world.only("queued", notification_id=name, channel=channel)["send_id"])


def drop(world: World, **fields: object) -> None:
    """Takes the events with these values away, as if they had never been written."""
    gone = [e for e in world.events if all(e[name] == value for name, value in fields.items())]
    assert gone
    world.events = [event for event in world.events if event not in gone]


def no_decision(world: World) -> None:
    drop(world, notification_id=name_of(world, "called-off"))


def no_end(world: World) -> None:
    drop(world, status="cancelled")


def nothing_begun(world: World) -> None:
    name = name_of(world, "still")
    drop(world, notification_id=name, status="held")


def an_overdue_wait(world: World) -> None:
    world.only("held", notification_id=name_of(world, "still"))["detail"] = {"due": rfc3339(world.quiesced - MINUTE)}


def a_good_request_among_the_dead(world: World) -> None:
    drop(world, notification_id=name_of(world, "called-off"))
    line = next(line for line in world.asked if line.get("idempotency_key") == "called-off")
    letter = {name: line[name] for name in ("topic", "partition", "offset")}
    world.dead.append(letter | {"reason": "is too long", "field": "event_type"})


def a_poison_without_a_dead_letter(world: World) -> None:
    world.dead.clear()


def a_second_acceptance(world: World) -> None:
    world.taken.append(world.taken[0] | {"seq": 99, "at_ms": world.taken[0]["at_ms"] + 10})


def texts_of(world: World) -> list[str]:
    """The sends that were made one after the other, as nothing had come back."""
    name = name_of(world, "once-more")
    return [e["send_id"] for e in world.events if (e["notification_id"], e["status"]) == (name, "queued")]


def a_second_send_that_no_rule_asked_for(world: World) -> None:
    for event in world.events:
        if event["send_id"] == texts_of(world)[1]:
            event["detail"] = None


def one_made_once_more_that_the_policy_does_not_ask_for(world: World) -> None:
    for event in world.events:
        if event["send_id"] in texts_of(world):
            event["category"] = "orders"


def one_made_once_more_though_it_was_delivered(world: World) -> None:
    first, further = texts_of(world)
    at = next(n for n, e in enumerate(world.events) if e["send_id"] == further)
    name = name_of(world, "once-more")
    event = world.tell(START + 2 * MINUTE + 5_000, name, "ann", "delivered", send_id=first, channel="sms")
    world.events.insert(at, world.events.pop(world.events.index(event)))


def one_made_once_more_by_the_same_provider(world: World) -> None:
    for event in world.events:
        if event["send_id"] == texts_of(world)[1]:
            event["provider"] = "twilio"


def more_in_doubt_than_faults_explain(world: World) -> None:
    world.injected.clear()


def a_call_without_an_outcome(world: World) -> None:
    name = name_of(world, "called-off")
    drop(world, status="cancelled")
    where = {"send_id": send_of(world, "called-off", "email"), "channel": "email", "attempt": 1}
    world.tell(START + 50_020, name, "bob", "sending", **where)
    world.commands = [c for c in world.commands if c["command"]["type"] != "notification.cancel"]


def a_blind_second_call(world: World) -> None:
    first = world.only("sending", notification_id=name_of(world, "throttled"))
    world.events.insert(world.events.index(first) + 1, first | {"event_id": "again"})


def a_doubt_that_is_not_settled(world: World) -> None:
    send = send_of(world, "lost", "email")
    drop(world, send_id=send, status="unknown")


def a_resend_that_the_rule_forbids(world: World) -> None:
    send = send_of(world, "lost", "email")
    message = next(message for message in world.taken if message["send_id"] == send)
    world.taken.append(message | {"seq": 99})


def a_message_that_nobody_planned(world: World) -> None:
    world.taken.append(world.taken[0] | {"seq": 99, "send_id": str(uuid.uuid4())})


def a_notification_that_nobody_asked_for(world: World) -> None:
    name = str(uuid.uuid4())
    world.tell(START + 60_000, name, "ann", "accepted")
    world.tell(START + 60_000, name, "ann", "suppressed", reason="no_channel")


def a_digest_of_nothing(world: World) -> None:
    digest = str(uuid.uuid4())
    world.tell(START + 60_000, digest, "ann", "accepted", source="tocsin")
    world.tell(START + 60_000, digest, "ann", "suppressed", source="tocsin", reason="no_channel")


def a_call_after_an_opt_out(world: World) -> None:
    at = world.call_of(send_of(world, "later", "email"))["at_ms"]
    world.command(at - 2_000, "preferences.patch", "ann", preferences={"channels": {"email": False}})


def a_call_after_a_withdrawn_consent(world: World) -> None:
    at = world.call_of(send_of(world, "later", "email"))["at_ms"]
    world.command(at - 2_000, "consent.set", "ann", channel="email", category="orders", granted=False)


def a_call_in_spite_of_dnd(world: World) -> None:
    at = world.call_of(send_of(world, "later", "email"))["at_ms"]
    world.command(at - 2_000, "preferences.patch", "ann", preferences={"dnd": {"enabled": True}})


def a_call_after_a_cancel(world: World) -> None:
    at = world.call_of(send_of(world, "later", "email"))["at_ms"]
    world.command(at - 2_000, "notification.cancel", None, notification_id=name_of(world, "later"))


def a_call_after_an_erasure(world: World) -> None:
    at = max(c["at_ms"] for c in world.calls if c["address"].startswith("ann"))
    world.command(at - 2_000, "user.erase", "ann")


def a_call_to_a_suppressed_address(world: World) -> None:
    at = world.call_of(send_of(world, "later", "email"))["at_ms"]
    world.command(at - 2_000, "suppression.add", None, channel="email", address="Ann@example.com")


def a_call_to_an_address_that_was_changed(world: World) -> None:
    at = world.call_of(send_of(world, "later", "email"))["at_ms"]
    world.command(at - 2_000, "profile.set", "ann", email="new@example.com")


def a_call_to_somebody_else(world: World) -> None:
    world.call_of(send_of(world, "later", "email"))["address"] = "bob@example.com"


def a_call_to_a_token_that_moved(world: World) -> None:
    at = min(c["at_ms"] for c in world.calls if c["address"] == "bb" * 32)
    world.command(at - 20_000, "device.add", "carol", device_id="d9", platform="ios", token="bb" * 32)


def accepted_twice(world: World) -> None:
    first = world.only("accepted")
    world.events.append(first | {"event_id": "another"})


def a_replayed_send_accepted_twice(world: World) -> None:
    world.events.append(world.only("accepted", replay_id="r1") | {"event_id": "another"})


def a_replayed_send_never_accepted(world: World) -> None:
    drop(world, status="accepted", replay_id="r2")


def replayed_though_it_was_sent(world: World) -> None:
    name = name_of(world, "plain")
    send = world.send(START + HOUR, name, "ann", "email", replay_id="r1")
    world.tell(START + HOUR, name, "ann", "accepted", send_id=send, channel="email", replay_id="r1")


def replayed_by_two(world: World) -> None:
    name = name_of(world, "outage")
    send = world.send(START + 3 * HOUR, name, "ann", "sms", replay_id="r3")
    world.tell(START + 3 * HOUR, name, "ann", "accepted", send_id=send, channel="sms", replay_id="r3")


def ended_twice(world: World) -> None:
    end = world.only("sent", channel="in_app")
    world.events.append(end | {"event_id": "another"})


def an_end_for_all_beside_one(world: World) -> None:
    name = name_of(world, "plain")
    world.tell(START + 4_000, name, "ann", "cancelled")


def a_digest_that_never_came(world: World) -> None:
    digest = world.only("aggregated")["detail"]["into"]
    drop(world, notification_id=digest)
    sends = {event["send_id"] for event in world.events}
    world.calls = [call for call in world.calls if call["send_id"] in sends]
    world.taken = [message for message in world.taken if message["send_id"] in sends]


def one_in_the_log_that_nobody_heard_of_is_dropped(world: World) -> None:
    name = name_of(world, "called-off")
    drop(world, notification_id=name)
    world.asked = [line for line in world.asked if line.get("notification_id") != name]


def a_call_after_the_expiry(world: World) -> None:
    name = name_of(world, "later")
    at = world.call_of(send_of(world, "later", "email"))["at_ms"]
    next(line for line in world.asked if line.get("notification_id") == name)["expires_at_ms"] = at - 1_000


def a_call_in_quiet_hours(world: World) -> None:
    hours = {"enabled": True, "start": "22:00", "end": "22:01"}
    world.command(START + 1_001, "preferences.set", "ann", preferences={"quiet_hours": hours})


def a_call_before_its_schedule(world: World) -> None:
    send = send_of(world, "later", "email")
    world.call_of(send)["at_ms"] -= MINUTE


def a_retry_before_its_time(world: World) -> None:
    retry = world.only("retrying")
    retry["detail"] = retry["detail"] | {"retry_at": rfc3339(START + 20_000 + MINUTE)}


def a_hold_that_ends_early(world: World) -> None:
    for event in world.events:
        if event["status"] == "held" and event["reason"] == "quiet_hours":
            event["detail"] = {"until": rfc3339(START + 3 * HOUR + MINUTE)}


def holds_let_go_out_of_order(world: World) -> None:
    first, second = send_of(world, "night-1", "push"), send_of(world, "night-2", "push")
    of_first = [event for event in world.events if event["send_id"] == first]
    of_second = [event for event in world.events if event["send_id"] == second]
    rest = [event for event in world.events if event not in of_first and event not in of_second]
    world.events = [*rest, *of_second, *of_first]


def a_step_back(world: World) -> None:
    sent = world.only("sent", channel="in_app")
    world.events.append(sent | {"event_id": "back", "status": "queued", "occurred_at": rfc3339(START + 9_000)})


def sent_but_at_no_provider(world: World) -> None:
    send = send_of(world, "later", "email")
    world.taken = [message for message in world.taken if message["send_id"] != send]


def at_the_provider_but_told_as_failed(world: World) -> None:
    event = world.only("sent", send_id=send_of(world, "later", "email"))
    event["status"], event["reason"] = "failed", "permanent"


def two_ids_for_one_key(world: World) -> None:
    line = next(line for line in world.asked if line.get("idempotency_key") == "plain")
    world.asked.append(line | {"notification_id": name_of(world, "later")})


def an_answer_without_a_record(world: World) -> None:
    world.requests = [
        r if not isinstance(r, dict) or r.get("idempotency_key") != "web" else b"" for r in world.requests
    ]


def an_event_that_clickhouse_lacks(world: World) -> None:
    world.analytics = {event["event_id"]: event["user_id"] for event in world.events[1:]}


def an_event_that_only_clickhouse_has(world: World) -> None:
    world.analytics = {event["event_id"]: event["user_id"] for event in world.events} | {"another": "ann"}


def the_same_event_with_other_bytes(world: World) -> None:
    world.again.append(world.events[5] | {"provider_message_id": "other"})


def an_event_that_is_no_json(world: World) -> None:
    world.again.append({"user_id": "ann", "told": "nothing"})


def a_mail_address_in_an_event(world: World) -> None:
    world.events[4]["detail"] = {"error": "ann@example.com"}


def a_number_in_an_event(world: World) -> None:
    world.events[4]["detail"] = {"error": "+442071838799"}


def a_token_in_an_event(world: World) -> None:
    world.events[4]["detail"] = {"error": "cd" * 32}


def a_detail_that_is_not_allowed(world: World) -> None:
    world.events[4]["detail"] = {"body": "Hello"}


def an_attempt_used_up_by_throttling(world: World) -> None:
    send = send_of(world, "throttled", "sms")
    for event in world.events:
        if event["send_id"] == send and event["occurred_at"] >= rfc3339(START + 50_000):
            event["attempt"] = 2


def given_up_by_throttling(world: World) -> None:
    event = world.only("cancelled")
    event |= {"status": "failed", "reason": "retries_exhausted", "detail": {"error": "ThrottlingException"}}


def a_reader_that_stopped(world: World) -> None:
    world.offsets[-1]["offset"] -= 1


def an_offset_that_went_back(world: World) -> None:
    del world.offsets[1]["rewound"]


def a_campaign_that_somebody_got_twice(world: World) -> None:
    name = world.campaigns[1]["notification_id"]
    world.events.append(world.only("accepted", notification_id=name) | {"event_id": "another"})


def a_campaign_that_is_done_without_somebody(world: World) -> None:
    world.campaigns[1]["status"] = "done"


def a_campaign_that_counts_somebody_twice(world: World) -> None:
    world.campaigns[0]["produced"] = 3


def a_campaign_that_reached_somebody_else(world: World) -> None:
    world.campaigns[1]["users"] = ["bob"]


def a_campaign_that_went_on_while_it_was_paused(world: World) -> None:
    world.campaigns[0]["holds"][0]["until_ms"] = world.records_at + 1


def a_campaign_that_went_on_when_it_was_cancelled(world: World) -> None:
    world.campaigns[1]["holds"][0]["from_ms"] -= 10_000


def a_campaign_that_never_ended(world: World) -> None:
    world.campaigns[1]["status"] = "running"


PLANTED: dict[str, tuple[Plant, ...]] = {
    "LOST": (
        no_decision,
        no_end,
        nothing_begun,
        an_overdue_wait,
        a_good_request_among_the_dead,
        a_poison_without_a_dead_letter,
    ),
    "DUP": (
        a_second_acceptance,
        a_second_send_that_no_rule_asked_for,
        one_made_once_more_that_the_policy_does_not_ask_for,
        one_made_once_more_though_it_was_delivered,
        one_made_once_more_by_the_same_provider,
    ),
    "D": (more_in_doubt_than_faults_explain, a_blind_second_call),
    "D-DUP": (a_resend_that_the_rule_forbids,),
    "PHANTOM": (a_message_that_nobody_planned, a_notification_that_nobody_asked_for, a_digest_of_nothing),
    "WRONG": (
        a_call_after_an_opt_out,
        a_call_after_a_withdrawn_consent,
        a_call_in_spite_of_dnd,
        a_call_after_a_cancel,
        a_call_after_an_erasure,
        a_call_to_a_suppressed_address,
        a_call_to_an_address_that_was_changed,
        a_call_to_somebody_else,
        a_call_to_a_token_that_moved,
    ),
    "BALANCE": (
        accepted_twice,
        ended_twice,
        an_end_for_all_beside_one,
        a_digest_that_never_came,
        one_in_the_log_that_nobody_heard_of_is_dropped,
        a_replayed_send_accepted_twice,
        a_replayed_send_never_accepted,
    ),
    "REPLAY": (replayed_though_it_was_sent, replayed_by_two),
    "CAMPAIGN": (
        a_campaign_that_is_done_without_somebody,
        a_campaign_that_counts_somebody_twice,
        a_campaign_that_reached_somebody_else,
        a_campaign_that_went_on_while_it_was_paused,
        a_campaign_that_went_on_when_it_was_cancelled,
        a_campaign_that_never_ended,
    ),
    "LATE": (a_call_after_the_expiry, a_call_in_quiet_hours),
    "EARLY": (a_call_before_its_schedule, a_retry_before_its_time, a_hold_that_ends_early),
    "ORDER": (holds_let_go_out_of_order,),
    "REGRESS": (a_step_back,),
    "TOLD": (sent_but_at_no_provider, at_the_provider_but_told_as_failed),
    "ANSWER": (two_ids_for_one_key, an_answer_without_a_record),
    "ANALYTICS": (an_event_that_clickhouse_lacks, an_event_that_only_clickhouse_has),
    "DIFFERS": (the_same_event_with_other_bytes, an_event_that_is_no_json),
    "QUIET": (a_mail_address_in_an_event, a_number_in_an_event, a_token_in_an_event, a_detail_that_is_not_allowed),
    "BURN": (an_attempt_used_up_by_throttling, given_up_by_throttling),
    "STUCK": (a_reader_that_stopped,),
    "OFFSETS": (an_offset_that_went_back,),
}


@pytest.mark.parametrize(
    ("name", "plant"),
    [pytest.param(name, plant, id=plant.__name__) for name, plants in PLANTED.items() for plant in plants],
)
def test_a_planted_violation_is_found_by_its_name_and_no_other(name: str, plant: Plant, tmp_path: Path) -> None:
    world = a_good_run()
    plant(world)

    assert list(failing(world.judge(tmp_path))) == [name]


@pytest.mark.parametrize("plant", [a_call_without_an_outcome, a_doubt_that_is_not_settled])
def test_a_call_that_came_to_nothing_breaks_d_and_is_lost_too(plant: Plant, tmp_path: Path) -> None:
    world = a_good_run()
    plant(world)

    assert sorted(failing(world.judge(tmp_path))) == ["D", "LOST"]


def test_a_campaign_that_somebody_got_twice_is_out_of_balance_too(tmp_path: Path) -> None:
    world = a_good_run()
    a_campaign_that_somebody_got_twice(world)

    assert sorted(failing(world.judge(tmp_path))) == ["BALANCE", "CAMPAIGN"]


def test_every_invariant_has_a_planted_violation(tmp_path: Path) -> None:
    assert [each.name for each in a_good_run().judge(tmp_path)] == list(PLANTED)


# --- what is no violation


def test_a_resend_that_the_rule_allows_is_listed_and_passes(tmp_path: Path) -> None:
    world = a_good_run()
    a_resend_that_the_rule_forbids(world)
    for event in world.events:
        if event["send_id"] == send_of(world, "lost", "email"):
            event["category"] = "account"
    verdicts = world.judge(tmp_path)

    assert failing(verdicts) == {}
    [listed] = next(each for each in verdicts if each.name == "D-DUP").listed
    assert listed["copies"] == 2


def test_an_opt_out_that_was_taken_back_forbids_nothing(tmp_path: Path) -> None:
    world = a_good_run()
    a_call_after_an_opt_out(world)
    at = world.call_of(send_of(world, "later", "email"))["at_ms"]
    world.command(at - 10, "preferences.patch", "ann", preferences={"channels": {"email": None}})

    assert failing(world.judge(tmp_path)) == {}


@pytest.mark.parametrize(("set_ms_before", "found"), [(200, False), (5_000, True)])
def test_what_was_due_by_the_clock_of_a_moment_before_is_not_early(
    set_ms_before: int, found: bool, tmp_path: Path
) -> None:
    world, set_back_ms = a_good_run(), 5_000
    retry = world.only("retrying")
    due = START + 20_000 + 30_000 + set_back_ms
    retry["detail"] = retry["detail"] | {"retry_at": rfc3339(due)}
    set_at = due + 10 - set_ms_before
    world.injected.append({"at_ms": set_at, "until_ms": None, "fault": "clock", "clock_ms": -set_back_ms})

    assert ("EARLY" in failing(world.judge(tmp_path))) is found


@pytest.mark.parametrize(("late_ms", "found"), [(6, False), (-6, True)])
def test_a_wait_that_was_over_when_something_else_held_is_kept(late_ms: int, found: bool, tmp_path: Path) -> None:
    """By a clock that ran ahead, and was set back before the call."""
    world = a_good_run()
    a_retry_before_its_time(world)
    retry = world.only("retrying")
    held = retry | {"event_id": "outage", "status": "held", "reason": "provider_outage", "provider": None}
    held |= {"occurred_at": rfc3339(START + 20_000 + MINUTE + late_ms)}
    held["detail"] = {"until": rfc3339(START + 21_000 + MINUTE)}
    world.events.insert(world.events.index(retry) + 1, held)

    assert ("EARLY" in failing(world.judge(tmp_path))) is found


def test_what_nobody_may_opt_out_of_goes_out_in_spite_of_it(tmp_path: Path) -> None:
    world = a_good_run()
    a_call_after_an_opt_out(world)
    for event in world.events:
        if event["notification_id"] == name_of(world, "later"):
            event["category"] = "security"

    assert failing(world.judge(tmp_path)) == {}


def test_another_runs_users_are_none_of_our_business(tmp_path: Path) -> None:
    world = a_good_run()
    theirs = str(uuid.uuid4())
    world.tell(START + 60_000, theirs, "carol", "accepted")
    world.taken.append(world.taken[0] | {"send_id": "x", "notification_id": theirs, "address": "carol@example.com"})

    assert failing(world.judge(tmp_path)) == {}


def test_a_request_that_was_lost_with_its_connection_is_within_the_bound_of_d(tmp_path: Path) -> None:
    """The bound counts the mail's lost answer, the reset request, one that was swept with it, and one on its way."""
    world = a_good_run()
    world.injected.clear()
    world.call(START + 34_900, "gone", "gone", "ann", "push", taken=False, outcome="reset", fault="reset", swept=1)
    doubt = world.only("in_doubt", channel="push")
    doubt |= {"reason": "connection_lost", "provider": "apns"}
    world.calls = [call for call in world.calls if call["send_id"] != doubt["send_id"]]
    world.taken = [message for message in world.taken if message["send_id"] != doubt["send_id"]]

    d = next(each for each in world.judge(tmp_path) if each.name == "D")

    assert (d.value, d.bound) == (2, 4)


# --- the command


def test_a_file_that_is_wrong_is_named_with_its_line_and_field(tmp_path: Path) -> None:
    world = a_good_run()
    del world.asked[1]["user_id"]
    world.write(tmp_path)

    with pytest.raises(BadRun, match=r"accepted.jsonl, line 2: user_id: is missing"):
        read_run(tmp_path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    a_good_run().write(tmp_path)
    (tmp_path / "injected.jsonl").unlink()

    with pytest.raises(BadRun, match=r"injected.jsonl: is missing"):
        read_run(tmp_path)


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    a_good_run().write(tmp_path)
    calls = tmp_path / "sandbox" / "calls.jsonl"
    whole = len(read_run(tmp_path).calls)
    calls.write_bytes(calls.read_bytes() + b'{"seq": 99, "at_')

    assert len(read_run(tmp_path).calls) == whole


def test_a_run_that_cannot_be_judged_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "run.json: is missing" in capsys.readouterr().err


def test_the_checker_imports_nothing_of_the_system() -> None:
    """Also said in pyproject.toml to import-linter; here it counts for code inside functions too."""
    ours = {"app", "agents", "tables", "schemas"}
    for path in Path(faults.checker.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not ours & {name.split(".")[0] for name in names}, path
            assert all(not name.startswith("faults") or name.startswith("faults.checker") for name in names), path
