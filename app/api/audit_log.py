"""The audit log: entered by every route that changes something for others than its caller, and read by admins."""

import ipaddress
import re
from typing import Any

from aiohttp import web
from msgspec import Struct, to_builtins

from app.api.call import AUDITED, Call, Deps, answer
from app.api.callers import ADMIN_READ, Service
from app.api.problems import Problem, later
from app.api.routes import Route
from app.store.audit_log import Wanted
from app.store.publisher import PublishError
from schemas.audit_log import RUN_BY
from schemas.decode import Invalid
from schemas.instants import instant_ms

_MOST = 1000
_RUN_BY = re.compile(r"[\w.@+-]{1,120}", re.ASCII)
#: Proxies that are named at most.
_HOPS = 5


class AuditPage(Struct, frozen=True):
    """Newest first, each as on ``tocsin_audit_log``."""

    entries: list[dict[str, Any]]
    next_cursor: str | None = None


async def audited(call: Call, what: str) -> None:
    """Enters the change that the call is about to make, under its route's action. To be called when nothing but a
    failure can keep the change from being made. ``what`` names things by their ids.

    Raises Problem 503 where the log can't be written: then nothing may be changed.
    """
    assert call.action is not None, "the route has no action"
    key_id = call.caller.key_id if isinstance(call.caller, Service) else None
    try:
        await call.deps.audit_log.enter(key_id, _origin(call.request), call.action, what)
    except PublishError as error:
        raise later("the audit log can't be written, so nothing was changed") from error
    call.request[AUDITED] = True


async def looked_at(deps: Deps, request: web.Request, key_id: str, action: str, what: str) -> None:
    """Enters that somebody is about to be shown what others usually aren't. Raises Problem 503 as ``audited`` does."""
    try:
        await deps.audit_log.enter(key_id, _origin(request), action, what)
    except PublishError as error:
        raise later("the audit log can't be written, so nothing is shown") from error


def changes_nothing(call: Call) -> None:
    """What the call asks for changes nothing after all, as a dry run does: it needs no entry."""
    call.request[AUDITED] = True


def _origin(request: web.Request) -> str:
    """The address that called; beside it what others claim of it, who may be anybody: proxies and our own commands."""
    claims = []
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")][-_HOPS:]
    if hops != [""] and all(_is_address(hop) for hop in hops):
        claims.append(f"X-Forwarded-For {', '.join(hops)}")
    if _RUN_BY.fullmatch(run_by := request.headers.get(RUN_BY, "")):
        claims.append(f"run by {run_by}")
    beside = f" ({'; '.join(claims)})" if claims else ""
    return f"{request.remote or 'unknown'}{beside}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def get(call: Call) -> web.Response:
    query = call.query
    wanted = Wanted(query.get("action"), query.get("key_id"), _instant(call, "from"), _instant(call, "to"))
    try:
        entries, cursor = await call.deps.audit_log.newest(
            call.integer("limit", 100, _MOST), query.get("cursor"), wanted
        )
    except ValueError as error:
        raise Problem(400, "is not a cursor", "cursor") from error
    return answer(AuditPage([to_builtins(entry) for entry in entries], cursor))


def _instant(call: Call, name: str) -> int | None:
    text = call.query.get(name)
    if text is None:
        return None
    try:
        return instant_ms(text, name)
    except Invalid as invalid:
        raise Problem(400, invalid.reason, name) from invalid


ROUTES = (
    Route(
        "GET",
        "/v1/audit-log",
        get,
        ADMIN_READ,
        "Who changed what, newest first",
        {200: AuditPage},
        query={
            "action": "Only this action, such as policy.put, or all whose name begins with it and a dot",
            "key_id": "Only what was done with this API key",
            "from": "Only entries at or after this time (RFC 3339)",
            "to": "Only entries before this time (RFC 3339)",
            "limit": f"At most this many, 1 to {_MOST}; 100 by default",
            "cursor": "The next_cursor of the previous page",
        },
    ),
)
