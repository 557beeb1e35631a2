"""Finds a notification, a user, a key, a send or a provider's message, and shows what became of it and why."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from aiohttp import web

from app.api.answering import problem_for
from app.api.audit_log import looked_at
from app.api.console import counted, shown
from app.api.console.pages import Page, View, go_to, text
from app.api.explain import explain
from app.api.problems import Problem
from app.domain.erasure import user_hash
from app.domain.ids import keyed_notification_id
from app.replay.asking import PROVIDERS_OF
from app.store.owner_client import OwnerRefusedError
from app.store.sql import quoted
from schemas.instants import parse_ms, rfc3339

#: Ends after which support may want it to be sent after all.
_REPLAYED = frozenset(("expired", "failed", "unknown"))
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST_CHARACTERS = 400
_MOST_EVENTS = 1000
_OF_OWNER = ("profile", "preferences", "consents", "devices")
_OF_USER = """
SELECT notification_id, any(event_type) AS event_type, any(category) AS category, min(accepted_at) AS accepted_at,
  groupUniqArray(concat(coalesce(channel, 'all'), ': ', status)) AS outcomes
FROM notifications WHERE user_id = {user} GROUP BY notification_id ORDER BY accepted_at DESC LIMIT 50"""
_BY_SEND = "SELECT DISTINCT notification_id, user_id FROM lifecycle WHERE send_id = {what} LIMIT 1"
_BY_MESSAGE = "SELECT DISTINCT notification_id, user_id FROM lifecycle WHERE provider_message_id = {what} LIMIT 1"
_KNOWN = "SELECT count() AS n FROM (SELECT 1 FROM lifecycle WHERE notification_id = {what} LIMIT 1)"
_OF_ANYBODY = "SELECT count() AS n FROM (SELECT 1 FROM lifecycle WHERE user_id = {what} LIMIT 1)"
_RECIPIENTS = """
SELECT user_id, groupUniqArray(concat(coalesce(channel, 'all'), ': ', status)) AS outcomes FROM notifications
WHERE notification_id = {what} GROUP BY user_id ORDER BY user_id LIMIT 100"""

_ASKED = ("event_type", "source", "channels", "priority", "data", "content")
#: The worker is asked in an address.
_MOST_CHARACTERS_ASKED = 6000


async def get(page: Page) -> web.StreamResponse:
    what = page.query("q")
    if not what:
        return page.render("find", what="", nothing=False)
    if len(what) > _MOST_CHARACTERS:
        raise Problem(400, f"is longer than {_MOST_CHARACTERS} characters", "q")
    path = await _path_of(page, what)
    return go_to(path) if path else page.render("find", 404, what=what, nothing=True)


async def _path_of(page: Page, what: str) -> str | None:
    """The page of what was looked for; None: nothing is known of it."""
    api = page.api
    if _UUID.fullmatch(what.lower()):
        if (await api.rows(_KNOWN.format(what=quoted(what.lower()))))[0]["n"]:
            return f"/notifications/{what.lower()}"
        if sends := await api.rows(_BY_SEND.format(what=quoted(what.lower()))):
            return _recipient(sends[0])
    source, _, key = what.partition("/")
    named = keyed_notification_id(source, key) if key else ""
    keyed, messages, of_user = await asyncio.gather(
        api.rows(_KNOWN.format(what=quoted(named))),
        api.rows(_BY_MESSAGE.format(what=quoted(what))),
        api.rows(_OF_ANYBODY.format(what=quoted(what))),
    )
    if keyed[0]["n"]:
        return f"/notifications/{named}"
    if messages:
        return _recipient(messages[0])
    if of_user[0]["n"]:
        return f"/users/{quote(what, safe='')}"
    try:
        profile = await api.get("/v1/users/{id}/profile", id=what)
    except Problem:
        return None
    return f"/users/{quote(what, safe='')}" if profile else None


def _recipient(row: dict[str, Any]) -> str:
    return f"/notifications/{row['notification_id']}?user_id={quote(row['user_id'], safe='')}"


async def notification(page: Page) -> web.StreamResponse:
    return await _notification(page, page.query("user_id"), unmasked=False)


async def show(page: Page) -> web.StreamResponse:
    """What the recipient got, with what is personal in it, once; that it was asked for is in the audit log first."""
    name, user_id = page.path("id"), page.form.get("user_id", "").strip()
    if not user_id:
        raise Problem(400, "is missing", "user_id")
    name = (await page.api.get("/v1/notifications/{id}", id=name))["notification_id"]
    what = f"notification {name}, user {user_hash(user_id).hex()}"
    await looked_at(page.api.deps, page.request, page.service.key_id, "notification.unmask", what)
    return await _notification(page, user_id, unmasked=True)


async def _notification(page: Page, user_id: str, *, unmasked: bool) -> web.StreamResponse:
    name, api = page.path("id"), page.api
    status, recipients, events = await asyncio.gather(
        api.get("/v1/notifications/{id}", id=name),
        api.rows(_RECIPIENTS.format(what=quoted(name))),
        _events(page, name, user_id),
    )
    if not user_id and len(recipients) == 1:
        user_id = recipients[0]["user_id"]
        events = await _events(page, name, user_id)
    pictures = (
        await shown.recorded(page, user_id, events) if unmasked else shown.masked(events, api.deps.config.catalog)
    )
    return page.render(
        "notification",
        id=name,
        status=status,
        user=user_id,
        recipients=recipients,
        why=explain(events) if events else None,
        events=events,
        pictures=pictures,
        unmasked=unmasked,
        shows_mail=any(each.mail for each in pictures),
        counted=counted,
        lost=lost(events),
    )


def lost(events: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Of each channel that a replay can bring after all: what is asked of one, over the time of these events."""
    found = []
    for channel in PROVIDERS_OF:
        own = [event for event in events if event["channel"] == channel]
        ends = {event["status"] for event in own}
        if ends & _REPLAYED and "sent" not in ends:
            times = [parse_ms(event["occurred_at"]) for event in own]
            span = {"from": rfc3339(min(times) // 1000 * 1000), "to": rfc3339((max(times) // 1000 + 1) * 1000)}
            found.append({"channel": channel, **span, "event_type": own[0]["event_type"] or ""})
    return found


async def _events(page: Page, name: str, user_id: str) -> list[dict[str, Any]]:
    """All of the recipient's; none without one."""
    found, query = list[dict[str, Any]](), {"user_id": user_id, "limit": _MOST_EVENTS}
    while user_id and len(found) < 10 * _MOST_EVENTS:
        answered = await page.api.get("/v1/notifications/{id}/events", query, id=name)
        found += answered["events"]
        if answered["next_cursor"] is None:
            break
        query["cursor"] = answered["next_cursor"]
    return found


async def cancel(page: Page) -> web.StreamResponse:
    name = page.path("id")
    if not page.is_confirmed:
        will = text("notification.cancel.will", id=name)
        return page.confirm("notification.cancel", will, f"/notifications/{name}/cancel", f"/notifications/{name}")
    await page.api.call("DELETE", "/v1/notifications/{id}", id=name)
    return go_to(f"/notifications/{name}?done=notification.cancelled")


async def user(page: Page) -> web.StreamResponse:
    return await _user(page, unmasked=False)


async def outlook(page: Page) -> web.StreamResponse:
    """In a form's body, as texts and data don't belong in an address."""
    return await _user(page, unmasked=False)


async def unmask(page: Page) -> web.StreamResponse:
    """Shows what is masked, once; that it was asked for is in the audit log first."""
    name = page.path("id")
    await looked_at(page.api.deps, page.request, page.service.key_id, "user.unmask", f"user {user_hash(name).hex()}")
    return await _user(page, unmasked=True)


async def _user(page: Page, *, unmasked: bool) -> web.StreamResponse:
    name, api = page.path("id"), page.api
    (profile, preferences, consents, devices), history, sources, outlook = await asyncio.gather(
        asyncio.gather(*(api.known(f"/v1/users/{{id}}/{each}", id=name) for each in _OF_OWNER)),
        api.rows(_OF_USER.format(user=quoted(name))),
        _sources(page),
        _outlook(page, name),
    )
    seen = (lambda document: document) if unmasked else _masked
    return page.render(
        "user",
        id=name,
        unmasked=unmasked,
        profile=seen(profile),
        preferences=preferences,
        devices=[seen(each) for each in devices.get("devices", [])],
        consents=consents.get("consents", []),
        history=history,
        sources=sources,
        **outlook,
    )


async def _sources(page: Page) -> list[str]:
    """As whom somebody may send."""
    keys = (await page.api.get("/v1/keys"))["keys"]
    return sorted({key["source"] for key in keys if key["source"]})


async def _outlook(page: Page, user_id: str) -> dict[str, Any]:
    """What would become of a notification that was sent now: the worker that owns the user judges it, and writes
    nothing."""
    asked = {name: page.form.get(name, "").strip() for name in _ASKED}
    if not asked["event_type"]:
        return {"asked": asked, "outlook": None, "outlook_problem": None}
    try:
        params = {"request": _request(user_id, asked)}
        events = await page.api.deps.owner.read("router", user_id, "outlook", params)
        return {"asked": asked, "outlook": explain(events), "outlook_problem": None}
    except OwnerRefusedError as refused:
        problem = Problem(422, refused.reason, refused.field)
    except Exception as error:
        problem = problem_for(error, page.request)
    return {"asked": asked, "outlook": None, "outlook_problem": problem}


def _request(user_id: str, asked: Mapping[str, str]) -> str:
    """As on ``notify_events``. Raises Problem."""
    request: dict[str, Any] = {"user_id": user_id, "event_type": asked["event_type"]}
    request |= {name: asked[name] for name in ("source", "priority") if asked[name]}
    if asked["channels"]:
        request["channels"] = [each.strip() for each in asked["channels"].split(",")]
    if asked["data"]:
        try:
            request["data"] = json.loads(asked["data"])
        except (ValueError, RecursionError) as error:
            raise Problem(400, f"is not JSON: {error}", "data") from error
    if asked["content"]:
        request["content"] = {"title": asked["content"], "body": asked["content"]}
    text = json.dumps(request)
    if len(quote(text)) > _MOST_CHARACTERS_ASKED:
        raise Problem(413, "is too much to ask about at once: shorten the data or the text", "data")
    return text


_HIDDEN = frozenset(("email", "phone", "name", "token", "subscription", "attributes"))


def _masked(document: dict[str, Any]) -> dict[str, Any]:
    """Addresses and names as what they begin with: enough to compare, too little to copy."""
    return {name: _mask(value) if name in _HIDDEN and value else value for name, value in document.items()}


def _mask(value: Any) -> str:
    return f"{value[:2]}…" if isinstance(value, str) else "…"


VIEWS = (
    View("GET", "/find", get),
    View("GET", "/notifications/{id}", notification),
    View("POST", "/notifications/{id}/cancel", cancel),
    View("POST", "/notifications/{id}/shown", show),
    View("GET", "/users/{id}", user),
    View("POST", "/users/{id}/outlook", outlook, acts=False),
    View("POST", "/users/{id}/unmask", unmask),
)
