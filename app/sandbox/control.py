"""The control port: what was accepted, what was called, counts, faults, and a page to look at."""

import asyncio
import time
from collections.abc import Mapping
from importlib.resources import files
from itertools import islice
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from app.sandbox.exchange import Vendor
from app.sandbox.faults import Faults, InForce, read_fault
from app.sandbox.journal import Journal
from app.sandbox.records import Accepted, Call
from schemas.decode import Invalid

MAX_LIMIT = 10_000
_FILTERS = {
    Accepted: ("provider", "send_id", "notification_id", "address", "provider_message_id"),
    Call: ("provider", "send_id", "address", "operation", "outcome", "code"),
}

Line = TypeVar("Line", Accepted, Call)


def control_app(journal: Journal, faults: Faults, vendors: Mapping[str, Vendor]) -> web.Application:
    """Routes: GET / /health /accepted /calls /stats /faults, POST /faults, DELETE /faults[/{id}]."""
    control = _Control(journal, faults, vendors)
    app = web.Application(middlewares=[_problems])
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
        ]
    )
    return app


class _Control:
    def __init__(self, journal: Journal, faults: Faults, vendors: Mapping[str, Vendor]) -> None:
        self._journal = journal
        self._faults = faults
        self._vendors = vendors

    async def page(self, request: web.Request) -> web.Response:
        page = files("app.sandbox").joinpath("page.html").read_text()
        return web.Response(text=page, content_type="text/html")

    async def health(self, request: web.Request) -> web.Response:
        return _json({"status": "ok", "providers": sorted(self._vendors)})

    async def accepted(self, request: web.Request) -> web.Response:
        return await self._lines(request, Accepted, "accepted")

    async def calls(self, request: web.Request) -> web.Response:
        return await self._lines(request, Call, "calls")

    async def stats(self, request: web.Request) -> web.Response:
        self._journal.flush()
        return _json(self._journal.stats(_whole_number(request, "limit", 100, MAX_LIMIT)))

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

    async def _lines(self, request: web.Request, kind: type[Line], name: str) -> web.Response:
        """``{name: [...], "next_after": seq or null}``, oldest first, or newest first with ``order=newest``."""
        known = {*_FILTERS[kind], "after", "limit", "order"}
        for given in request.query:
            if given not in known:
                raise Invalid(f"is none of {', '.join(sorted(known))}", given)
        newest = request.query.get("order", "oldest")
        if newest not in ("oldest", "newest"):
            raise Invalid("is neither oldest nor newest", "order")
        after = _whole_number(request, "after", 0, 2**63)
        limit = _whole_number(request, "limit", 1000, MAX_LIMIT)
        wanted = {field: request.query[field] for field in _FILTERS[kind] if field in request.query}
        self._journal.flush()
        lines = self._journal.find(kind, after, newest_first=newest == "newest", **wanted)
        found = await asyncio.to_thread(lambda: list(islice(lines, limit + 1)))
        more = len(found) > limit and newest == "oldest"
        return _json({name: found[:limit], "next_after": found[limit - 1].seq if more else None})


def _whole_number(request: web.Request, name: str, default: int, most: int) -> int:
    given = request.query.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal() and int(given) <= most):
        raise Invalid(f"is not a whole number up to {most}", name)
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
