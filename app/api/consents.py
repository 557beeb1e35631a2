"""A user's consents to be told something on a channel, with their evidence."""

from typing import Any

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import OWN_OR_ADMIN, OWN_OR_ADMIN_READ
from app.api.commands import command_of, publish_checked, user_of
from app.api.problems import Problem
from app.api.routes import Route
from app.api.state import read
from schemas.commands import ConsentSet
from schemas.instants import Instant
from schemas.words import Channel


class Consent(Struct, frozen=True):
    """What was said, and since when it counts."""

    channel: Channel
    category: str
    granted: bool
    at: Instant


class Grant(Struct, frozen=True):
    at: Instant
    evidence: Any


class RecordedConsent(Struct, frozen=True):
    """What was said last. ``withdrawn_grant``: of a withdrawn one the grant that it withdrew."""

    channel: Channel
    category: str
    granted: bool
    at: Instant
    evidence: Any = None
    withdrawn_grant: Grant | None = None


class Consents(Struct, frozen=True):
    consents: list[RecordedConsent]


async def get(call: Call) -> web.Response:
    return answer({"consents": await read(call, "consents") or []})


async def put(call: Call) -> web.Response:
    command = command_of(call, "consent.set", user_of(call), await call.fields())
    assert isinstance(command, ConsentSet)
    if command.category not in call.deps.config.catalog.policy.categories:
        raise Problem(422, "the policy has no such category", "category")
    offset = await publish_checked(call, command)
    await call.deps.owner.read("router", user_of(call), "known", {}, after=offset)  # a read sees it from now on
    return answer(Consent(command.channel, command.category, command.granted, command.at))


ROUTES = (
    Route(
        "GET",
        "/v1/users/{id}/consents",
        get,
        OWN_OR_ADMIN_READ,
        "A user's consents, each with what was given as evidence",
        {200: Consents},
    ),
    Route(
        "PUT",
        "/v1/users/{id}/consents",
        put,
        OWN_OR_ADMIN,
        "Grant or withdraw consent for a category on a channel",
        {200: Consent},
        body=ConsentSet,
    ),
)
