"""The first page: the last hour as a whole."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from app.api.console import counted
from app.api.console.campaigns import latest
from app.api.console.charts import Chart, stacked
from app.api.console.pages import Page, View
from app.api.problems import Problem
from app.store.sql import quoted

_MINUTE_MS = 60_000
#: From the bottom of a bar to its top.
_DRAWN = ("sent", "suppressed", "expired", "failed")
_MINUTES = """
SELECT formatDateTime(minute, '%H:%i') AS label, status, n FROM (
  SELECT toStartOfMinute(occurred_at) AS minute, status, uniqExact(event_id) AS n FROM lifecycle
  WHERE occurred_at > now() - INTERVAL 1 HOUR AND status IN ('sent', 'suppressed', 'expired', 'failed'){such}
  GROUP BY minute, status) ORDER BY minute, status"""
_ACCEPTED = """
SELECT uniqExact(event_id) AS hour, uniqExactIf(event_id, occurred_at > now() - INTERVAL 1 MINUTE) AS minute
FROM lifecycle WHERE occurred_at > now() - INTERVAL 1 HOUR AND status = 'accepted'"""
_CHANNELS = """
SELECT channel, uniqExactIf(event_id, status = 'sent') AS sent, uniqExactIf(event_id, status = 'failed') AS failed,
  uniqExactIf(event_id, status = 'expired') AS expired, uniqExactIf(event_id, status = 'suppressed') AS suppressed,
  uniqExactIf(event_id, status = 'cancelled') AS cancelled
FROM lifecycle WHERE occurred_at > now() - INTERVAL 1 HOUR AND channel != '' GROUP BY channel ORDER BY channel"""
_LATENCY = """
SELECT channel, provider, priority, round(p50_ms) AS p50, round(p99_ms) AS p99, count FROM latency_hourly
WHERE hour >= toStartOfHour(now() - INTERVAL 1 HOUR) ORDER BY channel, provider, priority"""
_WAITS = """
SELECT coalesce(channel, 'all') AS channel, status, coalesce(reason, '') AS reason, count() AS n FROM notifications
WHERE status IN ('scheduled', 'held', 'queued', 'sending', 'retrying', 'in_doubt')
  AND accepted_at > now() - INTERVAL 7 DAY
GROUP BY ALL ORDER BY n DESC LIMIT 20"""
#: What each number of the channels' table counts.
COUNTED = """
SELECT occurred_at, notification_id, user_id, send_id, reason, provider FROM lifecycle FINAL
WHERE occurred_at > now() - INTERVAL 1 HOUR AND channel = '{channel}' AND status = '{status}'
ORDER BY occurred_at DESC LIMIT 1000"""
TIMED = """
SELECT occurred_at, notification_id, user_id, send_id FROM lifecycle FINAL
WHERE status = 'sent' AND channel = '{channel}' AND provider = '{provider}' AND priority = '{priority}'
  AND occurred_at >= toStartOfHour(now() - INTERVAL 1 HOUR) ORDER BY occurred_at DESC LIMIT 1000"""
WAITING = """
SELECT accepted_at, notification_id, user_id, send_id FROM notifications
WHERE status = '{status}' AND coalesce(channel, 'all') = '{channel}' AND coalesce(reason, '') = '{reason}'
  AND accepted_at > now() - INTERVAL 7 DAY ORDER BY accepted_at LIMIT 1000"""


async def get(page: Page) -> web.StreamResponse:
    return page.render("overview", **await _figures(page))


async def live(page: Page) -> web.StreamResponse:
    """What the page renews by itself."""
    return page.render("overview_live", **await _figures(page))


async def _figures(page: Page) -> dict[str, Any]:
    api = page.api
    channel = page.query("channel")
    asked = (minutes_of(channel), _CHANNELS, _LATENCY, _WAITS, _ACCEPTED)
    (minutes, channels, latency, waits, accepted), providers, replays, campaigns, letters = await asyncio.gather(
        asyncio.gather(*(_rows(page, sql) for sql in asked)),
        api.get("/v1/providers"),
        api.get("/v1/replays", {"limit": 5}),
        latest(page, 5),
        api.get("/v1/dead", {"limit": 5}),
    )
    return {
        "chart": _chart(minutes, api.deps.clock()),
        "channel": channel,
        "channels": channels,
        "accepted": accepted[0] if accepted else None,
        "accepted_sql": counted.accepted,
        "latency": latency,
        "waits": waits,
        "providers": providers["providers"],
        "replays": replays["replays"],
        "lags": {} if api.deps.lags is None else api.deps.lags.by_role(),
        "no_lags": "overview.no_lags" if api.deps.lags is None or api.deps.lags.is_answered else "overview.lags_away",
        "campaigns": campaigns,
        "letters": letters["letters"],
        "counted": lambda **values: COUNTED.strip().format(**values),
        "timed": lambda **values: TIMED.strip().format(**values),
        "waiting_sql": lambda **values: WAITING.strip().format(**values),
    }


def minutes_of(channel: str) -> str:
    """``channel``: empty for all of them."""
    return _MINUTES.format(such=f" AND channel = {quoted(channel)}" if channel else "")


async def _rows(page: Page, sql: str) -> list[dict[str, Any]]:
    """Nothing where ClickHouse can't be asked just now: the rest of the page says enough."""
    try:
        return await page.api.rows(sql.strip())
    except Problem as problem:
        if problem.status == 403:
            raise
        return []


def _chart(minutes: Sequence[dict[str, Any]], now: int) -> Chart:
    """One bar for each of the last 60 minutes. ``now``: Unix ms."""
    numbers = [now // _MINUTE_MS - ago for ago in range(59, -1, -1)]
    labels = [_label(number) for number in numbers]
    at = {label: n for n, label in enumerate(labels)}
    series = {status: [0.0] * len(labels) for status in _DRAWN}
    for row in minutes:
        if row["status"] in series and row["label"] in at:
            series[row["status"]][at[row["label"]]] = float(row["n"])
    return stacked("overview.minutes", labels, series, [number * _MINUTE_MS for number in numbers])


def _label(minute: int) -> str:
    """In UTC."""
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


VIEWS = (View("GET", "", get), View("GET", "/live", live))
