"""The console's routes: signing in and out, and every page for whoever is signed in."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from app.api.answering import problem_for
from app.api.call import Deps
from app.api.callers import Service, came_with
from app.api.connections import shown_certificate
from app.api.console import (
    audit,
    campaigns,
    dashboards,
    dead,
    find,
    history,
    overview,
    policy,
    providers,
    query,
    replays,
    templates,
)
from app.api.console.inner import Api
from app.api.console.pages import ROOT, Page, View
from app.api.console.rendering import link, page, static_files, text
from app.api.console.sessions import COOKIE, LASTS_S, Session, fingerprint_of
from app.api.problems import Problem
from app.api.routes import Route
from app.domain.api_keys import hash_of

_PAGES: Final = (overview, find, providers, replays, campaigns, dead, policy, templates, dashboards, query, audit)
#: Of a form: a policy is the largest thing that one holds.
_MOST_FORM_BYTES = 4 << 20
_MOST_SIGN_IN_BYTES = 4 << 10
_MOST_FIELDS = 100
_FORM_WITHIN_S = 30.0
_SCOPES = frozenset(("admin", "admin:read"))


def add_to(app: web.Application, deps: Deps, routes: Iterable[Route], *, secure: bool) -> None:
    """``routes``: the API's. ``secure``: the cookie goes over TLS only."""
    site = _Site(deps, {(route.method, route.path): route for route in routes}, secure)
    router = app.router
    router.add_get(f"{ROOT}/sign-in", site.sign_in)
    router.add_post(f"{ROOT}/sign-in", site.begin)
    router.add_post(f"{ROOT}/sign-out", site.end)
    router.add_get(f"{ROOT}/static/{{name}}", site.static)
    for module in _PAGES:
        for view in module.VIEWS:
            router.add_route(view.method, f"{ROOT}{view.path}", site.serving(view))


@dataclass(frozen=True, slots=True)
class _Site:
    deps: Deps
    handlers: Mapping[tuple[str, str], Route]
    secure: bool

    def serving(self, view: View) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def served(request: web.Request) -> web.StreamResponse:
            found = self._session(request)
            if found is None:
                return self._to_sign_in(request)
            session, service = found
            shown = Page(Api(self.handlers, self.deps, service, request), session, service, request, {}, self.secure)
            try:
                self.deps.limits.count_call(service)
                if view.method == "POST":
                    form = await _form(request, _MOST_FORM_BYTES)
                    _check_form(request, session, form)
                    shown = replace(shown, form=form)
                    if view.acts and "admin" not in service.scopes:
                        raise Problem(403, text("confirm.reader"))
                return await view.handler(shown)
            except Exception as error:
                return _refused(shown, problem_for(error, request))

        return served

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        over = request.query.get("over") is not None
        problem = text("sign_in.over") if over else None
        return page("sign_in", problem=problem, root=ROOT, back_to=_back_to(request.query.get("to", "")))

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """A wrong key counts as any refusal of a caller without good credentials does."""
        _check_origin(request)
        form = await _form(request, _MOST_SIGN_IN_BYTES)
        credential, back_to = form.get("key", "").strip(), _back_to(form.get("to", ""))
        try:
            caller = await self.deps.callers.identify(f"Bearer {credential}", partial(shown_certificate, request))
        except Problem:
            caller = None
        if not isinstance(caller, Service) or caller.scopes.isdisjoint(_SCOPES):
            self.deps.limits.count_refusal(request.remote)
            return page("sign_in", 403, problem=text("sign_in.wrong"), root=ROOT, back_to=back_to)
        _, cookie = self.deps.sessions.begin(caller.key_id, hash_of(credential))
        response = _to(back_to or ROOT)
        response.set_cookie(
            COOKIE, cookie, max_age=LASTS_S, path=ROOT, httponly=True, samesite="Strict", secure=self.secure
        )
        return response

    async def end(self, request: web.Request) -> web.StreamResponse:
        _check_origin(request)
        response = _to(f"{ROOT}/sign-in")
        response.del_cookie(COOKIE, path=ROOT, httponly=True, samesite="Strict", secure=self.secure)
        history.forget(response, secure=self.secure)
        return response

    async def static(self, request: web.Request) -> web.StreamResponse:
        made = _FILES.get(request.match_info["name"])
        if made is None:
            raise Problem(404, text("gone"))
        response: web.Response = made()
        return response

    def _session(self, request: web.Request) -> tuple[Session, Service] | None:
        session = self.deps.sessions.read(request.cookies.get(COOKIE, ""))
        if session is None:
            return None
        for service in self.deps.callers.known(session.key_id):
            if fingerprint_of(service.sha256) == session.fingerprint and not service.scopes.isdisjoint(_SCOPES):
                return (session, service) if came_with(service, partial(shown_certificate, request)) else None
        return None

    def _to_sign_in(self, request: web.Request) -> web.StreamResponse:
        """As a whole page, also where a part of one was asked for; from there back to where they were."""
        had_one = COOKIE in request.cookies
        path = link(f"{ROOT}/sign-in", over="1" if had_one else "", to=_back_to(_where(request)))
        response = web.Response(headers={"HX-Redirect": path}) if "HX-Request" in request.headers else _to(path)
        if had_one:
            response.del_cookie(COOKIE, path=ROOT)
        return response


_FILES = static_files()
_MOST_CHARACTERS_BACK = 2000
#: Pages of ours that can be opened by their address alone.
_OURS = re.compile(rf"{ROOT}(?!/sign-)(?:[/?][!-\[\]-~]*)?")


def _where(request: web.Request) -> str:
    """The page that somebody was on, or asked for: its path and query."""
    if "HX-Request" in request.headers:
        url = request.headers.get("HX-Current-URL", "")
    elif request.method == "GET":
        return request.path_qs
    else:
        url = request.headers.get("Referer", "")
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _back_to(path: str) -> str:
    """The path if it is a page's; else none. The first one is nobody's wish."""
    dots = re.sub("%2e", ".", path, flags=re.IGNORECASE)  # (to a browser they are the same)
    is_ours = len(path) <= _MOST_CHARACTERS_BACK and ".." not in dots and _OURS.fullmatch(path)
    return path if is_ours and path != ROOT else ""


def _to(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})


async def _form(request: web.Request, most: int) -> Mapping[str, str]:
    """The fields of a form; of a repeated one the last counts. Raises Problem."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise Problem(415, "a form is sent as application/x-www-form-urlencoded")
    length = request.content_length
    if length is None or length > most:
        raise Problem(413, f"the form is larger than {most} bytes, or doesn't say how large it is")
    try:
        async with asyncio.timeout(_FORM_WITHIN_S):
            body = await request.content.readexactly(length)
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except TimeoutError:
        raise Problem(408, f"the form did not come within {_FORM_WITHIN_S:g} s") from None
    except (ValueError, asyncio.IncompleteReadError, RequestPayloadError) as error:
        raise Problem(400, "this is not a form", headers={"Connection": "close"}) from error


def _check_form(request: web.Request, session: Session, form: Mapping[str, str]) -> None:
    _check_origin(request)
    if form.get("csrf") != session.csrf:
        raise Problem(403, "this form isn't one of your session: open the page again")


def _check_origin(request: web.Request) -> None:
    """Browsers say where a form comes from. Raises Problem for another site."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Problem(403, "this form comes from another site")


def _refused(shown: Page, problem: Problem) -> web.Response:
    """A part of a page is answered with 200, whatever the problem: htmx leaves what was there in place of an error."""
    if "HX-Request" in shown.request.headers:
        return shown.render("refused_part", problem=problem)
    return shown.render("refused", problem.status, problem=problem)
