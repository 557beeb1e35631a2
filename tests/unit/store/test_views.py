"""The views: what they show of events that were written out of order, twice, or only in part."""

from typing import Any

import pytest
from clickhouse_connect.driver import AsyncClient

from app.domain.catalog import Catalog
from app.domain.policy import parse_policy
from app.store.targets import write_targets
from schemas.instants import rfc3339
from schemas.lifecycle import LifecycleEvent
from schemas.words import RANK, Status
from tests.unit.store.conftest import T0, event, store

HOUR = 3_600_000
VIEWS = {
    "notifications": "notification_id user_id channel send_id status reason provider event_type category priority "
    "source campaign_id accepted_at ended_at delivered_at opened_at clicked_at replay_id",
    "delivery_hourly": "hour channel provider category event_type source campaign_id status reason count",
    "latency_hourly": "hour channel provider priority p50_ms p90_ms p99_ms delivered_p50_ms delivered_p99_ms count",
    "engagement": "campaign_id template_id template_version variant channel sent delivered opened clicked bounced "
    "complained unsubscribed",
    "slo_hourly": "hour category priority total within target_ms",
    "decisions": "hour category event_type channel reason cap count",
    "users_reached": "day category channel users notifications opted_out",
    "provider_hourly": "hour provider calls accepted refused throttled in_doubt settled_sent unknown p50_ms p99_ms",
}


async def select(client: AsyncClient, sql: str) -> list[tuple[Any, ...]]:
    return sorted((await client.query(sql)).result_rows, key=str)


async def shown(client: AsyncClient, *events: LifecycleEvent) -> list[tuple[Any, ...]]:
    """Channel, send and status of each row of ``notifications``."""
    await store(client, *events)
    return await select(client, "SELECT channel, send_id, status FROM notify.notifications")


def send(status: Status, after_ms: int = 0, **fields: Any) -> LifecycleEvent:
    return event(status, after_ms, **{"channel": "email", "send_id": "s", **fields})


@pytest.mark.parametrize("view", VIEWS)
async def test_views_have_exactly_the_columns_of_the_contract(client: AsyncClient, view: str) -> None:
    rows = await client.query(
        f"SELECT name FROM system.columns WHERE database = 'notify' AND table = '{view}' ORDER BY position"
    )

    assert [name for (name,) in rows.result_rows] == VIEWS[view].split()


async def test_sql_ranks_statuses_as_the_words_do(client: AsyncClient) -> None:
    await store(client, *(event(status) for status in RANK))

    assert dict(await select(client, "SELECT status, rank FROM notify.lifecycle")) == RANK


async def test_an_event_written_twice_counts_once_in_every_view(client: AsyncClient) -> None:
    events = [
        event("accepted", category="orders"),
        send("held", 1, reason="rate_cap", detail={"cap": "push-hour"}),
        send("queued", 2, priority="high"),
        send("sending", 3, provider="ses", attempt=1),
        send("sent", 40, provider="ses", attempt=1),
        send("delivered", 100, provider="ses"),
    ]
    await store(client, *events)
    once = {view: await select(client, f"SELECT * FROM notify.{view}") for view in VIEWS}
    await store(client, *events)
    await store(client, *events[3:])

    assert {view: await select(client, f"SELECT * FROM notify.{view}") for view in VIEWS} == once
    assert all(once.values())


async def test_a_retired_device_is_in_no_view(client: AsyncClient) -> None:
    await store(client, event("accepted"), send("queued", 1), send("sent", 2, provider="ses"))
    without = {view: await select(client, f"SELECT * FROM notify.{view}") for view in VIEWS}
    await store(client, event("device_retired", notification_id=None, channel="push", reason="moved"))

    assert {view: await select(client, f"SELECT * FROM notify.{view}") for view in VIEWS} == without
    rows = await select(client, "SELECT notification_id, send_id FROM notify.lifecycle WHERE status = 'device_retired'")
    assert rows == [("", None)]


async def test_the_end_is_shown_however_late_other_events_are(client: AsyncClient) -> None:
    assert await shown(client, send("sent", 5), send("sending", 9), send("delivered", 12)) == [("email", "s", "sent")]


async def test_before_the_end_the_furthest_step_is_shown(client: AsyncClient) -> None:
    events = [send("queued", 5), send("sending", 4), send("retrying", 3)]

    assert await shown(client, *events) == [("email", "s", "sending")]


