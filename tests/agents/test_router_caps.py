"""Caps: places, what is over them, and what waits for one."""

from typing import Any

from schemas.instants import rfc3339
from tables.schedule import due_ms_of
from tests.agents.harness import HOUR, MINUTE, NOON, POLICY, Harness


def capped(*caps: str, limit: int = 1) -> Harness:
    listed = "".join(f"\n  - {{{cap}, limit: {limit}, window: 1h}}" for cap in caps)
    router = Harness(policy=f"{POLICY}\ncaps:{listed}\n")
    router.known()
    return router


def decided(router: Harness) -> list[tuple[Any, ...]]:
    return [reported for reported in router.reported() if reported[0] != "accepted"]


def test_what_is_over_a_cap_is_suppressed_and_says_by_whom_it_is_used() -> None:
    router = capped("name: day")
    router.request(event_type="mail.sent")
    router.request(event_type="mail.sent")

    last = router.last()
    assert (last["status"], last["reason"]) == ("suppressed", "rate_cap")
    assert (last["detail"]["cap"], last["detail"]["used_by"]) == ("day", [router.events[0]["notification_id"]])


def test_a_place_is_free_when_the_window_has_slid_past_it() -> None:
    router = capped("name: day")
    router.request(event_type="mail.sent")
    router.after(HOUR)
    router.request(event_type="mail.sent")

    assert decided(router) == [("queued", "email", None)] * 2


def test_a_cap_without_channel_counts_a_notification_once() -> None:
    router = capped("name: day", limit=2)
    router.request()
    router.request()

    assert [reported[0] for reported in decided(router)] == ["queued"] * 4


def test_a_cap_without_channel_leaves_the_inbox_alone() -> None:
    router = capped("name: day")
    router.request(channels=["in_app"])
    router.request(channels=["in_app", "email"])
    router.request(channels=["in_app", "email"])

    assert decided(router)[-2:] == [("queued", "in_app", None), ("suppressed", "email", "rate_cap")]


def test_a_cap_of_a_channel_counts_several_devices_as_one() -> None:
    router = capped("name: pushes, channel: push", limit=2)
    router.device(device_id="d2")
    router.request(channels=["push"])
    router.request(channels=["push"])

    assert [reported[0] for reported in decided(router)] == ["queued"] * 4


def test_critical_is_never_capped_but_counts() -> None:
    router = capped("name: day")
    router.request(event_type="login.otp", channels=["sms"])
    router.request(event_type="login.otp", channels=["sms"])
    router.request(event_type="mail.sent")

    assert decided(router) == [("queued", "sms", None)] * 2 + [("suppressed", "email", "rate_cap")]


def test_what_is_deferred_waits_for_a_place_in_order() -> None:
    router = capped("name: day, over: defer")
    for n in range(4):
        router.request(event_type="mail.sent", data={"n": n})
        router.after(MINUTE)
    order = [event["notification_id"] for event in router.events if event["status"] == "accepted"]
    held = [event for event in router.events if event["status"] == "held"]
    queued_at = []
    for _ in range(240):
        before = len(router.sends)
        router.after(MINUTE)
        queued_at += [router.now] * (len(router.sends) - before)

    assert [event["detail"]["until"] for event in held] == [rfc3339(NOON + n * HOUR) for n in (1, 2, 3)]
    assert [send.notification_id for send in router.sends] == order
    assert queued_at == [NOON + n * HOUR for n in (1, 2, 3)]


def test_a_newcomer_stands_behind_those_who_wait() -> None:
    router = capped("name: day, over: defer")
    router.request(event_type="mail.sent", data={"n": 0})
    router.request(event_type="mail.sent", data={"n": 1})
    router.now += HOUR  # the place is free, but nobody has been woken yet
    router.request(event_type="mail.sent", data={"n": 2})
    router.wait_until_now()

    order = [event["notification_id"] for event in router.events if event["status"] == "accepted"]
    assert [send.notification_id for send in router.sends] == order[:2]


def test_a_freed_slot_is_evaluated_later_so_that_its_events_have_ids_of_their_own() -> None:
    router = capped("name: day, over: defer")
    for n in range(3):
        router.request(event_type="mail.sent", data={"n": n})
    router.settled(router.sends[0], "failed", reason="permanent")

    [place] = [key for key, due in router.states[0].schedule.scan(b"", None) if due.kind == "place"]
    assert due_ms_of(place) > router.now


def test_a_place_that_is_given_back_lets_the_next_one_in_at_once() -> None:
    router = capped("name: day, over: defer")
    router.request(event_type="mail.sent", data={"n": 0})
    router.request(event_type="mail.sent", data={"n": 1})
    router.request(event_type="mail.sent", data={"n": 2})
    router.settled(router.sends[0], "failed", reason="permanent")
    router.wait_until_now()

    order = [event["notification_id"] for event in router.events if event["status"] == "accepted"]
    assert [send.notification_id for send in router.sends] == order[:2]


def test_who_waits_and_is_cancelled_leaves_the_queue() -> None:
    router = capped("name: day, over: defer")
    router.request(event_type="mail.sent", data={"n": 0})
    router.request(event_type="mail.sent", data={"n": 1}, campaign_id="c")
    router.request(event_type="mail.sent", data={"n": 2})
    router.command("notification.cancel", campaign_id="c")
    router.after(HOUR)

    sooner = ("held", "email", "rate_cap")
    assert decided(router)[-3:] == [("cancelled", "email", None), sooner, ("queued", "email", None)]


def test_a_deferred_one_that_expires_first_is_expired() -> None:
    router = capped("name: day, over: defer")
    router.request(event_type="mail.sent", data={"n": 0})
    router.request(event_type="mail.sent", data={"n": 1}, expires_at=rfc3339(NOON + MINUTE))
    router.after(HOUR)

    assert decided(router)[-1] == ("expired", "email", None)
    assert router.states[0].windows.get(b"ann").waiting == {}  # type: ignore[union-attr]


def test_a_cap_that_is_over_may_gather() -> None:
    policy = POLICY + (
        "digests:\n  late: {window: 10m, template: gathered}\n"
        "caps:\n  - {name: mails, limit: 1, window: 1h, over: {digest: late}}\n"
    )
    router = Harness(policy=policy)
    router.known()
    for n in range(3):
        router.request(event_type="mail.sent", data={"n": n})
    held = decided(router)[1:]
    [asked] = [rule for rule in router.last()["detail"]["trail"] if rule[0] == "cap"]
    router.after(10 * MINUTE)

    assert held == [("held", "email", "digest")] * 2
    assert asked == ["cap", "wait", "mails", 1, 1, HOUR, NOON + HOUR]  # the cap that was over sends it to the digest
    assert decided(router)[3:] == [
        ("aggregated", "email", None),
        ("aggregated", "email", None),
        ("suppressed", "email", "rate_cap"),
    ]
