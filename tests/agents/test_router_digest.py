"""Digests: what is gathered, when it closes, and what it becomes."""

from typing import Any

import pytest

from schemas.instants import parse_ms, rfc3339
from tests.agents.harness import HOUR, MINUTE, NOON, Harness

SOCIAL = """
categories:
  social: {channels: [push, in_app], digest: social}
  other: {channels: [in_app]}
digests:
  social: {window: 10m, max_wait: 25m, max_items: 4, min_items: 2, template: gathered, channels: [push, email]}
event_types:
  like.made: {category: social, template: note}
  comment.created:
    {category: social, template: note, digest: {key: data.thread, window: 5m, max_wait: 1h, template: gathered}}
  alarm.raised: {category: social, template: note, priority: critical}
"""


def social(policy: str = SOCIAL) -> Harness:
    router = Harness(policy=policy)
    router.known()
    return router


def like(router: Harness, n: int, **fields: Any) -> None:
    router.request(event_type="like.made", channels=["push"], data={"n": n}, **fields)


def decided(router: Harness) -> list[tuple[Any, ...]]:
    return [reported for reported in router.reported() if reported[0] != "accepted"]


def test_items_are_held_and_become_one_notification() -> None:
    router = social()
    like(router, 1, created_at=rfc3339(NOON + 2))
    like(router, 2, created_at=rfc3339(NOON + 1))
    held = decided(router)
    items = [event["notification_id"] for event in router.events if event["status"] == "accepted"]
    router.after(10 * MINUTE)

    (send,) = router.sends
    assert held == [("held", "push", "digest")] * 2
    assert decided(router)[2:] == [("aggregated", "push", None)] * 2 + [("queued", "push", None)]
    into = {event["detail"]["into"] for event in router.events if event["status"] == "aggregated"}
    assert into == {send.notification_id}
    assert [item.notification_id for item in send.items or []] == items[::-1]
    assert (send.source, send.template_id, send.event_type) == ("tocsin", "gathered", "like.made")
    assert [bytes(item.data) for item in send.items or []] == [b'{"n":2}', b'{"n":1}']


def test_the_digests_notification_has_its_own_accepted() -> None:
    router = social()
    like(router, 1)
    like(router, 2)
    router.after(10 * MINUTE)

    name = router.sends[0].notification_id
    assert router.reported(notification_id=name) == [("accepted", None, None), ("queued", "push", None)]
    assert router.sends[0].expires_at == NOON + 10 * MINUTE + 48 * HOUR


def test_it_closes_a_window_after_the_latest_item() -> None:
    router = social()
    like(router, 1)
    router.after(9 * MINUTE)
    like(router, 2)
    router.after(9 * MINUTE)
    open_still = len(router.sends)
    router.after(1 * MINUTE)

    assert (open_still, len(router.sends)) == (0, 1)
    assert [e["detail"]["due"] for e in router.events if e["status"] == "held"] == [
        rfc3339(NOON + 10 * MINUTE),
        rfc3339(NOON + 19 * MINUTE),
    ]


def test_it_closes_at_the_longest_wait_after_the_first() -> None:
    router = social()
    for n in range(3):
        like(router, n)
        router.after(9 * MINUTE)

    assert len(router.sends[0].items or []) == 3
    assert router.sends[0].created_at == NOON + 25 * MINUTE


def test_it_closes_when_it_is_full() -> None:
    router = social()
    for n in range(4):
        like(router, n)
    router.wait_until_now()

    assert len(router.sends[0].items or []) == 4


def test_what_comes_before_a_full_one_is_closed_opens_the_next() -> None:
    router = social()
    for n in range(10):
        like(router, n)
    accepted = [event["notification_id"] for event in router.events if event["status"] == "accepted"]
    router.after(10 * MINUTE)

    gathered = [[item.notification_id for item in send.items or []] for send in router.sends]
    assert gathered == [accepted[:4], accepted[4:8], accepted[8:]]
    assert len({send.notification_id for send in router.sends}) == 3


def test_what_is_full_is_dropped_and_cancelled_like_the_rest() -> None:
    router = social(SOCIAL.replace("max_items: 4", "max_items: 4, drop_when_active: true"))
    for n in range(5):
        like(router, n, campaign_id=f"c{n}")
    router.command("notification.cancel", campaign_id="c1")
    router.command("activity.seen")
    router.after(HOUR)

    assert decided(router)[5:] == [("cancelled", "push", None)] + [("suppressed", "push", "active_in_app")] * 4
    assert router.sends == []


def test_too_few_go_on_singly_and_are_not_digested_again() -> None:
    router = social()
    like(router, 1)
    router.after(10 * MINUTE)

    assert decided(router) == [("held", "push", "digest"), ("queued", "push", None)]
    assert router.sends[0].items is None


