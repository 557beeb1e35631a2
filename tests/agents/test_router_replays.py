"""Replays at the router: each candidate is left alone, or begun again as a send of its own."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from app.domain.out import Out
from schemas import topics
from schemas.instants import rfc3339
from schemas.replays import ReplayRequest, encode_replay_request
from schemas.sends import Item, Send
from tests.agents.harness import HOUR, MINUTE, NOON, POLICY, REPLAY, Harness, catalog, template
from tests.records import Record

ANOTHER = "99999999-2222-4333-8444-555555555555"

CHAINED = POLICY + (
    "  payment.failed: {category: orders, template: note, channels: [push, email], "
    "fallback: {chain: [push, sms, email], wait: 2m, until: [delivered, opened]}}\n"
)
QUIET = POLICY.replace("defaults:\n", "defaults:\n  quiet_hours: {start: '22:00', end: '08:00', channels: [email]}\n")
CAPPED = POLICY + "caps:\n  - {name: mails, channel: email, limit: 1, window: 24h}\n"


def failed(policy: str = POLICY, reason: str = "retries_exhausted", **fields: Any) -> tuple[Harness, Send]:
    """A mail that its provider did not take."""
    router = Harness(policy=policy)
    router.known()
    router.request(**{"event_type": "mail.sent", **fields})
    send = router.sends[-1]
    router.settled(send, "failed", reason=reason)
    router.after(HOUR)
    router.forget()
    return router, send


def said(answers: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(answer["outcome"], answer.get("reason")) for answer in answers]


def asked(router: Harness, send: Send, **fields: Any) -> tuple[str, str | None]:
    """The one answer to a dry run, which changes nothing."""
    before = [dict(rows.tables.get("notifications", {})) for rows in router.rows]
    (answer,) = router.replay(send, dry_run=True, **fields)
    assert answer["dry_run"]
    assert [dict(rows.tables.get("notifications", {})) for rows in router.rows] == before
    assert router.events == []
    return answer["outcome"], answer.get("reason")


# --- begun again ---


def test_a_candidate_is_a_send_of_its_own_in_the_bulk_lane() -> None:
    router, send = failed(data={"a": 1}, collapse_key="k", locale="de")
    answers = router.replay(send)
    (again,) = router.sends

    assert said(answers) == [("waiting", None)]
    assert answers[0]["new_send_id"] == again.send_id != send.send_id
    assert (again.replay_id, again.channel, bytes(again.data), again.locale) == (REPLAY, "email", b'{"a": 1}', "de")
    assert (again.accepted_at, again.first_accepted_at) == (router.now, send.accepted_at)
    assert router.log[-1].topic == topics.REPLAY_REQUESTS
    assert [(e["status"], e["channel"], e["send_id"], e["replay_id"]) for e in router.events] == [
        ("accepted", "email", again.send_id, REPLAY),
        ("queued", "email", again.send_id, REPLAY),
    ]
    assert again.bulk
    assert again.send_id[-4:] == send.send_id[-4:]


@pytest.mark.parametrize("end", ["sent", "failed", "unknown", "expired", "cancelled"])
def test_what_becomes_of_it_is_reported(end: str) -> None:
    router, send = failed()
    router.replay(send)
    router.settled(router.sends[0], end)

    assert said(router.outcomes) == [("waiting", None), (end, None)]
    assert {answer["send_id"] for answer in router.outcomes} == {send.send_id}


def test_the_reason_of_an_end_is_reported() -> None:
    router, send = failed()
    router.replay(send)
    router.settled(router.sends[0], "suppressed", reason="opted_out")

    assert said(router.outcomes)[1:] == [("opted_out", "opted_out")]


def test_a_wait_is_reported_and_so_is_its_end() -> None:
    router, send = failed(QUIET)
    router.at(NOON + 11 * HOUR)
    router.replay(send)
    router.at(NOON + 20 * HOUR)

    assert said(router.outcomes) == [("waiting", "quiet_hours"), ("waiting", None)]
    assert len(router.sends) == 1


def test_asking_again_changes_nothing_and_is_answered_as_before() -> None:
    router, send = failed()
    (first,) = router.replay(send)
    router.forget()
    router.after(HOUR)
    (again,) = router.replay(send)

    assert {**first, "at": 0} == {**again, "at": 0}
    assert router.events == []
    assert router.sends == []


def test_what_was_left_alone_stays_so_however_often_it_is_asked() -> None:
    router = Harness()
    router.known()
    router.request(event_type="mail.sent")
    (send,) = router.sends
    router.forget()
    first = router.replay(send)
    router.settled(send, "failed", reason="retries_exhausted")

    assert said(first) == said(router.replay(send)) == [("open", None)]
    assert said(router.replay(send, ANOTHER)) == [("waiting", None)]


def test_a_critical_send_keeps_its_lane() -> None:
    router, send = failed(event_type="login.otp", channels=["sms"], content={"title": "t", "body": "b"})
    produced = []
    watched = router._produced
    router._produced = lambda partition, record: (produced.append(record.topic), watched(partition, record))[1]  # type: ignore[method-assign,func-returns-value]
    router.replay(send)

    assert topics.SEND_TOPICS["sms"][0] in produced


def test_a_digest_keeps_its_items() -> None:
    router, send = failed()
    items = [Item(notification_id=send.notification_id, event_type="x", at=rfc3339(NOON))]
    router.replay(replace(send, items=items))

    assert router.sends[0].items == items


# --- left alone ---

#: What happens to the notification before it is asked of, and what the guard then says.
GUARDED: list[tuple[str, Callable[[Harness, Send], None]]] = [
    ("erased", lambda router, send: router.command("user.erase")),
    ("cancelled", lambda router, send: router.command("notification.cancel", notification_id=send.notification_id)),
    ("replayed_before", lambda router, send: (router.replay(send, ANOTHER), None)[1]),
    ("already_sent", lambda router, send: router.receipt(send, "delivered")),
]


@pytest.mark.parametrize(("expected", "happens"), GUARDED)
def test_what_is_left_alone_has_no_event(expected: str, happens: Callable[[Harness, Send], None]) -> None:
    router, send = failed()
    happens(router, send)
    router.forget()

    assert asked(router, send)[0] == expected
    assert said(router.replay(send)) == [(expected, None)]
    assert router.events == []
    assert router.sends == []


@pytest.mark.parametrize("first", range(len(GUARDED)))
@pytest.mark.parametrize("second", range(len(GUARDED)))
def test_the_first_that_holds_counts(first: int, second: int) -> None:
    router, send = failed()
    for index in sorted((first, second), key=lambda index: -index if index < 2 else index):
        GUARDED[index][1](router, send)
    router.forget()

    assert asked(router, send)[0] == GUARDED[min(first, second)][0]


def test_what_the_router_does_not_know_is_forgotten() -> None:
    _, send = failed()
    other = Harness()

    assert said(other.replay(send)) == [("forgotten", None)]
    assert other.rows[0].tables.get("notifications", {}) == {}


def test_a_user_who_began_anew_gets_nothing_of_before_their_erasure() -> None:
    router, send = failed()
    router.command("user.erase")
    router.known()
    router.forget()

    assert said(router.replay(send)) == [("erased", None)]
    assert router.sends == []


@pytest.mark.parametrize(("status", "expected"), [("in_doubt", "in_doubt"), (None, "open")])
def test_what_is_in_doubt_is_told_from_what_is_on_its_way(status: str | None, expected: str) -> None:
    router = Harness()
    router.known()
    router.request(event_type="mail.sent")
    (send,) = router.sends
    if status is not None:
        router.settled(send, status)
    router.forget()

    assert asked(router, send) == (expected, None)


def test_a_doubt_that_is_settled_is_none_any_more() -> None:
    router = Harness()
    router.known()
    router.request(event_type="mail.sent")
    (send,) = router.sends
    router.settled(send, "in_doubt")
    router.settled(send, "failed", reason="permanent")
    router.forget()

    assert asked(router, send) == ("would_send", None)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (None, "replayed_before"),
        ("sent", "replayed_before"),
        ("unknown", "replayed_before"),
        ("failed", "would_send"),
        ("expired", "would_send"),
    ],
)
def test_another_replays_send_of_it_counts_by_its_end(end: str | None, expected: str) -> None:
    router, send = failed()
    router.replay(send, ANOTHER)
    if end is not None:
        router.settled(router.sends[-1], end)
    router.forget()

    assert asked(router, send)[0] == expected


def test_a_replayed_send_that_failed_is_the_next_replays_candidate() -> None:
    router, send = failed()
    router.replay(send, ANOTHER)
    again = router.sends[-1]
    router.settled(again, "failed", reason="retries_exhausted")
    router.forget()
    router.replay(again)

    assert [each.replay_id for each in router.sends] == [REPLAY]
    assert router.sends[0].first_accepted_at == send.accepted_at


def test_what_a_replay_made_is_no_candidate_of_the_same_replay() -> None:
    router, send = failed()
    router.replay(send)
    (again,) = router.sends
    router.settled(again, "failed", reason="retries_exhausted")
    router.forget()

    assert asked(router, again) == ("replayed_before", None)
    assert said(router.replay(again)) == [("replayed_before", None)]
    assert [answer["send_id"] for answer in router.outcomes] == [again.send_id, again.send_id]
    assert (router.events, router.sends) == ([], [])


def test_on_push_each_device_is_by_itself() -> None:
    router = Harness()
    router.known()
    router.device(device_id="d2")
    router.request(channels=["push"])
    first, second = router.sends
    router.settled(first, "failed", reason="retries_exhausted")
    router.settled(second, "sent")
    router.forget()

    assert asked(router, second)[0] == "already_sent"
    router.replay(first)
    assert [send.device_id for send in router.sends] == [first.device_id]


def test_a_push_goes_to_no_other_device() -> None:
    router, send = failed(event_type="order.shipped", channels=["push"])
    router.command("device.remove", device_id="d1")
    router.device(device_id="d2")
    router.forget()

    assert asked(router, send) == ("suppressed", "no_address")
    assert said(router.replay(send))[-1:] == [("suppressed", "no_address")]
    assert router.sends == []
    assert router.reported() == [("accepted", "push", None), ("suppressed", "push", "no_address")]


# --- chains ---


def chain(*ends: str | None) -> tuple[Harness, list[Send]]:
    """A chain whose steps ended so, one after the other; None: on its way."""
    router = Harness(policy=CHAINED)
    router.known()
    router.request(event_type="payment.failed")
    for end in ends:
        if end is not None:
            router.settled(router.sends[-1], end, reason="retries_exhausted")
    router.events.clear()
    return router, list(router.sends)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (("failed", None), "open"),
        (("failed", "sent"), "already_sent"),
        (("failed", "failed", None), "open"),
        (("failed", "failed", "in_doubt"), "in_doubt"),
        (("failed", "failed", "unknown"), "in_doubt"),
        (("failed", "failed", "sent"), "already_sent"),
        (("failed", "failed", "failed"), "would_send"),
    ],
)
def test_a_step_is_left_alone_while_its_chain_goes_on_or_came_further(ends: tuple[str, ...], expected: str) -> None:
    router, sends = chain(*ends)

    assert asked(router, sends[0]) == (expected, None)


def test_a_chain_does_not_begin_anew() -> None:
    router, sends = chain("failed", "failed", "failed")
    router.forget()
    router.replay(sends[0])
    router.settled(router.sends[0], "failed", reason="permanent")
    router.after(HOUR)

    assert [send.channel for send in router.sends] == ["push"]


def test_a_step_whose_chain_has_reached_its_user_is_left_alone() -> None:
    router, sends = chain("sent", None)
    router.after(2 * MINUTE)
    router.settled(router.sends[1], "failed", reason="retries_exhausted")
    router.settled(router.sends[2], "failed", reason="retries_exhausted")
    router.receipt(sends[0], "opened")
    router.events.clear()

    assert asked(router, router.sends[1])[0] == "already_sent"


# --- a receipt that comes while it waits ---


@pytest.mark.parametrize("bare", [True, False])
def test_a_receipt_ends_what_waits_here(bare: bool) -> None:
    router, send = failed(QUIET)
    router.at(NOON + 11 * HOUR)
    router.replay(send)
    router.receipt(send, "delivered", bare=bare)

    assert said(router.outcomes)[-1] == ("cancelled", None)
    assert router.reported()[-1] == ("cancelled", "email", None)
    router.at(NOON + 24 * HOUR)
    assert router.sends == []


def test_a_receipt_takes_back_what_is_queued() -> None:
    router, send = failed()
    router.replay(send)
    router.receipt(send, "opened")

    assert [(w.send_id, w.status) for w in router.withdrawals] == [(router.sends[0].send_id, "cancelled")]


def test_a_receipt_of_its_own_does_not_take_it_back() -> None:
    router, send = failed()
    router.replay(send)
    router.receipt(router.sends[0], "delivered")

    assert router.withdrawals == []
    assert router.last()["replay_id"] == REPLAY


def test_a_receipt_of_no_send_in_particular_counts() -> None:
    router = Harness()
    router.known()
    router.request(channels=["push", "email"])
    push, email = router.sends
    router.settled(email, "failed", reason="retries_exhausted")
    router.forget()
    router.feed(
        topics.RECEIPTS,
        b"ann",
        json.dumps(
            {
                "id": "r",
                "user_id": "ann",
                "notification_id": push.notification_id,
                "status": "opened",
                "occurred_at": rfc3339(router.now),
            }
        ).encode(),
    )
    router.forget()

    assert asked(router, email)[0] == "already_sent"


# --- judged again, or as it was decided ---


def test_an_opt_out_since_then_counts() -> None:
    router, send = failed()
    router.command("preferences.set", preferences={"channels": {"email": False}})
    router.forget()

    assert asked(router, send) == ("opted_out", "opted_out")
    assert said(router.replay(send))[-1:] == [("opted_out", "opted_out")]
    assert router.reported() == [("accepted", "email", None), ("suppressed", "email", "opted_out")]


@pytest.mark.parametrize("as_decided", [True, False])
@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("preferences.set", {"preferences": {"dnd": {"enabled": True}}}, ("suppressed", "dnd")),
        ("preferences.set", {"preferences": {"categories": {"mail": {"email": False}}}}, ("opted_out", "opted_out")),
        ("profile.set", {"email": None}, ("suppressed", "no_address")),
        (
            "suppression.add",
            {"channel": "email", "address": "ann@example.com", "reason": "asked"},
            ("suppressed", "suppression_list"),
        ),
        (
            "preferences.set",
            {"preferences": {"quiet_hours": {"enabled": True, "start": "12:00", "end": "15:00"}}},
            None,
        ),
    ],
)
def test_what_is_known_now_counts_in_both_ways(
    kind: str, fields: dict[str, Any], expected: tuple[str, str] | None, as_decided: bool
) -> None:
    router, send = failed()
    router.command(kind, **fields)
    router.forget()

    assert asked(router, send, as_decided=as_decided) == (expected or ("would_send", None))


def test_caps_are_judged_again_and_not_where_it_is_as_decided() -> None:
    router, send = failed(CAPPED)
    router.request(event_type="mail.sent", content=None)
    router.forget()

    assert asked(router, send) == ("suppressed", "rate_cap")
    assert asked(router, send, as_decided=True) == ("would_send", None)


def test_a_place_is_taken_all_the_same() -> None:
    router, send = failed(CAPPED)
    router.replay(send, as_decided=True)
    router.forget()
    router.request(event_type="mail.sent")

    assert router.reported()[-1] == ("suppressed", "email", "rate_cap")


def test_a_place_that_the_original_holds_elsewhere_is_not_given_back() -> None:
    policy = POLICY + "caps:\n  - {name: all, limit: 1, window: 24h}\n"
    router = Harness(policy=policy)
    router.known()
    router.device(device_id="d2")
    router.request(channels=["push"])
    first, second = router.sends
    router.settled(first, "failed", reason="retries_exhausted")
    router.settled(second, "sent")
    router.replay(first)
    router.settled(router.sends[-1], "failed", reason="permanent")
    router.forget()
    router.request(event_type="mail.sent")

    assert router.reported()[-1] == ("suppressed", "email", "rate_cap")


def test_what_a_cap_defers_waits_for_its_place() -> None:
    policy = POLICY + "caps:\n  - {name: mails, channel: email, limit: 1, window: 24h, over: defer}\n"
    router, send = failed(policy)
    router.request(event_type="mail.sent")
    newer = router.sends[-1]
    router.forget()
    router.replay(send)
    waits = said(router.outcomes)
    router.settled(newer, "failed", reason="permanent")
    router.wait_until_now()

    assert waits == [("waiting", "rate_cap")]
    assert [each.replay_id for each in router.sends] == [REPLAY]
    assert said(router.outcomes)[-1] == ("waiting", None)


def test_the_policy_and_template_of_now_or_those_of_then() -> None:
    router, send = failed(event_type="order.shipped", channels=["email"])
    before = router.machine.catalog
    after = catalog(
        POLICY.replace("order.shipped: {category: orders", "order.shipped: {category: mail, priority: high"),
        [template("note", version=2)],
        version=2,
    )
    router.machine.catalog = type(after)(
        after.policy, 2, after.templates, policy_texts={1: POLICY}, _policies={1: before.policy}
    )
    router.replay(send)
    router.replay(send, ANOTHER, as_decided=True)
    # (the first is on its way: the second is left alone)
    assert said(router.outcomes) == [("waiting", None), ("replayed_before", None)]
    router.settled(router.sends[0], "failed", reason="permanent")
    router.replay(send, "22222222-2222-4333-8444-555555555555", as_decided=True)
    now, then = router.sends

    assert (now.category, now.priority, now.template_version, now.policy_version, now.renders) == (
        "mail",
        "high",
        2,
        2,
        None,
    )
    assert (then.category, then.priority, then.template_version, then.policy_version, then.renders) == (
        "orders",
        "normal",
        1,
        1,
        1,
    )
    assert {e["policy_version"] for e in router.events if e["send_id"] == then.send_id} == {1}


def test_a_template_that_is_gone_or_lost_the_channel() -> None:
    router, send = failed()
    router.machine.catalog = catalog(POLICY, [template("note", "push", version=2)], version=1)

    assert asked(router, send) == ("suppressed", "no_channel")
    assert asked(router, send, as_decided=True) == ("would_send", None)
    router.replay(send)
    assert router.reported()[-1] == ("suppressed", "email", "no_channel")


# --- expiry ---


def test_nothing_expired_goes_out_unless_it_gets_new_time() -> None:
    router, send = failed(event_type="mail.sent", expires_at=rfc3339(NOON + MINUTE))

    assert asked(router, send) == ("expired", None)
    assert said(router.replay(send)) == [("expired", None)]
    router.replay(send, ANOTHER, expires_at=router.now + HOUR)
    assert [each.expires_at for each in router.sends] == [router.now + HOUR]


def test_new_time_takes_none_away() -> None:
    router, send = failed()
    router.replay(send, expires_at=router.now + MINUTE)

    assert router.sends[0].expires_at == send.expires_at


# --- collapse keys ---


def test_what_was_replaced_by_a_newer_one_is_not_sent_again() -> None:
    router, send = failed(collapse_key="k")
    router.request(event_type="mail.sent", collapse_key="k")
    newer = router.sends[-1]
    router.forget()

    assert asked(router, send) == ("suppressed", "replaced")
    router.settled(newer, "sent")
    assert asked(router, send) == ("suppressed", "replaced")
    router.replay(send)
    assert router.reported()[-1] == ("suppressed", "email", "replaced")
    assert router.last()["detail"]["by"] == newer.notification_id


def test_a_newer_one_that_came_to_nothing_is_no_obstacle() -> None:
    router, send = failed(collapse_key="k")
    router.request(event_type="mail.sent", collapse_key="k")
    router.settled(router.sends[-1], "failed", reason="permanent")
    router.forget()

    assert asked(router, send) == ("would_send", None)


def test_a_newer_one_counts_though_others_failed_since() -> None:
    router, send = failed(collapse_key="k")
    router.request(event_type="mail.sent", collapse_key="k")
    router.settled(router.sends[-1], "sent")
    for _ in range(20):
        router.request(event_type="mail.sent", collapse_key="k")
        router.settled(router.sends[-1], "failed", reason="retries_exhausted")
    router.forget()

    assert asked(router, send) == ("suppressed", "replaced")


def test_a_newer_one_counts_only_on_its_channel() -> None:
    router, send = failed(collapse_key="k")
    router.request(event_type="order.shipped", channels=["push"], collapse_key="k")
    router.forget()

    assert asked(router, send) == ("would_send", None)


def test_a_newer_candidate_replaces_it() -> None:
    router, send = failed(collapse_key="k")
    newer = "5f1c9a52-0d57-8b0e-9a39-000000010000"

    assert asked(router, send, newer=newer) == ("suppressed", "replaced")
    router.replay(send, newer=newer)
    assert router.last()["detail"]["by"] == newer


def test_a_replayed_one_never_replaces_a_newer_one_that_waits() -> None:
    router, send = failed(QUIET, collapse_key="k")
    router.request(event_type="mail.sent", collapse_key="k", send_at=rfc3339(NOON + 11 * HOUR))
    router.replay(send)
    router.settled(router.sends[0], "failed", reason="permanent")
    router.at(NOON + 11 * HOUR)
    router.forget()
    router.replay(send, ANOTHER)
    router.at(NOON + 20 * HOUR)

    assert [each.replay_id for each in router.sends] == [None]


def test_a_newer_one_replaces_a_replayed_one_that_waits() -> None:
    router, send = failed(QUIET, collapse_key="k")
    router.at(NOON + 11 * HOUR)
    router.replay(send)
    router.request(event_type="mail.sent", collapse_key="k")
    router.at(NOON + 20 * HOUR)

    assert [each.replay_id for each in router.sends] == [None]
    assert said(router.outcomes)[-1] == ("suppressed", "replaced")


# --- commands while it waits ---


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("notification.cancel", {"notification_id": None}, "cancelled"),
        ("user.erase", {}, "erased"),
    ],
)
def test_a_command_ends_what_waits(kind: str, fields: dict[str, Any], expected: str) -> None:
    router, send = failed(QUIET)
    router.at(NOON + 11 * HOUR)
    router.replay(send)
    router.command(kind, **dict.fromkeys(fields, send.notification_id))
    router.at(NOON + 24 * HOUR)

    assert said(router.outcomes)[-1][0] == expected
    assert router.sends == []


def test_an_erasure_leaves_the_report_of_what_is_on_its_way() -> None:
    router, send = failed()
    router.replay(send)
    router.command("user.erase")
    router.settled(router.sends[0], "suppressed", reason="erased")

    assert said(router.outcomes)[-1] == ("erased", "erased")


def test_an_opt_out_counts_when_the_wait_ends() -> None:
    router, send = failed(QUIET)
    router.at(NOON + 11 * HOUR)
    router.replay(send)
    router.command("preferences.set", preferences={"channels": {"email": False}})
    router.at(NOON + 24 * HOUR)

    assert said(router.outcomes)[-1] == ("opted_out", "opted_out")
    assert router.sends == []


def test_the_same_id_asked_for_anew_ends_what_waits_of_its_replay() -> None:
    key = {"idempotency_key": "k", "source": "shop"}
    router, send = failed(QUIET, **key)
    router.at(NOON + 7 * 24 * HOUR + 11 * HOUR)
    router.replay(send, expires_at=router.now + 24 * HOUR)
    router.request(event_type="mail.sent", **key)
    router.after(24 * HOUR)

    assert said(router.outcomes)[-1] == ("cancelled", None)
    assert [each.replay_id for each in router.sends] == [None]


# --- what comes too late, or is wrong ---


def test_a_request_that_is_late_is_neither_begun_nor_answered() -> None:
    router, send = failed()

    assert router.replay(send, until=router.now - 1) == []
    assert router.events == []
    assert router.sends == []
    assert said(router.replay(send, until=router.now)) == [("waiting", None)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": "bob"}, "key"),
        ({"replay_id": "x"}, "replay_id"),
        ({"send": None}, "send"),
        ({"send": {"channel": "in_app"}}, "send.channel"),
        ({"send": {"user_id": "bob"}}, "send.user_id"),
    ],
)
def test_a_request_that_is_wrong_changes_nothing(change: dict[str, Any], field: str) -> None:
    router, send = failed()
    value = json.loads(encode_replay_request(ReplayRequest(replay_id=REPLAY, user_id="ann", send=send)))
    for name, changed in change.items():
        value[name] = {**value[name], **changed} if isinstance(changed, dict) else changed
    router.feed(topics.REPLAY_REQUESTS, b"ann", json.dumps(value).encode())

    assert [invalid.field for invalid in router.dead] == [field]
    assert (router.events, router.outcomes) == ([], [])


@pytest.mark.parametrize(
    ("key", "value", "answered"),
    [
        (b"ann", {}, True),
        (b"ann", {"send": {"step": -1}}, True),
        (b"bob", {}, False),
        (b"ann", {"replay_id": "x"}, False),
    ],
)
def test_a_request_that_becomes_a_dead_letter_is_answered(key: bytes, value: dict[str, Any], answered: bool) -> None:
    router, send = failed()
    request = json.loads(encode_replay_request(ReplayRequest(replay_id=REPLAY, user_id="ann", send=send)))
    for name, changed in value.items():
        request[name] = {**request[name], **changed} if isinstance(changed, dict) else changed
    partition = int(send.send_id[-4:], 16)
    record = Record(topics.REPLAY_REQUESTS, partition, key=key, value=json.dumps(request).encode())
    state, out = router.machine.open(router.rows[partition], partition), Out()
    router.machine.end_refused(record, state, out, router.now, "permanent")

    outcomes = [json.loads(each.value or b"") for each in out.records]
    assert said(outcomes) == ([("suppressed", "permanent")] if answered else [])
    assert {each.topic for each in out.records} <= {topics.REPLAY_OUTCOMES}