async def test_a_hold_after_a_retry_is_shown_as_held(client: AsyncClient) -> None:
    events = [send("queued", 1), send("sending", 2), send("retrying", 3), send("held", 4, reason="quiet_hours")]

    assert await shown(client, *events) == [("email", "s", "held")]
    assert await select(client, "SELECT reason, ended_at FROM notify.notifications") == [("quiet_hours", None)]


async def test_after_a_hold_the_steps_before_it_are_forgotten(client: AsyncClient) -> None:
    events = [send("sending", 2), send("retrying", 3), send("held", 4), send("queued", 9)]

    assert await shown(client, *events) == [("email", "s", "queued")]


async def test_push_that_was_held_and_then_queued_shows_its_devices_only(client: AsyncClient) -> None:
    events = [
        event("accepted"),
        event("held", 1, channel="push", reason="quiet_hours"),
        event("queued", 9, channel="push", send_id="phone"),
        event("queued", 9, channel="push", send_id="tablet"),
        event("sent", 10, channel="push", send_id="phone"),
    ]

    assert await shown(client, *events) == [("push", "phone", "sent"), ("push", "tablet", "queued")]


async def test_push_that_waits_or_was_suppressed_is_one_row_without_send(client: AsyncClient) -> None:
    await store(client, event("held", 1, channel="push", user_id="waits"))
    await store(client, event("suppressed", 1, channel="push", user_id="ended", reason="dnd"))

    assert await select(client, "SELECT user_id, send_id, status, reason FROM notify.notifications") == [
        ("ended", None, "suppressed", "dnd"),
        ("waits", None, "held", None),
    ]


async def test_a_schedule_is_a_row_for_all_channels_until_one_begins(client: AsyncClient) -> None:
    before = await shown(client, event("accepted"), event("scheduled", 1))
    after = await shown(client, event("held", 9, channel="push"), send("queued", 9))

    assert before == [(None, None, "scheduled")]
    assert after == [("email", "s", "queued"), ("push", None, "held")]


async def test_an_end_for_all_channels_is_a_row(client: AsyncClient) -> None:
    assert await shown(client, event("accepted"), event("suppressed", 1, reason="no_channel")) == [
        (None, None, "suppressed")
    ]


async def test_what_was_only_accepted_or_repeated_is_no_row(client: AsyncClient) -> None:
    assert await shown(client, event("accepted"), event("repeated", 5)) == []


async def test_a_replayed_send_stands_beside_the_end_that_it_repairs(client: AsyncClient) -> None:
    events = [
        event("suppressed", 1, channel="push", reason="opted_out"),
        event("queued", 9, channel="push", send_id="again", replay_id="r"),
    ]

    assert await shown(client, *events) == [("push", "again", "queued"), ("push", None, "suppressed")]


async def test_a_replayed_send_counts_from_its_own_acceptance(client: AsyncClient) -> None:
    again = {"send_id": "again", "replay_id": "r"}
    await store(client, event("accepted"), send("queued", 1), send("failed", 20, reason="retries_exhausted"))
    await store(client, send("accepted", HOUR, **again), send("queued", HOUR, **again))
    await store(client, send("sent", HOUR + 30, provider="ses", priority="normal", **again))
    rows = await client.query("SELECT send_id, status, replay_id, accepted_at FROM notify.notifications")

    assert sorted((*row[:3], int(row[3].timestamp() * 1000) - T0) for row in rows.result_rows) == [
        ("again", "sent", "r", HOUR),
        ("s", "failed", None, 0),
    ]
    assert await select(client, "SELECT p99_ms, count FROM notify.latency_hourly") == [(30, 1)]
    assert await select(client, "SELECT sent FROM notify.engagement ORDER BY sent") == [(1,)]


async def test_a_replayed_send_that_was_only_suppressed_is_a_row_of_its_own(client: AsyncClient) -> None:
    again = {"send_id": "again", "replay_id": "r"}
    events = [event("accepted"), send("failed", 20), send("accepted", 30, **again), send("suppressed", 30, **again)]

    assert await shown(client, *events) == [("email", "again", "suppressed"), ("email", "s", "failed")]


async def test_a_click_implies_an_open_and_an_open_a_delivery(client: AsyncClient) -> None:
    await store(client, event("accepted"), send("sent", 10), send("clicked", 50), send("opened", 70))

    [row] = (
        await client.query(
            "SELECT accepted_at, ended_at, delivered_at, opened_at, clicked_at FROM notify.notifications"
        )
    ).result_rows
    assert [int(at.timestamp() * 1000) - T0 for at in row] == [0, 10, 50, 50, 50]