@pytest.mark.parametrize(
    ("gone", "end"),
    [
        ("cancelled", ("cancelled", "push", None)),
        ("expired", ("expired", "push", None)),
        ("opted_out", ("suppressed", "push", "opted_out")),
    ],
)
def test_items_that_are_gone_since_are_left_out(gone: str, end: tuple[Any, ...]) -> None:
    router = social()
    like(router, 1, campaign_id="c", **({"expires_at": rfc3339(NOON + MINUTE)} if gone == "expired" else {}))
    like(router, 2)
    if gone == "cancelled":
        router.command("notification.cancel", campaign_id="c")
    if gone == "opted_out":
        router.command("preferences.set", preferences={"categories": {"social": {"push": False}}})
    router.after(10 * MINUTE)

    assert end in decided(router)
    assert "aggregated" not in [reported[0] for reported in decided(router)]


def test_each_value_of_the_key_has_its_own() -> None:
    router = social()
    for thread in (1, 2, 1, 2):
        data = {"thread": thread, "n": len(router.events)}
        router.request(event_type="comment.created", channels=["push"], data=data)
    router.request(event_type="comment.created", channels=["push"], data={"n": 1})
    router.after(5 * MINUTE)

    assert [len(send.items or []) for send in router.sends] == [0, 2, 2]


def test_only_the_digests_channels_are_gathered_and_critical_never_is() -> None:
    router = social()
    router.request(event_type="like.made", data={"n": 1})
    router.request(event_type="alarm.raised", data={"n": 1}, channels=["push"])

    assert decided(router) == [("held", "push", "digest"), ("queued", "in_app", None), ("queued", "push", None)]


def test_a_users_own_rhythm_replaces_the_window_of_the_categorys_rule() -> None:
    router = social()
    router.command("preferences.set", preferences={"digest": {"social": {"every": "day", "at": "15:00"}}})
    like(router, 1)
    router.after(HOUR)
    like(router, 2)
    router.at(NOON + 3 * HOUR - 1)
    early = len(router.sends)
    router.after(1)

    assert (early, len(router.sends)) == (0, 1)


@pytest.mark.parametrize(
    ("kind", "fields", "closes"),
    [
        ("preferences.set", {"preferences": {"digest": {"social": {"every": "hour"}}}}, NOON + HOUR),
        ("preferences.set", {"preferences": {}}, NOON + 11 * MINUTE),
        ("profile.set", {"timezone": "America/New_York"}, NOON + 8 * HOUR),
        ("activity.seen", {"timezone": "Asia/Tokyo"}, NOON + 18 * HOUR),
    ],
)
def test_another_rhythm_or_zone_counts_for_what_is_gathered_already(
    kind: str, fields: dict[str, Any], closes: int
) -> None:
    router = social()
    router.command("preferences.set", preferences={"digest": {"social": {"every": "day", "at": "15:00"}}})
    like(router, 1)
    router.after(MINUTE)
    like(router, 2)
    router.command(kind, **fields)
    due = [event["detail"]["due"] for event in router.events if event["status"] == "held"]
    router.at(closes - 1)
    early = len(router.sends)
    router.after(1)

    assert due == [rfc3339(NOON + 3 * HOUR)] * 2 + [rfc3339(closes)] * 2
    assert (early, len(router.sends)) == (0, 1)


def test_a_day_by_the_users_clock_is_as_long_as_the_clock_says() -> None:
    saturday = parse_ms("2026-03-28T12:00:00Z")  # in the night to Sunday London's clocks go on by an hour
    router = Harness(policy=SOCIAL, now=saturday)
    router.known(timezone="Europe/London")
    router.command("preferences.set", preferences={"digest": {"social": {"every": "day", "at": "09:00"}}})
    closed = []
    for n in range(3):
        like(router, 2 * n)
        like(router, 2 * n + 1)
        router.after(24 * HOUR)
        closed.append(router.sends[-1].created_at - saturday)

    assert closed == [20 * HOUR, 44 * HOUR, 68 * HOUR]


def test_a_week_closes_on_its_weekday_at_its_time() -> None:
    router = social()
    router.known(timezone="Asia/Kolkata")
    choice = {"every": "week", "on": "mon", "at": "08:30"}
    router.command("preferences.set", preferences={"digest": {"social": choice}})
    like(router, 1, expires_at=rfc3339(NOON + 7 * 24 * HOUR))
    router.after(48 * HOUR)
    like(router, 2, expires_at=rfc3339(NOON + 7 * 24 * HOUR))
    router.after(7 * 24 * HOUR)

    assert [rfc3339(send.created_at) for send in router.sends] == ["2026-03-09T03:00:00.000Z"]


def test_several_digests_of_a_user_are_gathered_at_once() -> None:
    router = social()
    router.request(event_type="comment.created", channels=["push", "email"], data={"thread": 1, "n": 1})
    router.request(event_type="comment.created", channels=["push", "email"], data={"thread": 1, "n": 2})
    like(router, 1)
    like(router, 2)
    router.after(10 * MINUTE)

    assert sorted((send.channel, send.event_type, len(send.items or [])) for send in router.sends) == [
        ("email", "comment.created", 2),
        ("push", "comment.created", 2),
        ("push", "like.made", 2),
    ]


