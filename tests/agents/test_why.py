"""Why, in plain words: from what the roles tell of a notification to the sentences that people read."""

from typing import Any

import pytest

from app.api.explain import explain
from app.domain.trail import lasting, moment, words
from schemas.instants import parse_ms
from schemas.sends import Send
from tests.agents.harness import HOUR, MINUTE, POLICY, REPLAY, Harness, catalog
from tests.agents.test_router_digest import SOCIAL
from tests.agents.test_router_fallback import CHAINED, ESCALATING
from tests.agents.test_router_rules import QUIET


def router_of(policy: str = POLICY, **fields: Any) -> Harness:
    router = Harness(policy=policy, **fields)
    router.known()
    return router


def accepted(router: Harness) -> list[str]:
    return [event["notification_id"] for event in router.events if event["status"] == "accepted"]


def why(router: Harness, notification_id: str | None = None) -> str:
    """The summary of a notification, the latest by default."""
    name = notification_id or accepted(router)[-1]
    return explain([event for event in router.events if event["notification_id"] == name]).summary


def capped(over: str, limit: int) -> Harness:
    return router_of(
        f"{POLICY}\ncaps:\n  - {{name: mail-hour, channel: email, limit: {limit}, window: 1h, over: {over}}}\n"
    )


def test_a_cap_says_its_limit_its_window_who_used_it_and_when_the_next_slot_is_free() -> None:
    router = capped("suppress", 2)
    for n in range(3):
        router.request(event_type="mail.sent", data={"n": n})
        router.after(5 * MINUTE)
    first, second, _ = accepted(router)

    assert why(router) == (
        f"Not sent by email: cap mail-hour, 2 in 1 h, used by {first}, {second}; "
        "the next slot is free at 13:00 UTC on 4 March 2026."
    )


def test_a_long_list_of_users_of_a_cap_is_cut_short_in_words_and_whole_in_the_trail() -> None:
    router = capped("suppress", 8)
    for n in range(9):
        router.request(event_type="mail.sent", data={"n": n})
    events = [event for event in router.events if event["notification_id"] == accepted(router)[-1]]
    explanation = explain(events)

    assert " and 3 more; the next slot" in explanation.summary
    [entry] = [entry for entry in explanation.channels["email"].trail if entry["rule"] == "cap"]
    assert entry["input"][-8:] == accepted(router)[:8]


def test_what_waits_for_a_place_says_so() -> None:
    router = capped("defer", 1)
    router.request(event_type="mail.sent", data={"n": 1})
    router.request(event_type="mail.sent", data={"n": 2})

    assert why(router) == (
        f"Waiting to be sent by email: cap mail-hour, 1 in 1 h, used by {accepted(router)[0]}; "
        "the next slot is free at 13:00 UTC on 4 March 2026."
    )
    router.after(HOUR)
    router.settled(router.sends[-1], "sent")
    assert why(router) == "On its way by email, after waiting for rate cap."


def test_a_cap_with_room_is_named_in_the_trail() -> None:
    router = capped("suppress", 1)
    router.request(event_type="mail.sent")

    [entry] = [entry for entry in router.last()["detail"]["trail"] if entry[0] == "cap"]
    assert words(entry) == "there is room in mail-hour"


def test_quiet_hours_end_by_the_users_own_clock() -> None:
    router = router_of(QUIET, now=parse_ms("2026-03-04T23:00:00Z"))
    router.command("profile.set", timezone="America/New_York")
    router.command("preferences.set", preferences={"quiet_hours": {"start": "17:30", "end": "07:15"}})
    router.request(channels=["push"])

    assert why(router) == (
        "Waiting to be sent by push: quiet hours (17:30 to 07:15) until 07:15 in America/New_York on 5 March 2026."
    )
    router.after(24 * HOUR)
    assert why(router) == "On its way by push, after waiting for quiet hours."


def test_a_digest_says_when_it_closes_and_what_it_became() -> None:
    router = router_of(SOCIAL)
    router.request(event_type="like.made", channels=["push"], data={"n": 1})
    router.request(event_type="like.made", channels=["push"], data={"n": 2})
    item = accepted(router)[0]
    waits = why(router, item)
    router.after(10 * MINUTE)

    assert waits == (
        "Waiting to be sent by push: collected in the digest social, which closes at 12:10 UTC on 4 March 2026."
    )
    assert why(router, item) == f"Collected into a digest by push: sent as part of {accepted(router)[-1]}."


def test_each_step_says_why_it_began_and_which_were_not_needed() -> None:
    router = router_of(CHAINED)
    router.request(event_type="payment.failed", channels=["push", "sms", "email"])
    push = router.sends[0]
    router.after(2 * MINUTE)
    chain = "of the fallback chain push → sms → email"

    assert why(router) == (
        f"On its way by push, as step 1 {chain}. "
        f"On its way by sms, as step 2 {chain}: push was not delivered or opened within 2 min. "
        "Not begun: email, later in the fallback chain."
    )
    router.settled(push, "failed", reason="permanent")
    router.settled(router.sends[-1], "failed", reason="permanent")
    assert f"On its way by email, as step 3 {chain}: sms failed." in why(router)


