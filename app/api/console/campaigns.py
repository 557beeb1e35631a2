"""Campaigns of every source: how far each is; paused, resumed, cancelled."""

import asyncio
from typing import Any
from urllib.parse import quote

from aiohttp import web

from app.api.console import counted
from app.api.console.pages import Page, View, go_to, link, text

_SHOWN = 50


async def get(page: Page) -> web.StreamResponse:
    return page.render("campaigns", campaigns=await latest(page, _SHOWN))


async def latest(page: Page, limit: int) -> list[dict[str, Any]]:
    """Of all sources, newest first, each with its ``source``."""
    sources = page.api.deps.campaigns.sources()
    listed = await asyncio.gather(
        *(page.api.of_source(source).get("/v1/campaigns", {"limit": limit}) for source in sources)
    )
    found = [
        {**campaign, "source": source}
        for source, its in zip(sources, listed, strict=True)
        for campaign in its["campaigns"]
    ]
    return sorted(found, key=lambda campaign: str(campaign["created_at"]), reverse=True)[:limit]


async def show(page: Page) -> web.StreamResponse:
    return page.render("campaign", **await _shown(page))


async def live(page: Page) -> web.StreamResponse:
    """What the page renews by itself while the campaign hasn't ended."""
    return page.render("campaign_live", **await _shown(page))


async def _shown(page: Page) -> dict[str, Any]:
    source = page.query("source")
    return {
        "campaign": await page.api.of_source(source).get("/v1/campaigns/{id}", id=page.path("id")),
        "source": source,
        "counted": counted,
    }


async def pause(page: Page) -> web.StreamResponse:
    return await _act(page, "pause", "campaign.pause", "campaign.paused")


async def resume(page: Page) -> web.StreamResponse:
    return await _act(page, "resume", "campaign.resume", "campaign.resumed")


async def cancel(page: Page) -> web.StreamResponse:
    return await _act(page, "cancel", "campaign.cancel", "campaign.cancelled")


async def _act(page: Page, action: str, title: str, done: str) -> web.StreamResponse:
    name, source = page.path("id"), page.form.get("source", "")
    api = page.api.of_source(source)
    path_of = f"/campaigns/{quote(name, safe='')}"
    back = link(path_of, source=source)
    if not page.is_confirmed:
        campaign = await api.get("/v1/campaigns/{id}", id=name)
        counts = {"produced": campaign["produced"], "recipients": campaign["recipients"]}
        will = text(f"{title}.will", id=name, **counts)
        return page.confirm(title, will, f"{path_of}/{action}", back, source=source)
    if action == "cancel":
        await api.call("DELETE", "/v1/campaigns/{id}", id=name)
    else:
        await api.call("POST", f"/v1/campaigns/{{id}}/{action}", id=name)
    return go_to(link(path_of, source=source, done=done))


VIEWS = (
    View("GET", "/campaigns", get),
    View("GET", "/campaigns/{id}", show),
    View("GET", "/campaigns/{id}/live", live),
    View("POST", "/campaigns/{id}/pause", pause),
    View("POST", "/campaigns/{id}/resume", resume),
    View("POST", "/campaigns/{id}/cancel", cancel),
)