def test_being_in_the_app_drops_what_the_rule_says_is_dropped() -> None:
    router = social(SOCIAL.replace("max_items: 4", "max_items: 4, drop_when_active: true"))
    like(router, 1)
    like(router, 2)
    router.command("activity.seen")
    router.after(HOUR)

    assert decided(router)[2:] == [("suppressed", "push", "active_in_app")] * 2


def test_the_highest_priority_of_the_items_is_the_digests() -> None:
    router = social()
    like(router, 1, priority="low")
    like(router, 2, priority="high")
    router.after(10 * MINUTE)

    assert router.sends[0].priority == "high"


def test_a_digest_of_several_event_types_is_named_by_its_rule_and_keeps_the_category() -> None:
    policy = SOCIAL + "  follow.made: {category: social, template: note}\n"
    router = social(policy)
    like(router, 1)
    router.request(event_type="follow.made", channels=["push"], data={"n": 1}, campaign_id="c")
    router.after(10 * MINUTE)

    (send,) = router.sends
    assert (send.event_type, send.category, send.campaign_id) == ("social", "social", None)


def test_a_digest_that_opens_with_its_first_lets_it_out_at_once() -> None:
    router = social(SOCIAL.replace("max_items: 4", "max_items: 4, first: send"))
    for n in range(3):
        like(router, n)
    now = decided(router)
    router.after(10 * MINUTE)

    assert now == [("queued", "push", None)] + [("held", "push", "digest")] * 2
    assert [len(send.items or []) for send in router.sends] == [0, 2]


@pytest.mark.parametrize("over", ["suppress", "defer", "{digest: social}"])
def test_a_first_one_that_a_cap_would_keep_is_gathered(over: str) -> None:
    cap = f"caps:\n  - {{name: pushes, channel: push, limit: 1, window: 10m, over: {over}}}\n"
    router = social(SOCIAL.replace("max_items: 4", "max_items: 4, first: send") + cap)
    router.request(event_type="alarm.raised", channels=["push"])
    for n in range(2):
        like(router, n)
    held = decided(router)[1:]
    router.after(HOUR)

    assert held == [("held", "push", "digest")] * 2
    assert [len(send.items or []) for send in router.sends[1:]] == [2]


def test_a_first_one_that_quiet_hours_would_keep_is_gathered() -> None:
    quiet = 'defaults:\n  quiet_hours: {start: "12:00", end: "12:30"}\n'
    router = social(quiet + SOCIAL.replace("max_items: 4", "max_items: 4, first: send"))
    for n in range(2):
        like(router, n)
    router.after(HOUR)

    assert [len(send.items or []) for send in router.sends] == [2]


def test_items_carry_their_data_newest_first_up_to_256_kib_and_older_ones_are_cut() -> None:
    router = social(SOCIAL.replace("max_items: 4", "max_items: 50"))
    for n in range(8):
        message = {"n": n, "text": "ü" * 30_000}  # 60 KB
        router.request(event_type="like.made", channels=["push"], created_at=rfc3339(NOON + n), data=message)
    router.after(10 * MINUTE)

    (send,) = router.sends
    items = send.items or []
    assert [item.truncated for item in items] == [True] * 4 + [False] * 4
    assert [bytes(item.data) for item in items[:4]] == [b"{}"] * 4
    assert sum(len(bytes(item.data)) for item in items) <= 256 * 1024


def test_a_small_item_older_than_one_that_does_not_fit_is_cut_too() -> None:
    router = social(SOCIAL.replace("max_items: 4", "max_items: 50"))
    router.request(event_type="like.made", channels=["push"], created_at=rfc3339(NOON), data={"n": 0})
    for n in range(1, 6):
        message = {"n": n, "text": "u" * 60_000}
        router.request(event_type="like.made", channels=["push"], created_at=rfc3339(NOON + n), data=message)
    router.after(10 * MINUTE)

    assert [item.truncated for item in router.sends[0].items or []] == [True, True, False, False, False, False]


def test_what_was_cut_is_whole_again_where_a_newer_item_was_cancelled() -> None:
    router = social(SOCIAL.replace("max_items: 4", "max_items: 50"))
    for n in range(6):
        message = {"n": n, "text": "u" * 60_000}
        router.request(event_type="like.made", channels=["push"], created_at=rfc3339(NOON + n), data=message)
        if n == 5:
            router.command("notification.cancel", notification_id=router.last()["notification_id"])
    router.after(10 * MINUTE)

    assert [item.truncated for item in router.sends[0].items or []] == [True, False, False, False, False]


def test_an_open_digest_holds_no_data() -> None:
    router = social(SOCIAL.replace("max_items: 4", "max_items: 50"))
    for n in range(10):
        router.request(event_type="like.made", channels=["push"], data={"n": n, "text": "u" * 60_000})

    [(_, row)] = router.rows[0].tables["digests"].items()
    assert len(row) < 10 * 200
