"""Who changed what."""

from aiohttp import web

from app.api.console.pages import Page, View

_SHOWN = 100


async def get(page: Page) -> web.StreamResponse:
    chosen = {name: page.query(name) for name in ("action", "key_id", "from", "to")}
    found = await page.api.get("/v1/audit-log", {**chosen, "cursor": page.query("cursor"), "limit": _SHOWN})
    return page.render("audit", entries=found["entries"], next_cursor=found["next_cursor"], chosen=chosen)


VIEWS = (View("GET", "/audit-log", get),)
