"""Lets the configured origins call from browsers (CORS); every other one is left to the browser's refusal."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
    "Access-Control-Max-Age": "600",
}


def cors(origins: frozenset[str]) -> Middleware:
    """A middleware that names the origin in the answer, if it is one of these."""

    @web.middleware
    async def named(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is None or origin not in origins:
            return await handler(request)
        asked_first = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        response = web.Response(status=204, headers=_PREFLIGHT) if asked_first else await handler(request)
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"
        return response

    return named
