"""The component that shows a user's inbox in a page (docs/inbox.md)."""

import gzip
from functools import cache

from aiohttp import web

from app.api.call import Call
from app.api.callers import PUBLIC
from app.api.problems import unknown
from app.api.routes import Route
from app.web import COMPONENT, HASHED, component, hashed

#: Any page may load it.
_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Vary": "Accept-Encoding",
}


async def get(call: Call) -> web.Response:
    """Browsers look for a newer one after an hour."""
    return _answer(call, "public, max-age=3600")


async def get_hashed(call: Call) -> web.Response:
    if call.path("hash") != hashed(component()):
        raise unknown("this version of the component")
    return _answer(call, "public, max-age=31536000, immutable")


def _answer(call: Call, kept: str) -> web.Response:
    tag = f'W/"{hashed(component())}"'
    headers = {**_HEADERS, "Cache-Control": kept, "ETag": tag}
    if tag in call.request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    body = component()
    if "gzip" in call.request.headers.get("Accept-Encoding", ""):
        body, headers["Content-Encoding"] = _compressed(), "gzip"
    return web.Response(body=body, content_type="text/javascript", charset="utf-8", headers=headers)


@cache
def _compressed() -> bytes:
    return gzip.compress(component(), mtime=0)


ROUTES = (
    Route(
        "GET",
        f"/web/{COMPONENT}",
        get,
        PUBLIC,
        "The web component <tocsin-inbox>",
        {200: str},
        gives=("text/javascript",),
    ),
    Route(
        "GET",
        f"/web/{HASHED.format('{hash}')}",
        get_hashed,
        PUBLIC,
        "The web component <tocsin-inbox>, of this version and no other",
        {200: str},
        gives=("text/javascript",),
    ),
)
