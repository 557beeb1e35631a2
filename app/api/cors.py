"""Lets the configured origins call from browsers (CORS); every other one is left to the browser's refusal."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}


def named(origins: frozenset[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal for ``on_response_prepare``: names the origin in the answer, if it is one of these."""

    async def name(request: web.Request, response: web.StreamResponse) -> None:
        if "Access-Control-Allow-Origin" in response.headers:
            return  # anybody may
        if (origin := _origin(request, origins)) is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"

    return name


def preflight(origins: frozenset[str]) -> Middleware:
    """A middleware that answers what a browser asks before it calls."""

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked_first = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if asked_first and _origin(request, origins) is not None:
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    return answered


def _origin(request: web.Request, origins: frozenset[str]) -> str | None:
    origin = request.headers.get("Origin")
    return origin if origin in origins else None
