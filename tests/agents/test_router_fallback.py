"""Fallback chains and collapse keys: one channel after the other, and only the newest."""

from typing import Any

import pytest
from msgspec import Raw

from schemas.instants import rfc3339
from tests.agents.harness import HOUR, MINUTE, NOON, POLICY, Harness, template

CHAINED = POLICY + (
    "  payment.failed: {category: orders, template: note, channels: [push, email, in_app], "
    "fallback: {chain: [push, sms, email], wait: 2m, until: [delivered, opened]}}\n"
)


def chained(policy: str = CHAINED, **fields: Any) -> Harness:
    router = Harness(policy=policy, **fields)
    router.known()
    return router


def decided(router: Harness) -> list[tuple[Any, ...]]:
    return [reported for reported in router.reported() if reported[0] != "accepted"]


def test_the_next_step_begins_when_the_wait_is_over() -> None:
    router = chained()
    router.request(event_type="payment.failed")
    router.after(2 * MINUTE - 1)
    early = decided(router)
    router.after(1)
    push = router.sends[1]

    assert early == [("queued", "in_app", None), ("queued", "push", None)]
    assert decided(router)[2:] == [("queued", "sms", None)]
    assert [(w.send_id, w.status) for w in router.withdrawals] == [(push.send_id, "cancelled")]
    router.after(HOUR)
    assert decided(router)[3:] == [("queued", "email", None)]


@pytest.mark.parametrize("status", ["delivered", "clicked"])
def test_a_state_of_until_ends_the_chain(status: str) -> None:
    router = chained()
    router.request(event_type="payment.failed")
    router.receipt(router.sends[1], status)
    router.after(HOUR)

    assert ("queued", "sms", None) not in decided(router)


def test_that_the_inbox_has_its_item_beside_the_chain_is_no_state_of_until() -> None:
    router = chained(CHAINED.replace("[delivered, opened]", "[sent]"))
    router.request(event_type="payment.failed")
    inbox, push = router.sends
    router.settled(inbox, "sent")
    router.settled(push, "failed")
    sms = router.sends[2]
    router.settled(sms, "sent")
    router.after(HOUR)

    assert [send.channel for send in router.sends] == ["in_app", "push", "sms"]
    assert router.withdrawals == []


def test_a_state_of_until_that_comes_late_cancels_what_is_not_sent_yet() -> None:
    router = chained()
    router.request(event_type="payment.failed")
    push = router.sends[1]
    router.after(2 * MINUTE)
    sms = router.sends[2]
    router.receipt(push, "delivered")
    router.after(HOUR)

    assert [w.send_id for w in router.withdrawals] == [push.send_id, push.send_id, sms.send_id]
    assert ("queued", "email", None) not in decided(router)


def test_the_next_step_begins_at_once_when_the_step_is_suppressed() -> None:
    router = chained()
    router.command("preferences.set", preferences={"channels": {"push": False, "sms": False}})
    router.request(event_type="payment.failed")

    assert decided(router)[1:] == [
        ("suppressed", "push", "opted_out"),
        ("suppressed", "sms", "opted_out"),
        ("queued", "email", None),
    ]


def test_on_push_the_step_fails_when_all_devices_have() -> None:
    router = chained()
    router.device(device_id="d2")
    router.request(event_type="payment.failed")
    first, second = router.sends[1:]
    router.settled(first, "failed", reason="permanent")
    still = len(router.sends)
    router.receipt(second, "bounced")

    assert still == 3
    assert decided(router)[-1] == ("queued", "sms", None)


def test_unknown_is_no_failure() -> None:
    router = chained()
    router.request(event_type="payment.failed")
    router.settled(router.sends[1], "unknown")

    assert ("queued", "sms", None) not in decided(router)