def test_a_step_that_came_to_nothing_at_once_is_named() -> None:
    router = router_of(CHAINED)
    router.command("preferences.set", preferences={"channels": {"push": False}})
    router.request(event_type="payment.failed", channels=["push", "sms", "email"])

    assert why(router).startswith("Not sent by push: the user turned it off (channels.push). ")
    assert "step 2 of the fallback chain push → sms → email: push ended without being sent." in why(router)


def test_an_escalation_reads_as_one() -> None:
    router = router_of(ESCALATING)
    router.request(event_type="bill.due")
    router.after(10 * MINUTE)

    assert ": in_app was not read or seen within 10 min." in why(router)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"send_at": "2026-03-04T15:00:00Z"}, "Waiting to be sent: scheduled for 15:00 UTC on 4 March 2026."),
        ({"expires_at": "2026-03-04T11:59:59Z"}, "Not sent: expired at 11:59:59 UTC on 4 March 2026."),
        ({"template_id": "nowhere"}, "Not sent: template nowhere doesn't exist."),
        ({"channels": []}, "Not sent: no channel is left of those named by the request."),
    ],
)
def test_what_became_of_the_whole_is_said(fields: dict[str, Any], sentence: str) -> None:
    router = router_of()
    router.request(**fields)

    assert why(router) == sentence


def test_what_replaced_it_is_named() -> None:
    router = router_of(QUIET, now=parse_ms("2026-03-04T23:00:00Z"))
    router.request(channels=["push"], collapse_key="x", data={"n": 1})
    router.request(channels=["push"], collapse_key="x", data={"n": 2})
    older, newer = accepted(router)

    assert why(router, older) == f"Not sent by push: replaced by a newer one with the same collapse key ({newer})."


def test_what_was_sent_shows_every_rule_that_was_asked() -> None:
    router = router_of()
    router.request(event_type="mail.sent")
    events = [event for event in router.events if event["notification_id"] == accepted(router)[-1]]
    trail = explain(events).channels["email"].trail

    assert [entry["rule"] for entry in trail][-6:] == [
        "suppression_list",
        "address",
        "provider",
        "digest",
        "cap",
        "quiet_hours",
    ]
    assert all(entry["answer"] is True and entry["words"] for entry in trail)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (500, "500 ms"),
        (90_000, "90 s"),
        (90 * MINUTE, "90 min"),
        (HOUR, "1 h"),
        (24 * HOUR, "24 h"),
        (36 * HOUR, "36 h"),
        (48 * HOUR, "2 d"),
    ],
)
def test_times_are_said_in_the_largest_whole_unit(ms: int, text: str) -> None:
    assert lasting(ms) == text


def test_a_moment_is_said_by_the_clock_of_its_zone() -> None:
    summer = parse_ms("2026-07-01T23:30:05Z")
    assert moment(summer) == "23:30:05 UTC on 1 July 2026"
    assert moment(summer, "Asia/Kolkata") == "05:00:05 in Asia/Kolkata on 2 July 2026"


def test_an_entry_of_another_version_is_shown_as_it_is() -> None:
    assert words(["weather", False, "rain"]) == "weather False rain"
    assert words(["cap", False, "day", 3, 3]) == "cap day is used up: 3 of 3"
    assert words(["expired", True, "soon"]) == "expired True soon"


# --- replays

QUIET_MAIL = "{start: '22:00', end: '08:00', channels: [email]}"


def failed() -> tuple[Harness, Send]:
    router = router_of()
    router.request(event_type="mail.sent")
    (send,) = router.sends
    router.events.append(_told(router.events[-1], send.send_id, None, "failed", "retries_exhausted"))
    router.settled(send, "failed", reason="retries_exhausted")
    return router, send


def _told(like: dict[str, Any], send_id: str, replay_id: str | None, status: str, reason: str | None) -> dict[str, Any]:
    """An event of a sender's."""
    return {**like, "send_id": send_id, "replay_id": replay_id, "status": status, "reason": reason, "detail": None}


@pytest.mark.parametrize(
    ("as_decided", "said"),
    [(False, "decided by what is known now"), (True, "as decided then")],
)
def test_what_a_replay_sent_says_so(as_decided: bool, said: str) -> None:
    router, send = failed()
    router.replay(send, as_decided=as_decided)
    again = router.sends[-1]
    router.events.append(_told(router.events[-1], again.send_id, REPLAY, "sent", None))
    explanation = explain(router.events)

    assert explanation.summary == f"Sent by email, again, by replay {REPLAY}."
    [entry] = [entry for entry in explanation.channels["email"].trail if entry["rule"] == "replay"]
    assert entry["words"] == f"sent again by replay {REPLAY}, {said}"


def test_what_a_replay_has_wait_says_so_when_it_goes_on() -> None:
    router, send = failed()
    hours = {"enabled": True, "start": "12:00", "end": "14:00"}
    router.machine.catalog = catalog(POLICY.replace("defaults:\n", f"defaults:\n  quiet_hours: {QUIET_MAIL}\n"))
    router.command("preferences.set", preferences={"quiet_hours": hours})
    router.replay(send)
    router.after(3 * HOUR)
    explanation = explain(router.events)

    assert explanation.summary == f"On its way by email, after waiting for quiet hours, again, by replay {REPLAY}."
    assert explanation.channels["email"].trail[0]["rule"] == "replay"
