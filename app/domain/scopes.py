"""What a key may do: its scopes, and the event types to which scopes such as ``send:order.*`` limit it."""

import re
from collections.abc import Iterable

from schemas.keys import SCOPE_FORM

_FORM = re.compile(SCOPE_FORM)
_LIMITED = "send:"
#: What may be granted, in words.
KNOWN = "send, send:EVENT_TYPE (such as send:order.*), campaign, read, admin, admin:read"


def check_scope(scope: str) -> str:
    """The scope. Raises ValueError for what is none."""
    if len(scope) > len(_LIMITED) + 100 or not _FORM.fullmatch(scope):
        raise ValueError(f"is not a scope; those are {KNOWN}")
    return scope


def plain_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Without event types: ``send`` for ``send:order.*``."""
    return frozenset("send" if scope.startswith(_LIMITED) else scope for scope in scopes)


def event_types_of(scopes: Iterable[str]) -> tuple[str, ...] | None:
    """The event types that a key with these scopes may send for: names, and beginnings with ``*``. None: all."""
    limited = [scope.removeprefix(_LIMITED) for scope in scopes if scope.startswith(_LIMITED)]
    return tuple(limited) if limited and "send" not in scopes else None


def covers(event_types: tuple[str, ...] | None, event_type: str) -> bool:
    """Whether the event type is among them."""
    return event_types is None or any(
        event_type.startswith(each[:-1]) if each.endswith("*") else event_type == each for each in event_types
    )


def scope_for(event_type: str) -> str:
    """The least scope that sends for it."""
    return f"{_LIMITED}{event_type}"
