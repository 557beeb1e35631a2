"""One call as a value, and how a class of calls serves both a client that blocks and one that awaits.

A resource's methods make calls and do no I/O. ``operation`` turns each into a method that makes the call the way its
client does: for ``Resource[Blocking]`` it returns the answer, for ``Resource[Awaiting]`` an awaitable of it.
"""

import keyword
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload
from urllib.parse import quote, urlencode

import msgspec

from tocsin.client.answers import StreamEvent

P = ParamSpec("P")
T = TypeVar("T")
Way = TypeVar("Way", bound="Blocking | Awaiting")

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """``target``: path and query. ``read``: of the answer's body. ``is_idempotent``: made twice it does no more than
    once. ``can_send_again``: its body can be read more than once; an iterator's rest is another body.
    ``is_gone_done``: a 404 to a repeated call means that the one before was obeyed."""

    method: str
    target: str
    read: Callable[[bytes], T]
    #: What makes it anew for each attempt, where it doesn't fit into memory.
    body: bytes | Callable[[], Iterator[bytes]] | None = None
    media: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    is_idempotent: bool = True
    can_send_again: bool = True
    is_gone_done: bool = False
    #: In place of the client's own limit: of a body that takes long.
    total_s: float | None = None
    #: Asked when a repeated call is refused with 409 for the thing's status, which the one before may have led to.
    #: Reads this call's answer; None: it has not.
    settled_by: "Call[T | None] | None" = None


@dataclass(frozen=True, slots=True)
class Pages(Generic[T]):
    """A list that comes in pages: ``first`` answers with its items and the next page's cursor, which goes into the
    query."""

    first: Call[tuple[list[T], str | None]]

    def after(self, cursor: str) -> Call[tuple[list[T], str | None]]:
        path, _, query = self.first.target.partition("?")
        more = urlencode({"cursor": cursor}, quote_via=quote)
        return replace(self.first, target=f"{path}?{query}&{more}" if query else f"{path}?{more}")


@dataclass(frozen=True, slots=True)
class Following:
    """Events that come as they happen, from behind the last one that is known; None: from now on."""

    target: str
    last_event_id: str | None = None


class Blocking(ABC):
    """How a client makes calls that waits for their answers."""

    @abstractmethod
    def make(self, call: Call[T]) -> T: ...

    @abstractmethod
    def follow(self, following: Following) -> Iterator[StreamEvent]: ...

    def pages(self, pages: Pages[T]) -> Iterator[T]:
        items, cursor = self.make(pages.first)
        yield from items
        while cursor is not None:
            items, cursor = self.make(pages.after(cursor))
            yield from items


class Awaiting(ABC):
    """How a client makes calls whose answers are awaited."""

    @abstractmethod
    async def make(self, call: Call[T]) -> T: ...

    @abstractmethod
    def follow(self, following: Following) -> AsyncIterator[StreamEvent]: ...

    async def pages(self, pages: Pages[T]) -> AsyncIterator[T]:
        items, cursor = await self.make(pages.first)
        for item in items:
            yield item
        while cursor is not None:
            items, cursor = await self.make(pages.after(cursor))
            for item in items:
                yield item


class Resource(Generic[Way]):
    """What can be asked for of one kind of thing."""

    def __init__(self, way: Way) -> None:
        self._way = way


class operation(Generic[P, T]):  # it is used as a decorator
    """A method that makes the call it is given."""

    def __init__(self, call: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self._call = call
        self.name = call.__name__
        update_wrapper(self, call)  # type: ignore[arg-type]  # its docstring and signature

    @overload
    def __get__(self, instance: None, owner: type) -> "operation[P, T]": ...
    @overload
    def __get__(self, instance: Resource[Blocking], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Resource[Awaiting], owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self

        def called(*args: P.args, **kwargs: P.kwargs) -> Any:
            return instance._way.make(self._call(instance, *args, **kwargs))

        return update_wrapper(called, self._call)


class listing(Generic[P, T]):
    """A method that goes through all pages of a list."""

    def __init__(self, pages: Callable[Concatenate[Any, P], Pages[T]]) -> None:
        self._pages = pages
        self.name = pages.__name__
        update_wrapper(self, pages)  # type: ignore[arg-type]

    @overload
    def __get__(self, instance: None, owner: type) -> "listing[P, T]": ...
    @overload
    def __get__(self, instance: Resource[Blocking], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: Resource[Awaiting], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self

        def called(*args: P.args, **kwargs: P.kwargs) -> Any:
            return instance._way.pages(self._pages(instance, *args, **kwargs))

        return update_wrapper(called, self._pages)


class stream(Generic[P]):
    """A method that follows what happens."""

    def __init__(self, following: Callable[Concatenate[Any, P], Following]) -> None:
        self._following = following
        self.name = following.__name__
        update_wrapper(self, following)  # type: ignore[arg-type]

    @overload
    def __get__(self, instance: None, owner: type) -> "stream[P]": ...
    @overload
    def __get__(self, instance: Resource[Blocking], owner: type) -> Callable[P, Iterator[StreamEvent]]: ...
    @overload
    def __get__(self, instance: Resource[Awaiting], owner: type) -> Callable[P, AsyncIterator[StreamEvent]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self

        def called(*args: P.args, **kwargs: P.kwargs) -> Any:
            return instance._way.follow(self._following(instance, *args, **kwargs))

        return update_wrapper(called, self._following)


# --- parts of calls ---


def path(template: str, **values: str) -> str:
    """``/v1/users/{id}`` with values as single segments; ``.`` and ``..``, which would be steps, percent-encoded."""
    made = template
    for name, value in values.items():
        if not value:
            raise ValueError(f"{name} is empty")
        segment = quote(value, safe="")
        made = made.replace(f"{{{name}}}", segment.replace(".", "%2E") if segment.strip(".") == "" else segment)
    return made


def asked(target: str, **query: Any) -> str:
    """With those query parameters that are given. Names may end with _."""
    given = {_wire(name): _text(value) for name, value in query.items() if value is not None}
    return f"{target}?{urlencode(given, quote_via=quote)}" if given else target


def _wire(name: str) -> str:
    """``from_`` is ``from``."""
    return name[:-1] if name.endswith("_") and keyword.iskeyword(name[:-1]) else name


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode().strip('"')


def json_of(fields: Mapping[str, Any]) -> bytes:
    """As it goes over the wire: ``from_`` is ``from``, a time with its zone is RFC 3339."""
    return msgspec.json.encode({_wire(name): value for name, value in fields.items()})


def reader(kind: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(kind).decode


def nothing(_: bytes) -> None:
    """Of an answer without content."""
