"""Reads of a user's state from its owner, such that callers see what they wrote a moment ago."""

from collections.abc import Mapping
from typing import Any

from app.api.call import Call
from app.api.commands import command_user, user_of


async def read(call: Call, view: str, *, role: str = "router", **params: str) -> Any:
    """A view of the path's user, None where nothing is known."""
    return await call.deps.owner.read(role, user_of(call), view, params)


async def write_and_read(call: Call, kind: str, fields: Mapping[str, Any], view: str, *, role: str = "router") -> Any:
    """Publishes a command about the path's user and returns a view that has seen it."""
    offset = await command_user(call, kind, fields)
    return await call.deps.owner.read(role, user_of(call), view, {}, after=offset)