async def test_latency_counts_from_accepted_to_sent_and_on_to_delivered(client: AsyncClient) -> None:
    for number, ms in enumerate((100, 300, 200)):
        own = {"user_id": f"u{number}", "priority": "high", "provider": "ses"}
        await store(client, event("accepted", user_id=f"u{number}"), send("sent", ms, **own))
    await store(client, send("delivered", 350, user_id="u1"), event("accepted", HOUR, user_id="v"))
    await store(client, send("sent", HOUR + 7, user_id="v", priority="high", provider="ses"))

    assert await select(
        client,
        "SELECT toHour(hour), channel, provider, priority, p50_ms, p99_ms, delivered_p50_ms, delivered_p99_ms, count "
        "FROM notify.latency_hourly",
    ) == [(10, "email", "ses", "high", 200, 300, 50, 50, 3), (11, "email", "ses", "high", 7, 7, None, None, 1)]


async def test_what_a_machine_opened_or_clicked_counts_as_delivered_only(client: AsyncClient) -> None:
    by_machine = {"detail": {"machine": True}}
    await store(client, send("sent", 1), send("opened", 5, **by_machine), send("clicked", 6, **by_machine))

    assert await select(client, "SELECT delivered, opened, clicked FROM notify.engagement") == [(1, 0, 0)]
    assert await select(client, "SELECT status FROM notify.delivery_hourly") == [("sent",)]
    assert await select(client, "SELECT opened_at, clicked_at FROM notify.notifications") == [(None, None)]


async def test_a_call_counts_in_the_hour_in_which_it_began_by_what_came_of_it(client: AsyncClient) -> None:
    call = {"provider": "ses", "attempt": 1}
    await store(client, send("sending", 0, **call), send("in_doubt", 9, reason="timeout", **call))
    await store(client, send("sent", HOUR, **call))
    await store(
        client, send("sending", 0, send_id="b", **call), send("retrying", 30, send_id="b", reason="429", **call)
    )
    await store(client, send("sending", 50, send_id="b", **call), send("failed", 70, send_id="b", **call))

    assert await select(client, "SELECT * EXCEPT hour FROM notify.provider_hourly") == [
        ("ses", 3, 0, 1, 1, 1, 1, 0, 30, 30)
    ]


#: Provider, code and kind of the answer, and what that counts as. (Of events without a kind the code is taken for it.)
ANSWERS = [
    ("vonage", "10", "throttle", "throttled"),
    ("vonage", "10", None, "throttled"),
    ("webpush", "406", "throttle", "throttled"),
    ("apns", "TooManyProviderTokenUpdates", "config", "refused"),
    ("apns", "TooManyProviderTokenUpdates", None, "refused"),
    ("ses", "a code that nobody knows", "throttle", "throttled"),
    ("ses", "rate limit", "retry", "refused"),
    ("ses", "lane_full", "not_called", ""),
    ("ses", "lane_full", None, ""),
]


@pytest.mark.parametrize(("provider", "code", "kind", "counted"), ANSWERS)
async def test_a_retry_counts_as_what_its_answer_was(
    client: AsyncClient, provider: str, code: str, kind: str | None, counted: str
) -> None:
    trail: dict[str, Any] = {} if kind is None else {"detail": {"trail": [["answer", "wait", kind]]}}
    await store(
        client, send("sending", provider=provider), send("retrying", 9, provider=provider, reason=code, **trail)
    )

    found = await select(client, "SELECT refused, throttled FROM notify.provider_hourly")
    assert found == [(int(counted == "refused"), int(counted == "throttled"))]


@pytest.mark.parametrize("reason", ["provider_outage", "quiet_hours"])
async def test_what_was_put_off_before_its_call_was_not_refused(client: AsyncClient, reason: str) -> None:
    await store(client, send("sending", provider="ses"), send("held", 9, provider="ses", reason=reason))

    assert await select(client, "SELECT calls, refused, p50_ms FROM notify.provider_hourly") == [(1, 0, None)]


