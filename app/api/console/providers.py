"""Providers: how they do, and pausing them."""

import asyncio

from aiohttp import web

from app.api.console import counted
from app.api.console.pages import Page, View, go_to, text

_CALLS = """
SELECT provider, uniqExactIf(event_id, status = 'sending') AS calls, uniqExactIf(event_id, status = 'sent') AS sent,
  uniqExactIf(event_id, status = 'retrying') AS retried, uniqExactIf(event_id, status = 'failed') AS failed,
  uniqExactIf(event_id, status = 'in_doubt') AS in_doubt
FROM lifecycle WHERE occurred_at > now() - INTERVAL 1 DAY AND provider != '' AND provider != 'inbox'
GROUP BY provider ORDER BY provider"""
_ERRORS = """
SELECT provider, status, coalesce(reason, '') AS reason, uniqExact(event_id) AS n FROM lifecycle
WHERE occurred_at > now() - INTERVAL 1 DAY AND provider != ''
  AND status IN ('retrying', 'failed', 'in_doubt', 'bounced')
GROUP BY ALL ORDER BY n DESC LIMIT 50"""


#: From a call to its answer: the median of the latest hour that had answers, and the worst of the hours' p99.
_ANSWERED = """
SELECT provider, round(argMax(p50_ms, hour)) AS p50, round(max(p99_ms)) AS p99 FROM provider_hourly
WHERE hour > now() - INTERVAL 1 DAY GROUP BY provider"""


async def get(page: Page) -> web.StreamResponse:
    listed, calls, errors, answered = await asyncio.gather(
        page.api.get("/v1/providers"), *(page.api.rows(sql.strip()) for sql in (_CALLS, _ERRORS, _ANSWERED))
    )
    return page.render(
        "providers",
        providers=listed["providers"],
        calls=calls,
        errors=errors,
        answered={row["provider"]: row for row in answered},
        counted=counted,
    )


async def pause(page: Page) -> web.StreamResponse:
    name, why = page.path("name"), page.form.get("why", "")
    if not page.is_confirmed:
        listed = (await page.api.get("/v1/providers"))["providers"]
        those = [each for each in listed if name in (each["provider"], each["channel"])]
        counts = {key: sum(each[key] for each in those) for key in ("in_flight", "waiting")}
        will = text("providers.pause.will", name=name, **counts)
        return page.confirm("providers.pause", will, f"/providers/{name}/pause", "/providers", why=why)
    await page.api.call("POST", "/v1/providers/{provider}/pause", body={"why": why}, provider=name)
    return go_to(f"/providers?done=providers.paused&name={name}")


async def resume(page: Page) -> web.StreamResponse:
    name = page.path("name")
    if not page.is_confirmed:
        will = text("providers.resume.will", name=name)
        return page.confirm("providers.resume", will, f"/providers/{name}/resume", "/providers")
    await page.api.call("POST", "/v1/providers/{provider}/resume", provider=name)
    return go_to(f"/providers?done=providers.resumed&name={name}")


VIEWS = (
    View("GET", "/providers", get),
    View("POST", "/providers/{name}/pause", pause),
    View("POST", "/providers/{name}/resume", resume),
)
