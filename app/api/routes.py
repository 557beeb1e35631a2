"""What a route is: how it is called, by whom, and what is said of it in the API's description."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from app.api.call import Call
from app.api.callers import Access


@dataclass(frozen=True, slots=True)
class Route:
    """``body`` and ``answers`` (by status) are types, for the description; None: no content."""

    method: str
    path: str
    handler: Callable[[Call], Awaitable[web.StreamResponse]]
    access: Access
    summary: str
    answers: Mapping[int, Any]
    body: Any = None
    #: Name and meaning of each query parameter.
    query: Mapping[str, str] = field(default_factory=dict)
    #: What the audit log calls the change that the route makes; its handler awaits ``audited`` before it makes it.
    action: str | None = None
    #: Media types of the body and of the answers.
    takes: tuple[str, ...] = ("application/json",)
    gives: tuple[str, ...] = ("application/json",)
    #: Whether it answers a HEAD, too.
    head: bool = False
