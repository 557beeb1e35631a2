"""A user's profile: addresses, language, time zone, name, attributes."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import OWN_OR_ADMIN, OWN_OR_ADMIN_READ, Service
from app.api.problems import problem_of
from app.api.routes import Route
from app.api.state import read, write_and_read
from schemas.commands import ProfileSet
from schemas.decode import Invalid
from tables.profiles import with_attributes

_PATH = "/v1/users/{id}/profile"
#: What a service says of an address, and never its user.
_VOUCHED = ("email_verified", "phone_verified", "claimed")


class Profile(Struct, frozen=True):
    """Empty for a user who isn't known."""

    email: str | None = None
    email_verified: bool = False
    email_claimed: bool = False
    phone: str | None = None
    phone_verified: bool = False
    phone_claimed: bool = False
    locale: str | None = None
    timezone: str | None = None
    name: str | None = None
    attributes: dict[str, Any] | None = None


async def get(call: Call) -> web.Response:
    return answer(await read(call, "profile") or {})


async def patch(call: Call) -> web.Response:
    """Merged as RFC 7396; an address that a user sets is claimed and unverified, whatever they say of it."""
    fields = await call.fields()
    if not isinstance(call.caller, Service):
        fields = unvouched(fields)
    if isinstance(fields.get("attributes"), dict):
        await _check_merged(call, fields["attributes"])
    return answer(await write_and_read(call, "profile.set", fields, "profile") or {})


def unvouched(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a user says by their own token: nobody vouches for it."""
    return {name: value for name, value in fields.items() if name not in _VOUCHED} | {"claimed": True}


async def _check_merged(call: Call, attributes: dict[str, Any]) -> None:
    """Checks what the patch would make of the attributes; the merging itself is the router's, in the log's order."""
    before = await read(call, "profile") or {}
    try:
        with_attributes(before.get("attributes") or {}, attributes)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid


ROUTES = (
    Route("GET", _PATH, get, OWN_OR_ADMIN_READ, "A user's profile", {200: Profile}),
    Route(
        "PATCH",
        _PATH,
        patch,
        OWN_OR_ADMIN,
        "Merge into a user's profile (RFC 7396)",
        {200: Profile},
        body=ProfileSet,
        takes=("application/json", "application/merge-patch+json"),
    ),
)