async def test_engagement_counts_a_send_once_however_often_it_was_opened(client: AsyncClient) -> None:
    campaign = {"campaign_id": "c", "template_id": "t", "template_version": 2, "variant": "a"}
    await store(client, send("sent", 1, **campaign), send("sent", 1, send_id="s2", **campaign))
    await store(client, send("opened", 5), send("opened", 6), send("clicked", 7), send("complained", 8))
    await store(client, send("bounced", 9, send_id="s2", reason="hard"), send("unsubscribed", 9))

    assert await select(client, "SELECT * FROM notify.engagement") == [
        ("c", "t", 2, "a", "email", 2, 1, 1, 1, 1, 1, 1),
    ]


async def test_deliveries_and_decisions_are_counted_by_hour(client: AsyncClient) -> None:
    capped = {"channel": "push", "reason": "rate_cap", "category": "orders", "detail": {"cap": "push-hour"}}
    await store(client, event("suppressed", 1, **capped), event("suppressed", 2, **capped))
    await store(client, event("held", HOUR, **capped), event("queued", HOUR, channel="push", send_id="s"))

    assert await select(client, "SELECT toHour(hour), reason, cap, count FROM notify.decisions") == [
        (10, "rate_cap", "push-hour", 2),
        (11, "rate_cap", "push-hour", 1),
    ]
    assert await select(client, "SELECT toHour(hour), channel, status, count FROM notify.delivery_hourly") == [
        (10, "push", "suppressed", 2),
        (11, "push", "held", 1),
        (11, "push", "queued", 1),
    ]


#: In minutes after accepted: when it was queued, until when quiet hours held it then, when it ended; whether in time.
MEASURED = [
    (0, None, 4, "sent", True),
    (0, None, 6, "sent", False),
    (120, None, 124, "sent", True),
    (120, None, 126, "sent", False),
    (0, 60, 64, "sent", True),
    (0, 60, 66, "sent", False),
    (0, None, 1, "failed", False),
    (0, None, 1, "unknown", False),
    (0, None, 1, "expired", False),
]


@pytest.mark.parametrize(("queued", "held", "ended", "status", "within"), MEASURED)
async def test_a_send_is_in_time_from_when_it_was_queued_or_the_night_was_over(
    client: AsyncClient, queued: int, held: int | None, ended: int, status: Status, within: bool
) -> None:
    minute = 60_000
    own: dict[str, Any] = {"category": "orders", "priority": "normal"}
    until = {"until": rfc3339(T0 + (held or 0) * minute)}
    events = [
        event("accepted", **own),
        send("queued", queued * minute, **own),
        *([send("held", 1, reason="quiet_hours", detail=until, **own)] if held is not None else []),
        send("held", queued * minute + 1, reason="provider_outage", detail={"until": rfc3339(T0)}, **own),
        send(status, ended * minute, provider="ses", **own),
    ]
    await store(client, *events, *events)

    assert await select(client, "SELECT total, within, target_ms FROM notify.slo_hourly") == [(1, int(within), 300_000)]


async def test_what_a_user_stopped_what_has_no_target_and_what_is_open_is_not_measured(client: AsyncClient) -> None:
    own: dict[str, Any] = {"category": "orders", "priority": "normal"}
    await store(client, send("queued", **own), send("suppressed", 9, reason="opted_out", **own))
    await store(client, send("queued", send_id="open", **own))
    low: dict[str, Any] = {"category": "orders", "priority": "low", "send_id": "low"}
    await store(client, send("queued", **low), send("sent", 9, **low))

    assert await select(client, "SELECT * FROM notify.slo_hourly") == []


async def test_the_target_is_that_of_the_policy_at_the_end(client: AsyncClient) -> None:
    def catalog(version: int, target: str) -> Catalog:
        category = {"channels": ["email"]} | ({"target": target} if target else {})
        return Catalog(parse_policy({"categories": {"orders": category}}), version, {})

    for version, target in ((3, "1s"), (5, ""), (7, "2h")):
        await write_targets(client, catalog(version, target))
        await write_targets(client, catalog(version, target))
    for version in (2, 3, 4, 5, 8):
        own: dict[str, Any] = {
            "send_id": f"s{version}",
            "category": "orders",
            "priority": "low",
            "policy_version": version,
        }
        await store(client, send("queued", **own), send("sent", 1500, **own))

    # (of before it was told any the priority counts, which has none here; and so has version 5)
    assert await select(client, "SELECT target_ms, total, within FROM notify.slo_hourly") == [
        (1_000, 2, 0),
        (7_200_000, 1, 1),
    ]
