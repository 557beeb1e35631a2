"""Templates: what is said on each channel, previewed side by side."""

import json
from typing import Any

from aiohttp import web

from app.api.console.pages import Page, View
from app.api.problems import Problem


async def get(page: Page) -> web.StreamResponse:
    return page.render("templates", templates=(await page.api.get("/v1/templates"))["templates"])


async def show(page: Page) -> web.StreamResponse:
    return await _shown(page, "{}", None)


async def preview(page: Page) -> web.StreamResponse:
    data = page.form.get("data", "").strip() or "{}"
    try:
        given = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"is not JSON: {error}", "data") from error
    body = {"data": given}
    previewed = await page.api.call("POST", "/v1/templates/{id}/preview", body=body, id=page.path("id"))
    return await _shown(page, data, previewed)


async def _shown(page: Page, data: str, previewed: Any) -> web.StreamResponse:
    name = page.path("id")
    template = await page.api.get("/v1/templates/{id}", id=name)
    versions = (await page.api.get("/v1/templates/{id}/versions", id=name))["versions"]
    return page.render("template", template=template, versions=versions[::-1], data=data, previewed=previewed)


VIEWS = (
    View("GET", "/templates", get),
    View("GET", "/templates/{id}", show),
    View("POST", "/templates/{id}/preview", preview),
)
