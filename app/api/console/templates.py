"""Templates: what is said on each channel, previewed side by side."""

import asyncio
import json
from typing import Any

from aiohttp import web

from app.api.console.pages import Page, View
from app.api.console.shown import Picture, with_styles
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
    template, listed = await asyncio.gather(
        page.api.get("/v1/templates/{id}", id=name), page.api.get("/v1/templates/{id}/versions", id=name)
    )
    # Styles are inlined beside the loop: a large mail takes a tenth of a second.
    pictures = await asyncio.to_thread(_previewed, previewed) if previewed else _sources(template)
    return page.render(
        "template",
        template=template,
        versions=listed["versions"][::-1],
        data=data,
        previewed=previewed,
        pictures=pictures,
        shows_mail=any(each.mail for each in pictures),
    )


def _previewed(previewed: Any) -> list[Picture]:
    return [Picture(channel, with_styles(channel, parts)) for channel, parts in previewed["channels"].items()]


def _sources(template: Any) -> list[Picture]:
    """As they are written, in every language."""
    return [
        Picture(channel, parts, locale, is_source=True)
        for channel, locales in template["channels"].items()
        for locale, parts in locales.items()
    ]


VIEWS = (
    View("GET", "/templates", get),
    View("GET", "/templates/{id}", show),
    View("POST", "/templates/{id}/preview", preview),
)
