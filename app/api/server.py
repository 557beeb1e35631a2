"""The gateway's HTTP server: every route, admitted by its access, with problems as its only errors."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from app.api import (
    app_reports,
    audit_log,
    campaigns,
    consents,
    dead,
    devices,
    documents,
    erasures,
    history,
    hooks,
    inbox,
    inbox_stream,
    keys,
    notifications,
    policy,
    preference_choices,
    preference_page,
    preferences,
    profile,
    providers,
    query,
    replays,
    templates,
    tracking,
    unsubscribe,
    user_history,
    verification,
    webhooks,
)
from app.api import (
    web as web_component,
)
from app.api.answering import has_left, pattern_of, problem_for
from app.api.call import AUDITED, BEGAN, STANDING, Call, Deps, answer
from app.api.callers import PUBLIC, Caller, User, authorize
from app.api.connections import Connection, shown_certificate
from app.api.console import site as console
from app.api.cors import named, preflight
from app.api.description import describe
from app.api.limits import Limits
from app.api.pages import Pages
from app.api.problems import Problem
from app.api.routes import Route
from app.api.tracing import AUTHORIZED
from app.serving import add_security_headers

log = structlog.get_logger(__name__)

RESOURCES = (
    notifications,
    history,
    user_history,
    preferences,
    profile,
    verification,
    devices,
    consents,
    app_reports,
    inbox_stream,
    inbox,
    erasures,
    templates,
    policy,
    query,
    dead,
    audit_log,
    providers,
    replays,
    webhooks,
    campaigns,
    hooks,
    documents,
    web_component,
    tracking,
    unsubscribe,
    preference_choices,
    preference_page,
    keys,
)


def routes(public_url: str | None) -> Sequence[Route]:
    """Every route of the gateway, its own description included."""
    served = tuple(route for resource in RESOURCES for route in resource.ROUTES)
    document = describe(served, public_url)

    described = answer(document).body

    async def description(_: Call) -> web.Response:
        return web.Response(body=described, content_type="application/json")

    return (*served, Route("GET", "/openapi.json", description, PUBLIC, "This description", {200: dict}))


def create_app(deps: Deps, *, public_url: str | None = None, has_tls: bool = False) -> web.Application:
    """``has_tls``: whether the gateway itself serves TLS, so that cookies go over nothing else."""
    middlewares = [_counted(deps.counting.answered)]
    if deps.tracing is not None:
        middlewares.append(deps.tracing.middleware())
    if deps.cors_origins:  # (every request pays for each of these)
        middlewares.append(preflight(deps.cors_origins))
    middlewares.append(_problems(deps.limits, deps.counting.refused, deps.pages))
    app = web.Application(middlewares=middlewares)
    app.on_response_prepare.append(_add_rate)
    if deps.cors_origins:
        app.on_response_prepare.append(named(deps.cors_origins))
    app.on_response_prepare.append(add_security_headers)
    served = routes(public_url)
    for route in served:
        for method in (route.method, "HEAD") if route.head else (route.method,):
            app.router.add_route(method, route.path, partial(_serve, deps, route), expect_handler=_expected)
    console.add_to(app, deps, served, secure=has_tls or (public_url or "").startswith("https:"))
    return app


async def _expected(request: web.Request) -> web.Response | None:
    """Answers ``Expect`` before the body is sent; None: go on."""
    if request.version < HttpVersion11:
        return None
    if request.headers["Expect"].lower() != "100-continue":
        return Problem(417, "only 100-continue can be expected", "Expect").response()
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # of the answer itself nothing was sent
    return None


#: Who calls, once it is known.
_CALLER: web.RequestKey[Caller] = web.RequestKey("caller", object)  # type: ignore[arg-type]  # a union is no class
#: Set where people open the route's address in a browser.
_FOR_PEOPLE = web.RequestKey("for people", bool)


async def _serve(deps: Deps, route: Route, request: web.Request) -> web.StreamResponse:
    caller: Caller | None = None
    request[_FOR_PEOPLE] = "text/html" in route.gives
    if not route.access.public:
        caller = request[_CALLER] = await _identify(deps, route, request)
        if isinstance(request.protocol, Connection):
            request.protocol.trust()
        request[STANDING] = deps.limits.count_call(caller)
        authorize(caller, route.access, request.match_info.get("id"))
        request[AUTHORIZED] = True
    with deps.limits.hold(caller, request.remote) as hold:
        response = await route.handler(Call(request, deps, caller, hold, route.action))
        assert route.action is None or response.status >= 300 or AUDITED in request, "a change without its audit entry"
        return response


async def _identify(deps: Deps, route: Route, request: web.Request) -> Caller:
    """Raises Problem 401."""
    authorization, given = request.headers.get("Authorization"), request.query.get("ticket")
    if route.access.ticket and authorization is None and given is not None:
        ticket = deps.tickets.read(given)
        return User(ticket.user_id, ticket.ends, ticket)
    return await deps.callers.identify(authorization, partial(shown_certificate, request))


async def _add_rate(request: web.Request, response: web.StreamResponse) -> None:
    if (standing := request.get(STANDING)) is not None:
        response.headers.update(standing.headers)


def _problems(limits: Limits, refused: Callable[[int, str], None], pages: Pages) -> Middleware:
    """Whatever goes wrong becomes a problem, or a page; what nobody foresaw is logged and says nothing of itself."""

    def answer_of(problem: Problem, request: web.Request) -> web.Response:
        refused(problem.status, problem.reason)
        page = pages.problem(request, problem) if request.get(_FOR_PEOPLE) else None
        return page or problem.response()

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            problem = _of_status(error)
        except Exception as error:
            if isinstance(error, ConnectionError) and has_left(request):
                log.info("a caller left before its answer was whole", path=pattern_of(request))
                raise  # (which aiohttp passes over)
            problem = problem_for(error, request)
        if _CALLER not in request and problem.status < 500:
            try:
                limits.count_refusal(request.remote)
            except Problem as too_many:
                response = answer_of(too_many, request)
                response.force_close()
                return response
        return answer_of(problem, request)

    return answered


#: The status that a request is counted with whose caller left before it was answered.
_LEFT = 499
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def _counted(answered: Callable[[str, str, int, float], None]) -> Middleware:
    """Counts every request, by what neither a caller nor a user chooses."""

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        began, status = time.monotonic(), _LEFT
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            method = request.method if request.method in _METHODS else "other"
            answered(pattern_of(request), method, status, request.get(BEGAN, time.monotonic()) - began)

    return counted


def _of_status(error: web.HTTPException) -> Problem:
    allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return Problem(
        error.status, "there is no such path or method" if error.status in (404, 405) else error.reason, headers=allowed
    )
