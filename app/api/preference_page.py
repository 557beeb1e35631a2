"""The hosted preference page: a link for one user, and the page that it opens. Its form changes preferences only."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web
from babel.dates import get_day_names
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import OWN_OR_ADMIN, PUBLIC
from app.api.commands import command_of, publish_command, user_of
from app.api.links import opened
from app.api.pages import language_of, texts_of
from app.api.problems import Problem, unknown
from app.api.routes import Route
from app.domain.links import PREFERENCES_MS, Preferences
from app.domain.merge import merge_patch
from app.domain.preferences import parse_preferences
from app.domain.preferences.form import MAX_FIELDS, form_of, patch_of
from app.domain.quiet_hours import DAYS
from app.store.owner_client import OwnerUnavailableError
from schemas.decode import Invalid
from schemas.instants import rfc3339
from tables.preferences import NO_WISHES, with_document

_PATH = "/preferences/{token}"
_VIEW = "preferences"
_MAX_BODY_BYTES = 512 << 10
_FORM = "application/x-www-form-urlencoded"


class PreferencesLink(Struct, frozen=True):
    """A page that whoever has its address can open until it expires."""

    url: str
    expires_at: str


async def post_link(call: Call) -> web.Response:
    user_id, links, now = user_of(call), call.deps.links, call.deps.clock()
    if links is None:
        raise Problem(422, "no link can be made: set gateway.public_url and gateway.signing_keys")
    until_ms = (now + PREFERENCES_MS) // 1000 * 1000
    return answer(PreferencesLink(links.preferences(user_id, now), rfc3339(until_ms)), 201)


async def get(call: Call) -> web.Response:
    return _page(call, await _document(call, _user(call)))


async def post(call: Call) -> web.Response:
    """Nothing but the token lets anyone in, no cookie and no login, so that no other site can have a browser post here;
    one that tries all the same is refused."""
    user_id = _user(call)
    if call.request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise Problem(403, "the form must be the page's own", "Sec-Fetch-Site")
    fields, document = await _fields(call), await _document(call, user_id)
    policy = call.deps.config.catalog.policy
    patch = patch_of(fields, document, policy)
    if not patch:
        return _page(call, document, texts_of(call.request)["preferences.saved"])
    try:
        merged = merge_patch(document, patch)
        parse_preferences(merged, policy)
        with_document(NO_WISHES, merged)
    except Invalid as invalid:
        why = f"{invalid.field} {invalid.reason}" if invalid.field else invalid.reason
        return _page(call, document, texts_of(call.request)["preferences.refused"].format(why=why), 422)
    offset = await publish_command(call, command_of(call, "preferences.patch", user_id, {"preferences": patch}))
    try:
        stored = await call.deps.owner.read("router", user_id, _VIEW, {}, after=offset) or {}
    except OwnerUnavailableError:
        stored = merged  # the log has it
    return _page(call, stored, texts_of(call.request)["preferences.saved"])


def _user(call: Call) -> str:
    """Raises Problem 404 for a link that isn't ours, is too old, or was made for whoever had the id before."""
    link = opened(call, "preferences", Preferences)
    made_by = (link.until + 1) * 1000 - PREFERENCES_MS  # (the token has seconds)
    if link.until * 1000 <= call.deps.clock() or call.deps.erased.hides(link.user_id, made_by):
        raise unknown("the link")
    return link.user_id


async def _document(call: Call, user_id: str) -> dict[str, Any]:
    return await call.deps.owner.read("router", user_id, _VIEW, {}) or {}


async def _fields(call: Call) -> Mapping[str, Sequence[str]]:
    if call.request.content_type != _FORM:
        raise Problem(415, f"the form comes as {_FORM}", "Content-Type")
    body = await call.body(_MAX_BODY_BYTES)
    try:
        return parse_qs(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise Problem(400, "is not a form of this page", "body") from error


def _page(call: Call, document: Mapping[str, Any], notice: str = "", status: int = 200) -> web.Response:
    named_days = get_day_names("wide", context="stand-alone", locale=language_of(call.request))
    return call.deps.pages.answer(
        call.request,
        "preferences",
        status,
        form=form_of(document, call.deps.config.catalog.policy),
        days=[(day, named_days[number]) for number, day in enumerate(DAYS)],
        notice=notice,
    )


class PreferencesForm(Struct, frozen=True):
    """What the page's form sends: ``act`` (``save``, ``all``), and with ``save`` what was shown and what is chosen."""

    act: str = "save"
    shown: list[str] = []
    on: list[str] = []
    quiet: str = ""
    quiet_was: str = ""
    quiet_start: str = ""
    quiet_end: str = ""
    quiet_day: list[str] = []


ROUTES = (
    Route(
        "POST",
        "/v1/users/{id}/preferences/link",
        post_link,
        OWN_OR_ADMIN,
        "Make a link to the user's hosted preference page",
        {201: PreferencesLink},
    ),
    Route(
        "GET",
        _PATH,
        get,
        PUBLIC,
        "The hosted preference page",
        {200: str},
        gives=("text/html",),
        head=True,
    ),
    Route(
        "POST",
        _PATH,
        post,
        PUBLIC,
        "Submit the form of the hosted preference page",
        {200: str},
        body=PreferencesForm,
        takes=(_FORM,),
        gives=("text/html",),
    ),
)
