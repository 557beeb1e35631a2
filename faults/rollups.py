"""The invariant ROLLUP: ClickHouse's views, which answer from states, say what slow, obvious queries over events say.

It shares no SQL with the views, so that a mistake there can't hide itself.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from app.store.announcement import announced_url

#: Events may come in between the two queries of a comparison: it is made again, so often.
_ATTEMPTS = 3
_MOST_SHOWN = 3
_SETTINGS = {"max_memory_usage": 2_000_000_000, "max_execution_time": 120}

_EVENTS = "notify.lifecycle FINAL"
_SHOWN = (
    f"SELECT * FROM {_EVENTS} WHERE status != 'device_retired' AND NOT (machine AND status IN ('opened', 'clicked'))"
)
_ENDS = "('sent', 'failed', 'suppressed', 'expired', 'cancelled', 'unknown', 'aggregated')"
_BACK = "('delivered', 'opened', 'clicked', 'seen', 'read', 'bounced', 'complained', 'unsubscribed')"
_OPENS, _CLICKS = "('opened', 'clicked', 'read')", "('clicked')"
#: What each send came to.
_SENDS = f"""
    SELECT
        notification_id, user_id, channel, send_id, replay_id,
        countIf(status IN {_ENDS}) > 0 AS ended,
        argMaxIf(status, occurred_at, status IN {_ENDS}) AS end,
        maxIf(occurred_at, status IN {_ENDS}) AS ended_at,
        argMaxIf(policy_version, occurred_at, status IN {_ENDS}) AS policy,
        max(category) AS of_category, max(priority) AS of_priority,
        argMaxIf(provider, occurred_at, provider != '' AND status NOT IN {_BACK}) AS of_provider,
        minOrNullIf(occurred_at, status = 'accepted') AS own_accepted_at,
        minOrNullIf(occurred_at, status = 'queued') AS queued_at,
        maxIf(
            parseDateTime64BestEffortOrZero(JSONExtractString(ifNull(detail, ''), 'until'), 3, 'UTC'),
            status = 'held' AND reason = 'quiet_hours'
        ) AS held_until,
        minOrNullIf(occurred_at, status IN ('delivered', 'opened', 'clicked', 'seen', 'read')) AS delivered_at,
        max(template_id) AS template, max(template_version) AS version, max(variant) AS of_variant,
        if(
            ended,
            nullIf(argMaxIf(ifNull(campaign_id, ''), occurred_at, status IN {_ENDS}), ''),
            CAST(max(campaign_id), 'Nullable(String)')
        ) AS campaign,
        countIf(status IN ('delivered', 'opened', 'clicked', 'seen', 'read')) > 0 AS delivered,
        countIf(status IN {_OPENS} AND NOT machine) > 0 AS opened,
        countIf(status IN {_CLICKS} AND NOT machine) > 0 AS clicked,
        countIf(status = 'bounced') > 0 AS bounced,
        countIf(status = 'complained') > 0 AS complained,
        countIf(status = 'unsubscribed') > 0 AS unsubscribed
    FROM {_EVENTS}
    WHERE send_id IS NOT NULL AND status != 'device_retired'
    GROUP BY notification_id, user_id, channel, send_id, replay_id
"""
#: With when they were accepted: by the request, or by their own replay.
_ACCEPTED = f"""
    SELECT sends.*, if(replay_id IS NULL, first_accepted_at, own_accepted_at) AS accepted_at
    FROM ({_SENDS}) AS sends
    LEFT JOIN (
        SELECT notification_id, user_id, minOrNull(occurred_at) AS first_accepted_at
        FROM {_EVENTS} WHERE status = 'accepted' AND replay_id IS NULL GROUP BY notification_id, user_id
    ) AS requests USING (notification_id, user_id)
    WHERE ended
"""
#: In which time each send had to be out, by the policy of its end; 0: as its priority has it; below: by no time.
_DUE = f"""
    SELECT
        any(toStartOfHour(ended_at)) AS hour, any(ifNull(of_category, '')) AS in_category,
        any(ifNull(of_priority, '')) AS in_priority, any(end) AS came_to,
        any(dateDiff('millisecond', greatest(ifNull(queued_at, accepted_at), held_until), ended_at)) AS ms,
        argMaxIf(target_ms, policy_version, policy_version <= policy) AS named,
        if(named = 0, transform(in_priority, ['critical', 'high', 'normal'], [10000, 60000, 300000], -1), named) AS most
    FROM (
        SELECT *, ifNull(of_category, '') AS category, ifNull(of_priority, '') AS priority FROM ({_ACCEPTED})
    ) AS sends
    LEFT JOIN notify.targets AS targets USING (category, priority)
    WHERE end IN ('sent', 'failed', 'expired', 'unknown')
    GROUP BY notification_id, user_id, channel, send_id, replay_id
