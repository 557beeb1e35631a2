"""The component that shows a user's inbox in a page (docs/inbox.md)."""

from hashlib import sha256

from aiohttp import web

from app.api.call import Call
from app.api.callers import PUBLIC
from app.api.routes import Route
from app.web import COMPONENT, component

#: Any page may load it, and looks for a newer one after an hour.
_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "public, max-age=3600",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


async def get(call: Call) -> web.Response:
    script = component()
    tag = f'"{sha256(script).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag}
    if tag in call.request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    response = web.Response(body=script, content_type="text/javascript", charset="utf-8", headers=headers)
    response.enable_compression()
    return response


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
)
