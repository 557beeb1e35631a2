"""A user's consent to be told something on a channel, with its evidence."""

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import OWN_OR_ADMIN
from app.api.commands import command_of, publish_command, user_of
from app.api.problems import Problem
from app.api.routes import Route
from schemas.commands import ConsentSet
from schemas.instants import Instant
from schemas.words import Channel


class Consent(Struct, frozen=True):
    """What was said, and since when it counts."""

    channel: Channel
    category: str
    granted: bool
    at: Instant


async def put(call: Call) -> web.Response:
    command = command_of(call, "consent.set", user_of(call), await call.fields())
    assert isinstance(command, ConsentSet)
    if command.category not in call.deps.config.catalog.policy.categories:
        raise Problem(422, "the policy has no such category", "category")
    await publish_command(call, command)
    return answer(Consent(command.channel, command.category, command.granted, command.at))


ROUTES = (
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