def test_a_step_that_is_held_waits_no_longer_than_the_others() -> None:
    quiet = CHAINED.replace(
        "defaults:", 'defaults:\n  quiet_hours: {start: "22:00", end: "08:00", channels: [push, sms]}'
    )
    router = chained(quiet, now=NOON + 11 * HOUR)
    router.request(event_type="payment.failed")
    router.after(4 * MINUTE)

    assert decided(router) == [
        ("queued", "in_app", None),
        ("held", "push", "quiet_hours"),
        ("cancelled", "push", None),
        ("held", "sms", "quiet_hours"),
        ("cancelled", "sms", None),
        ("queued", "email", None),
    ]


def test_the_chain_is_cut_down_to_the_channels_of_the_request_and_of_the_template() -> None:
    router = chained(templates=[template("no-push", "sms", "email")])
    router.request(event_type="payment.failed", channels=["email", "push"])
    router.request(event_type="payment.failed", template_id="no-push")

    assert decided(router) == [("queued", "push", None), ("queued", "sms", None)]


def test_a_cancelled_notification_begins_no_further_step() -> None:
    router = chained()
    router.request(event_type="payment.failed", campaign_id="c")
    router.command("notification.cancel", campaign_id="c")
    router.after(HOUR)

    assert [reported[0] for reported in decided(router)] == ["queued", "queued"]


def test_steps_end_with_the_expiry() -> None:
    router = chained()
    router.request(event_type="payment.failed", expires_at=rfc3339(NOON + MINUTE))
    router.after(HOUR)

    assert [reported[1] for reported in decided(router)] == ["in_app", "push"]


# --- collapse ---

QUIET = POLICY.replace("defaults:", 'defaults:\n  quiet_hours: {start: "22:00", end: "08:00", channels: [push, sms]}')


def test_a_newer_one_replaces_what_is_held() -> None:
    router = chained(QUIET, now=NOON + 11 * HOUR)
    for n in range(3):
        router.request(channels=["push"], collapse_key="score", data={"n": n})
    newest = [event["notification_id"] for event in router.events if event["status"] == "accepted"][-1]
    router.at(NOON + 21 * HOUR)

    assert [reported for reported in decided(router) if reported[0] != "held"] == [
        ("suppressed", "push", "replaced"),
        ("suppressed", "push", "replaced"),
        ("queued", "push", None),
    ]
    assert [send.notification_id for send in router.sends] == [newest]


def test_a_newer_one_takes_back_what_is_queued() -> None:
    router = chained()
    router.request(channels=["push"], collapse_key="score", data={"n": 1})
    router.request(channels=["push", "email"], collapse_key="score", data={"n": 2})
    first, second, _ = router.sends

    assert [(w.send_id, w.status, w.reason, w.by) for w in router.withdrawals] == [
        (first.send_id, "suppressed", "replaced", second.notification_id)
    ]


def test_a_newer_one_that_is_suppressed_replaces_nothing() -> None:
    router = chained()
    router.request(channels=["push"], collapse_key="score", data={"n": 1})
    router.command("preferences.set", preferences={"channels": {"push": False}})
    router.request(channels=["push"], collapse_key="score", data={"n": 2})

    assert router.withdrawals == []


def test_another_key_and_another_channel_are_left_alone() -> None:
    router = chained()
    router.request(channels=["push"], collapse_key="a", data={"n": 1})
    router.request(channels=["push"], collapse_key="b", data={"n": 2})
    router.request(channels=["email"], collapse_key="a", data={"n": 3})

    assert router.withdrawals == []


def test_an_older_one_that_is_judged_later_does_not_replace_the_newer() -> None:
    router = chained()
    router.request(channels=["push"], collapse_key="a", data={"n": 1}, send_at=rfc3339(NOON + HOUR))
    router.request(channels=["push"], collapse_key="a", data={"n": 2})
    router.after(HOUR)

    assert len(router.sends) == 2
    assert router.withdrawals == []


