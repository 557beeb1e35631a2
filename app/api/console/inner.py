"""The API as the console's pages call it: the same handlers, in this process, as the session's caller."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiohttp import web

from app.api.answering import problem_for
from app.api.call import AUDITED, MAX_BODY_BYTES, Call, Deps
from app.api.callers import Service, authorize
from app.api.problems import Problem
from app.api.routes import Route
from app.config.sections import Scope

#: Routes by method and path, as they are described.
Handlers = Mapping[tuple[str, str], Route]
_CAMPAIGN: frozenset[Scope] = frozenset(("campaign",))


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerCall(Call):
    """A call that no request of its own carries. ``request``: the page's, whose address and audit mark it uses."""

    params: Mapping[str, str]
    asked: Mapping[str, str]
    content: bytes

    def path(self, name: str) -> str:
        return self.params[name]

    @property
    def query(self) -> Mapping[str, str]:
        return self.asked

    @property
    def has_body(self) -> bool:
        return bool(self.content)

    async def body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        if len(self.content) > limit:
            raise Problem(413, f"the body is larger than {limit} bytes", "body")
        return self.content


@dataclass(frozen=True, slots=True)
class Api:
    """Raises Problem for whatever a handler refuses, or can't do just now."""

    handlers: Handlers
    deps: Deps
    caller: Service
    request: web.Request

    def of_source(self, source: str) -> "Api":
        """As that source's own key: the API shows campaigns to their source alone; whoever signs in here sees all, and
        may change them where a form may be sent at all. The audit log has the key's own id."""
        scopes: frozenset[Scope] = self.caller.scopes | _CAMPAIGN
        return replace(self, caller=replace(self.caller, source=source, scopes=scopes))

    async def get(self, path: str, query: Mapping[str, Any] | None = None, **params: str) -> Any:
        """``path``: as the route is described; ``params``: what its braces stand for."""
        return await self.call("GET", path, query=query, **params)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        **params: str,
    ) -> Any:
        """The answer's document; None where it has none."""
        route = self.handlers[method, path]
        authorize(self.caller, route.access, params.get("id"))
        asked = {name: str(value) for name, value in (query or {}).items() if value not in (None, "")}
        content = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        with self.deps.limits.hold(self.caller, self.request.remote) as hold:
            hold.take_body(len(content))
            call = InnerCall(
                self.request, self.deps, self.caller, hold, route.action, params=params, asked=asked, content=content
            )
            try:
                response = await route.handler(call)
            except Exception as error:
                raise problem_for(error, self.request) from error
            assert route.action is None or response.status >= 300 or AUDITED in self.request
        assert isinstance(response, web.Response)
        return msgspec.json.decode(response.body) if isinstance(response.body, bytes) and response.body else None

    async def known(self, path: str, **params: str) -> dict[str, Any]:
        """As ``get``; nothing where there is nothing."""
        try:
            return await self.get(path, None, **params) or {}
        except Problem as problem:
            if problem.status != 404:
                raise
            return {}

    async def rows(self, sql: str, limit: int = 1000) -> list[dict[str, Any]]:
        """What a query finds. Raises Problem, too, where an id that was asked for is none."""
        if "\0" in sql:
            raise Problem(404, "no id holds U+0000")
        found = await self.get("/v1/query", {"sql": sql, "limit": limit})
        return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
