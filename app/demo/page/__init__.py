"""A page with a passenger's inbox, as an airline's site would have one: its own origin, its own server that makes the
user's tokens, and the component that the gateway serves. Only `tocsin dev` and `tocsin demo` serve it, on 127.0.0.1."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from string import Template

import jwt
from aiohttp import web
from aiohttp.typedefs import Handler

from app.demo.gateway import Gateway, reached
from app.dev.ports import free_port
from app.dev.state import State
from app.web import COMPONENT
from schemas.words import ENDS
from tocsin.client import NotFound

#: One who flies all the time, so that the flights of the demonstration fill this inbox.
PASSENGER = "pax-00001"
_TOKEN_LASTS_S = 600
_LOOPBACK = "127.0.0.1"
_MAX_BODY_BYTES = 1024
#: How long the page waits for what became of a notification.
_KNOWN_WITHIN_S, _LOOK_EVERY_S = 30.0, 0.3

#: What the page's buttons send: an event type of each of two categories. Numbers tell one from the next.
_SENT = {
    "flight.delayed": ("Flight 1545 is {n} minutes late", "We will tell you when it is ready to board."),
    "order.shipped": ("Your suitcase no. {n} is on its way", "It follows you with the next flight."),
}
_TYPES = {"page.js": "text/javascript", "page.css": "text/css"}


class InboxPage:
    """Takes its port when it is made, so that the gateway can be configured with its origin before either runs."""

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.create_server((_LOOPBACK, free_port(port)))
        self._host = f"{_LOOPBACK}:{self._socket.getsockname()[1]}"
        self.url = f"http://{self._host}"
        self._state: State | None = None
        self._gateway: Gateway | None = None
        self._sent = 0

    @property
    def settings(self) -> dict[str, str]:
        """What the system needs to let this page in."""
        return {"TOCSIN_GATEWAY__CORS_ORIGINS": json.dumps([self.url])}

    @asynccontextmanager
    async def served(self, state: State) -> AsyncIterator[None]:
        """While the system runs."""
        app = web.Application(middlewares=[self._only_to_itself], client_max_size=_MAX_BODY_BYTES)
        app.router.add_get("/", self._index)
        app.router.add_get("/{file:page\\.(?:js|css)}", self._file)
        app.router.add_post("/token", self._token)
        app.router.add_post("/send", self._send)
        app.router.add_get("/why", self._why)
        app.router.add_get("/preferences", self._preferences)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        async with reached(state) as self._gateway:
            self._state = state
            await runner.setup()
            try:
                await web.SockSite(runner, self._socket).start()
                yield
            finally:
                await runner.cleanup()

    def close(self) -> None:
        self._socket.close()

    @web.middleware
    async def _only_to_itself(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """No other site: neither by a name of its own for this address (DNS rebinding), nor by a form."""
        is_own = request.host == self._host
        if not is_own or request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise web.HTTPForbidden(text=f"Open {self.url} itself.")
        response = await handler(request)
        response.headers.update(
            {
                "Cache-Control": "no-store",
                "Content-Security-Policy": self._policy(),
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            }
        )
        return response

    def _policy(self) -> str:
        gateway = self._running.gateway_url
        return (
            f"default-src 'none'; script-src 'self' {gateway}; style-src 'self'; img-src https: data:;"
            f" connect-src 'self' {gateway} {gateway.replace('http', 'ws', 1)}; base-uri 'none'; form-action 'none';"
            " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        )

    @property
    def _running(self) -> State:
        assert self._state is not None, "not served"
        return self._state

    @property
    def _service(self) -> Gateway:
        assert self._gateway is not None, "not served"
        return self._gateway

    async def _index(self, _: web.Request) -> web.Response:
        gateway = self._running.gateway_url
        text = Template(_read("page.html")).substitute(component=f"{gateway}/web/{COMPONENT}", user=PASSENGER)
        return web.Response(text=text, content_type="text/html")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        return web.Response(text=_read(name), content_type=_TYPES[name])

    async def _token(self, _: web.Request) -> web.Response:
        """As an app's own server makes one for whoever is signed in there."""
        claims = {"sub": PASSENGER, "exp": int(time.time()) + _TOKEN_LASTS_S}
        return web.Response(text=jwt.encode(claims, self._running.jwt_secret, algorithm="HS256"))

    async def _send(self, request: web.Request) -> web.Response:
        event_type = await request.text()
        if event_type not in _SENT:
            raise web.HTTPUnprocessableEntity(text=f"The event type is one of {', '.join(_SENT)}.")
        title, body = _SENT[event_type]
        self._sent += 1
        sent = await self._service.service.notifications.send(
            user_id=PASSENGER,
            event_type=event_type,
            channels=["in_app"],
            content={"title": title.format(n=10 * self._sent), "body": body},
        )
        return web.json_response({"id": sent.notification_id})

    async def _why(self, request: web.Request) -> web.Response:
        """Once it has ended, what `tocsin why` says of it."""
        summary = "Not known yet."
        until = time.monotonic() + _KNOWN_WITHIN_S
        while time.monotonic() < until:
            try:
                found = await self._service.service.notifications.why(request.query.get("id", ""), user_id=PASSENGER)
            except NotFound:
                await asyncio.sleep(_LOOK_EVERY_S)
                continue
            summary = found.summary
            if any(each.outcome in ENDS for each in found.channels.values()):
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        return web.json_response({"summary": summary})

    async def _preferences(self, _: web.Request) -> web.Response:
        """To the hosted page, by a link of its own, as `preferences_url` in a mail is one."""
        link = await self._service.operator.users.preferences_link(PASSENGER)
        raise web.HTTPSeeOther(link.url)


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
