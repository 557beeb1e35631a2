"""After an outage: what it cost, a dry run, the replay, its receipt."""

import asyncio
from typing import Any

from aiohttp import web

from app.api.console import counted
from app.api.console.pages import Page, View, go_to, text
from app.api.problems import Problem

#: An outage shows as sends that waited for a provider; a gap of 5 minutes ends it.
_OUTAGES = """
SELECT channel, min(at) AS began, max(at) AS ended, sum(n) AS waited FROM (
  SELECT *, sum(is_new) OVER (PARTITION BY channel ORDER BY at) AS number FROM (
    SELECT channel, toStartOfMinute(occurred_at) AS at, uniqExact(send_id) AS n,
      at - lagInFrame(at, 1, toDateTime(0)) OVER (PARTITION BY channel ORDER BY at) > 300 AS is_new
    FROM lifecycle WHERE status = 'held' AND reason = 'provider_outage' AND occurred_at > now() - INTERVAL 7 DAY
    GROUP BY channel, at))
GROUP BY channel, number ORDER BY began DESC LIMIT 20"""
_LOST = """
SELECT channel, toStartOfMinute(occurred_at) AS at, uniqExact(send_id) AS n FROM lifecycle
WHERE status IN ('expired', 'failed') AND (status = 'expired' OR reason = 'retries_exhausted')
  AND send_id != '' AND occurred_at > now() - INTERVAL 7 DAY GROUP BY channel, at"""
_FIELDS = ("channel", "from", "to", "provider", "event_type", "expires_after", "rate")
#: Of these there may be several, with commas.
_SEVERAL = ("provider", "event_type")
_SHOWN = 50


async def get(page: Page) -> web.StreamResponse:
    asked = {name: page.query(name) for name in _FIELDS}
    outages, listed = await asyncio.gather(_outages(page), page.api.get("/v1/replays", {"limit": _SHOWN}))
    return page.render("replays", outages=outages, replays=listed["replays"], asked=asked, counted=counted)


async def _outages(page: Page) -> list[dict[str, Any]]:
    """What waited in each, and what ended without having been sent from its begin until an hour after its end."""
    try:
        outages, lost = await asyncio.gather(page.api.rows(_OUTAGES.strip()), page.api.rows(_LOST.strip(), 10_000))
    except Problem as problem:
        if problem.status == 403:
            raise
        return []
    for outage in outages:
        outage["lost"] = sum(
            row["n"] for row in lost if row["channel"] == outage["channel"] and row["at"] >= outage["began"]
        )
    return outages


def _asked(page: Page) -> dict[str, Any]:
    """A replay as the API takes it, of a form's fields."""
    given = {name: page.form.get(name, "").strip() for name in _FIELDS}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value and name not in _SEVERAL}
    for name in ("from", "to"):
        if name in asked and not asked[name].endswith("Z") and "+" not in asked[name]:
            asked[name] = f"{asked[name]}Z"
    for name in _SEVERAL:
        if given[name]:
            asked[name] = [each.strip() for each in given[name].split(",")]
    return asked


async def count(page: Page) -> web.StreamResponse:
    begun = await page.api.call("POST", "/v1/replays", body={**_asked(page), "dry_run": True})
    return go_to(f"/replays/{begun['replay_id']}")


async def begin(page: Page) -> web.StreamResponse:
    """The replay that a dry run has counted."""
    dry = await page.api.get("/v1/replays/{id}", id=page.path("id"))
    if not page.is_confirmed:
        counted = dry["dry_run"]
        will = text("replay.will", send=counted["would_send"], wait=counted["would_wait"], candidates=dry["candidates"])
        return page.confirm("replay.begin", will, f"/replays/{dry['replay_id']}/begin", f"/replays/{dry['replay_id']}")
    asked = {
        "channel": dry["channel"],
        **dry["filters"],
        "rate": dry["rate"],
        "as_decided": dry["mode"] == "as_decided",
    }
    if dry.get("expires_after"):
        asked["expires_after"] = dry["expires_after"]
    begun = await page.api.call("POST", "/v1/replays", body=asked)
    return go_to(f"/replays/{begun['replay_id']}?done=replay.begun")


async def show(page: Page) -> web.StreamResponse:
    return page.render("replay", **await _shown(page))


async def live(page: Page) -> web.StreamResponse:
    """What the page renews by itself while the replay isn't done."""
    return page.render("replay_live", **await _shown(page))


async def _shown(page: Page) -> dict[str, Any]:
    name, outcome, cursor = page.path("id"), page.query("outcome"), page.query("cursor")
    asked = {"outcome": outcome, "cursor": cursor, "limit": _SHOWN}
    listed, receipt = await asyncio.gather(
        page.api.get("/v1/replays/{id}/candidates", asked, id=name), page.api.get("/v1/replays/{id}", id=name)
    )
    return {"receipt": receipt, "listed": listed, "outcome": outcome}


async def stop(page: Page) -> web.StreamResponse:
    return await _act(page, "stop", "replay.stop", "replay.stopped")


async def resume(page: Page) -> web.StreamResponse:
    return await _act(page, "resume", "replay.resume", "replay.resumed")


async def _act(page: Page, action: str, title: str, done: str) -> web.StreamResponse:
    name = page.path("id")
    if not page.is_confirmed:
        will = text(f"{title}.will", id=name)
        return page.confirm(title, will, f"/replays/{name}/{action}", f"/replays/{name}")
    await page.api.call("POST", f"/v1/replays/{{id}}/{action}", id=name)
    return go_to(f"/replays/{name}?done={done}")


VIEWS = (
    View("GET", "/replays", get),
    View("POST", "/replays", count),
    View("GET", "/replays/{id}", show),
    View("GET", "/replays/{id}/live", live),
    View("POST", "/replays/{id}/begin", begin),
    View("POST", "/replays/{id}/stop", stop),
    View("POST", "/replays/{id}/resume", resume),
)