def test_a_newer_one_replaces_what_is_gathered() -> None:
    policy = QUIET.replace("mail: {channels: [email]}", "mail: {channels: [email], digest: mails}").replace(
        "event_types:", "digests:\n  mails: {window: 10m, template: gathered}\nevent_types:"
    )
    router = chained(policy)
    for n in range(3):
        router.request(event_type="mail.sent", collapse_key="score", data={"n": n})
    router.after(10 * MINUTE)

    assert decided(router) == [
        ("held", "email", "digest"),
        ("held", "email", "digest"),
        ("suppressed", "email", "replaced"),
        ("held", "email", "digest"),
        ("suppressed", "email", "replaced"),
        ("queued", "email", None),
    ]
    assert router.sends[0].data == Raw(b'{"n": 2}')


def test_what_has_ended_is_no_longer_looked_at_for_its_collapse_key() -> None:
    router = chained()
    for n in range(5):
        router.request(collapse_key="score", data={"n": n})
        for send in router.sends[-2:]:
            router.settled(send, "sent")

    [(_, row)] = router.states[0].collapses.scan(b"", None)
    assert len(row.notifications) == 1


def test_a_step_that_is_replaced_lets_the_next_one_begin_at_once() -> None:
    quiet = CHAINED.replace("defaults:", 'defaults:\n  quiet_hours: {start: "22:00", end: "08:00", channels: [push]}')
    router = chained(quiet, now=NOON + 11 * HOUR)
    router.request(event_type="payment.failed", collapse_key="x")
    router.request(channels=["push"], collapse_key="x", data={"n": 1})
    router.wait_until_now()

    assert ("suppressed", "push", "replaced") in decided(router)
    assert decided(router)[-1] == ("queued", "sms", None)


def test_an_empty_collapse_key_is_none() -> None:
    router = chained()
    router.request(channels=["push"], collapse_key="", data={"n": 1})
    router.request(channels=["push"], collapse_key="", data={"n": 2})

    assert router.withdrawals == []


# --- escalation ---

ESCALATING = POLICY + (
    "  bill.due: {category: orders, template: note, channels: [in_app], "
    "fallback: {chain: [in_app, push, email, sms], wait: 10m, until: [seen, read]}}\n"
)


def test_what_is_not_seen_in_the_app_goes_on_by_push_then_email_then_sms() -> None:
    router = chained(ESCALATING)
    router.request(event_type="bill.due")
    for _ in range(4):
        router.settled(router.sends[-1], "sent")
        router.receipt(router.sends[-1], "delivered")
        router.after(10 * MINUTE)

    assert [(send.channel, send.accepted_at) for send in router.sends] == [
        (channel, NOON) for channel in ("in_app", "push", "email", "sms")
    ]
    queued = [event for event in router.events if event["status"] == "queued"]
    assert [event["occurred_at"] for event in queued] == [rfc3339(NOON + n * 10 * MINUTE) for n in range(4)]


@pytest.mark.parametrize("mark", ["seen", "read"])
@pytest.mark.parametrize("after_steps", [0, 1, 2])
def test_a_mark_in_the_inbox_ends_the_escalation(mark: str, after_steps: int) -> None:
    router = chained(ESCALATING)
    router.request(event_type="bill.due")
    item = router.sends[0]
    router.settled(item, "sent")
    router.after(after_steps * 10 * MINUTE)
    router.forget()
    router.settled(item, mark)
    router.after(HOUR)

    assert decided(router) == []
    assert len(router.withdrawals) == after_steps


def test_word_of_an_app_that_names_no_channel_ends_a_chain_too() -> None:
    router = chained(ESCALATING)
    router.request(event_type="bill.due", idempotency_key="k")
    router.after(10 * MINUTE)
    sends = len(router.sends)
    router.receipt(router.sends[0], "seen", send_id=None, channel=None)
    router.after(HOUR)

    assert len(router.sends) == sends


def test_a_mark_of_what_is_not_known_any_more_is_no_bad_record() -> None:
    router = chained(ESCALATING)
    router.request(event_type="bill.due")
    router.settled(router.sends[0], "seen", send_id="5f1c9a52-0d57-8b0e-9a39-000000000000")

    assert router.dead == []