"""
#: Each call with what came after it, up to the next call of the send.
_AFTER = "occurred_at, ifNull(attempt, 0), status != 'sending', rank, status"
_CALLS = f"""
    SELECT
        minIf(occurred_at, status = 'sending') AS began_at,
        nullIf(anyIf(ifNull(provider, ''), status = 'sending'), '') AS called,
        argMinIf(
            (status, ifNull(reason, ''), JSONExtractString(ifNull(detail, ''), 'trail', 1, 3)), ({_AFTER}),
            status IN ('sent', 'failed', 'retrying', 'held', 'in_doubt')
        ) AS first,
        countIf(status = 'in_doubt') > 0 AS doubtful,
        argMinIf(status, ({_AFTER}), status IN ('sent', 'unknown', 'failed')) AS last
    FROM (
        SELECT *, rank, countIf(status = 'sending') OVER (
            PARTITION BY notification_id, user_id, channel, send_id, replay_id ORDER BY {_AFTER}
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS number
        FROM {_EVENTS}
        WHERE status IN ('sending', 'sent', 'failed', 'retrying', 'held', 'in_doubt', 'unknown')
    )
    WHERE number > 0
    GROUP BY notification_id, user_id, channel, send_id, replay_id, number
"""
_REFUSED = (
    "first.1 = 'failed' AND first.2 != 'bad_template' "
    "OR first.1 = 'retrying' AND first.3 != 'not_called' AND first.2 NOT IN ('lane_full', 'lane_rests')"
)
#: By name: what the view answers, and the slow query.
COMPARED: Mapping[str, tuple[str, str]] = {
    "delivery_hourly": (
        "SELECT * FROM notify.delivery_hourly",
        "SELECT toStartOfHour(occurred_at), channel, provider, category, event_type, source, campaign_id, status, "
        "if(status IN ('delivered', 'opened', 'clicked', 'seen', 'read', 'complained', 'unsubscribed'), NULL, reason), "
        f"count() FROM ({_SHOWN}) GROUP BY ALL",
    ),
    "decisions": (
        "SELECT * FROM notify.decisions",
        "SELECT toStartOfHour(occurred_at), category, event_type, channel, reason, cap, count() "
        f"FROM {_EVENTS} WHERE status IN ('suppressed', 'held') GROUP BY ALL",
    ),
    "users_reached": (
        "SELECT * FROM notify.users_reached",
        "SELECT toDate(occurred_at), category, channel, uniqExactIf(user_id, status = 'sent'), "
        "uniqExactIf(notification_id, status = 'sent'), uniqExactIf(user_id, status = 'unsubscribed') "
        f"FROM {_EVENTS} WHERE status IN ('sent', 'unsubscribed') GROUP BY ALL",
    ),
    "notifications": (
        "SELECT notification_id, user_id, channel, send_id, replay_id, status, ended_at FROM notify.notifications "
        "WHERE send_id IS NOT NULL AND ended_at IS NOT NULL",
        f"SELECT notification_id, user_id, channel, send_id, replay_id, end, ended_at FROM ({_SENDS}) WHERE ended",
    ),
    "engagement": (
        "SELECT * FROM notify.engagement",
        "SELECT campaign, template, version, of_variant, channel, countIf(ended AND end = 'sent'), countIf(delivered), "
        "countIf(opened), countIf(clicked), countIf(bounced), countIf(complained), countIf(unsubscribed) "
        f"FROM ({_SENDS}) WHERE ended OR delivered OR bounced OR complained OR unsubscribed GROUP BY ALL",
    ),
    "latency_hourly": (
        "SELECT * FROM notify.latency_hourly",
        "SELECT toStartOfHour(ended_at), channel, of_provider, of_priority, "
        "quantileExact(0.5)(dateDiff('millisecond', accepted_at, ended_at)), "
        "quantileExact(0.9)(dateDiff('millisecond', accepted_at, ended_at)), "
        "quantileExact(0.99)(dateDiff('millisecond', accepted_at, ended_at)), "
        "quantileExact(0.5)(dateDiff('millisecond', ended_at, delivered_at)), "
        "quantileExact(0.99)(dateDiff('millisecond', ended_at, delivered_at)), count() "
        f"FROM ({_ACCEPTED}) WHERE end = 'sent' GROUP BY ALL",
    ),
    "slo_hourly": (
        "SELECT * FROM notify.slo_hourly",
        "SELECT hour, in_category, in_priority, count(), countIf(came_to = 'sent' AND ms <= most), most "
        f"FROM ({_DUE}) WHERE most > 0 GROUP BY ALL",
    ),
    # (Which codes are a throttle, a list says: here it would be the same list again. Times go from call to answer.)
    "provider_hourly": (
        "SELECT hour, provider, calls, accepted, refused + throttled, in_doubt, settled_sent, unknown "
        "FROM notify.provider_hourly",
        "SELECT toStartOfHour(began_at), called, count(), countIf(first.1 = 'sent'), "
        f"countIf({_REFUSED}), countIf(doubtful), countIf(doubtful AND last = 'sent'), "
        f"countIf(doubtful AND last = 'unknown') FROM ({_CALLS}) GROUP BY ALL",
    ),
}


def rolled_up(data_dir: Path) -> Mapping[str, Any]:
    """The verdict on the ClickHouse of a system that is quiet. It blocks."""
    url = urlsplit(announced_url(data_dir) or "")
    try:
        client = clickhouse_connect.get_client(
            host=url.hostname,
            port=url.port or 8123,
            username=unquote(url.username or "default"),
            password=unquote(url.password or ""),
            compress=False,
        )
        try:
            return verdict([_differences(client, name) for name in COMPARED])
        finally:
            client.close()
    except (ClickHouseError, OSError) as error:
        return verdict([[f"ClickHouse can't be asked: {error!r}"[:500]]])


def _differences(client: Client, name: str) -> list[str]:
    found: list[str] = []
    for _ in range(_ATTEMPTS):
        view, slow = (Counter(_rows(client, sql)) for sql in COMPARED[name])
        found = [f"{name}: {row} is in the view only" for row in view - slow]
        found += [f"{name}: {row} is in the events only" for row in slow - view]
        if not found:
            break
    return found


def _rows(client: Client, sql: str) -> Sequence[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql, settings=_SETTINGS).result_rows]


def verdict(found: Sequence[Sequence[str]]) -> Mapping[str, Any]:
    """Of the differences of each view."""
    count = sum(map(len, found))
    return {
        "name": "ROLLUP",
        "means": "rows in which ClickHouse's views differ from slow queries over all events",
        "value": count,
        "bound": 0,
        "verdict": "FAIL" if count else "pass",
        "examples": [each for some in found for each in some[:_MOST_SHOWN]],
    }
