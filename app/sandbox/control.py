"""The control port: what was accepted, what was called, counts, faults, and a page to look at."""

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from importlib.resources import files
from itertools import islice
from typing import Annotated, Any

import msgspec
from aiohttp import web

from app.sandbox.callbacks.plans import read_settings
from app.sandbox.callbacks.sending import Callbacks
from app.sandbox.exchange import Vendor
from app.sandbox.faults import Faults, InForce, read_fault
from app.sandbox.journal import Book, Journal
from app.sandbox.webpush import WebPush
from app.serving import add_security_headers
from schemas.decode import Invalid, Reader

MAX_LIMIT = 10_000
#: Mail is shown as it is written, so nothing from elsewhere may be loaded by it.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_FILTERS = {
    "accepted": ("provider", "send_id", "notification_id", "address", "provider_message_id"),
    "calls": ("provider", "send_id", "address", "operation", "outcome", "code"),
}


def control_app(
    journal: Journal, faults: Faults, vendors: Mapping[str, Vendor], callbacks: Callbacks
) -> web.Application:
    """Routes: GET / /health /accepted /calls /stats /faults /callbacks, POST /faults /subscriptions
    /texts, PUT /callbacks, DELETE /faults[/{id}]."""
    control = _Control(journal, faults, vendors, callbacks)
    app = web.Application(middlewares=[_problems, _own_pages_only])
    app.on_response_prepare.append(add_security_headers)
    app.add_routes(
        [
            web.get("/", control.page),
            web.get("/health", control.health),
            web.get("/accepted", control.accepted),
            web.get("/calls", control.calls),
            web.get("/stats", control.stats),
            web.get("/faults", control.list_faults),
            web.post("/faults", control.add_fault),
            web.delete("/faults", control.clear_faults),
            web.delete("/faults/{id}", control.remove_fault),
            web.post("/subscriptions", control.subscribe),
            web.get("/callbacks", control.show_callbacks),
            web.put("/callbacks", control.set_callbacks),
            web.post("/texts", control.send_text),
        ]
    )
    return app


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An SMS from somebody to the provider's number."""

    provider: str
    text: Annotated[str, msgspec.Meta(max_length=1600)]
    from_: Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}$")] = msgspec.field(name="from")


_read_text: Reader[_Text] = Reader(_Text)


class _Control:
    def __init__(self, journal: Journal, faults: Faults, vendors: Mapping[str, Vendor], callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._journal = journal
        self._faults = faults
        self._vendors = vendors

    async def page(self, request: web.Request) -> web.Response:
        page = files("app.sandbox").joinpath("page.html").read_text()
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})

    async def health(self, request: web.Request) -> web.Response:
        return _json({"status": "ok", "providers": sorted(self._vendors)})

    async def accepted(self, request: web.Request) -> web.Response:
        return await self._lines(request, "accepted", self._journal.accepted)

    async def calls(self, request: web.Request) -> web.Response:
        return await self._lines(request, "calls", self._journal.calls)

    async def stats(self, request: web.Request) -> web.Response:
        self._journal.flush()
        return _json(self._journal.stats(_whole_number(request, "limit", 100, 0, MAX_LIMIT)))

    async def list_faults(self, request: web.Request) -> web.Response:
        return _json({"faults": [_fault(fault) for fault in self._faults]})

    async def add_fault(self, request: web.Request) -> web.Response:
        rule = read_fault(await request.read(), self._vendors)
        return _json({"fault_id": self._faults.add(rule, time.time_ns() // 1_000_000)}, 201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        return _json({"removed": self._faults.clear()})

    async def remove_fault(self, request: web.Request) -> web.Response:
        fault_id = request.match_info["id"]
        if not self._faults.remove(fault_id):
            return _json({"error": f"no fault {fault_id} in force", "field": "id"}, 404)
        return _json({"removed": 1})

    async def subscribe(self, request: web.Request) -> web.Response:
        """A new browser's subscription, for a device of platform web."""
        push_service = self._vendors["webpush"]
        assert isinstance(push_service, WebPush)
        return _json(push_service.subscription(), 201)

    async def show_callbacks(self, request: web.Request) -> web.Response:
        return _json(self._callbacks.shown())

    async def set_callbacks(self, request: web.Request) -> web.Response:
        self._callbacks.use(read_settings(await request.read()))
        return _json(self._callbacks.shown())

    async def send_text(self, request: web.Request) -> web.Response:
        text = _read_text(await request.read())
        self._callbacks.say(text.provider, text.from_, text.text)
        return _json({"status": "accepted"}, 202)

    async def _lines(self, request: web.Request, name: str, book: Book[Any]) -> web.Response:
        """``{name: [...], "next_after": seq or null}``, oldest first, or newest first with ``order=newest``."""
        known = {*_FILTERS[name], "after", "limit", "order"}
        for given in request.query:
            if given not in known:
                raise Invalid(f"is not one of {', '.join(sorted(known))}", given)
        order = request.query.get("order", "oldest")
        if order not in ("oldest", "newest"):
            raise Invalid("is neither oldest nor newest", "order")
        after = _whole_number(request, "after", 0, 0, 2**63)
        limit = _whole_number(request, "limit", 1000, 1, MAX_LIMIT)
        wanted = {field: request.query[field] for field in _FILTERS[name] if field in request.query}
        self._journal.flush()
        lines = book.find(wanted, after, newest_first=order == "newest")
        found = await asyncio.to_thread(lambda: list(islice(lines, limit + 1)))
        more = len(found) > limit and order == "oldest"
        return _json({name: found[:limit], "next_after": found[limit - 1].seq if more else None})


def _whole_number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    given = request.query.get(name, str(default))
    if not (given.isascii() and given.isdecimal() and least <= int(given) <= most):
        raise Invalid(f"is not a whole number from {least} to {most}", name)
    return int(given)


def _fault(fault: InForce) -> dict[str, Any]:
    return {"fault_id": fault.id, **msgspec.to_builtins(fault.rule), "since_ms": fault.since_ms, "hits": fault.hits}


def _json(answer: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), status=status, content_type="application/json")


@web.middleware
async def _problems(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except Invalid as problem:
        return _json({"error": problem.reason, "field": problem.field}, 400)
    return response


@web.middleware
async def _own_pages_only(request: web.Request, handler: Any) -> web.StreamResponse:
    """Refuses what a page of another site sends, which browsers let through without asking where it is a simple call;
    and names that point here only since somebody's name server says so (DNS rebinding)."""
    if not _is_own_name(request.host):
        return _json(
            {"error": "is not a name of this machine: call it by its address or localhost", "field": "Host"}, 403
        )
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"{request.scheme}://{request.host}":
        return _json({"error": "pages of other sites may not call the sandbox", "field": "Origin"}, 403)
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return _json({"error": "pages of other sites may not call the sandbox", "field": "Sec-Fetch-Site"}, 403)
    response: web.StreamResponse = await handler(request)
    return response


def _is_own_name(host: str) -> bool:
    """An address, a name without a domain (of a container, of this machine), or localhost: no name that others own."""
    name = host.rpartition("]")[0].removeprefix("[") or host.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name
    return True
