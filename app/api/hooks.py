"""Outbound webhooks: a service is called when something happens to its notifications."""

import secrets
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from app.api.audit_log import audited
from app.api.call import Call, answer, no_content
from app.api.callers import OWN_HOOKS, READ
from app.api.problems import Problem, problem_of, unknown
from app.api.routes import Route
from app.domain.hooks import HOOK_STATUSES, check_secret, check_url, new_secret, seal
from schemas.decode import Invalid, Reader
from schemas.hooks import Hook, HookReplay, Url
from schemas.instants import Instant, instant_ms, rfc3339
from schemas.words import Status

_PATH = "/v1/hooks"
#: Each hook reads the log for itself.
MOST_OF_A_SOURCE = 20
_SECRET_BYTES, _NONCE_BYTES = 24, 12


class HookAsked(Struct, frozen=True):
    """``statuses`` left out: all. ``secret`` left out: one is made."""

    url: Url
    statuses: Annotated[list[Status], Meta(min_length=1, max_length=50)] | None = None
    secret: Annotated[str, Meta(max_length=200)] | None = None


class HookMade(Struct, frozen=True):
    """The secret is shown this once."""

    id: str
    url: str
    statuses: list[Status]
    secret: str


class ReplayAsked(Struct, frozen=True):
    """What was recorded in [from, to)."""

    from_: Instant = msgspec.field(name="from")
    to: Instant


class ReplayShown(Struct, frozen=True):
    from_: str = msgspec.field(name="from")
    to: str


class DisabledShown(Struct, frozen=True):
    at: str
    why: str


class HookShown(Struct, frozen=True):
    """``disabled``: since when nobody is called, and why. ``replay``: the latest one that was asked for."""

    id: str
    source: str
    url: str
    statuses: list[Status]
    created_at: str
    disabled: DisabledShown | None
    replay: ReplayShown | None


class HookList(Struct, frozen=True):
    """The oldest first."""

    hooks: list[HookShown]


_read_asked: Reader[HookAsked] = Reader(HookAsked)
_read_replay: Reader[ReplayAsked] = Reader(ReplayAsked)


async def post(call: Call) -> web.Response:
    asked = await call.read(_read_asked)
    deps, source = call.deps, call.service.source
    secret = asked.secret or new_secret(secrets.token_bytes(_SECRET_BYTES))
    try:
        check_url(asked.url, deps.hook_hosts)
        check_secret(secret)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    if asked.statuses and (others := [each for each in asked.statuses if each not in HOOK_STATUSES]):
        raise Problem(422, f"{others[0]} is of a device, and no service's", "statuses")
    if sum(hook.source == source for hook in deps.hooks.states.all()) >= MOST_OF_A_SOURCE:
        raise Problem(422, f"this source has {MOST_OF_A_SOURCE} hooks: delete one first", "url")
    hook_id = deps.new_id()
    hook = Hook(
        id=hook_id,
        source=source,
        url=asked.url,
        statuses=list(dict.fromkeys(asked.statuses or HOOK_STATUSES)),
        sealed=seal(secret, deps.sealing, hook_id, secrets.token_bytes(_NONCE_BYTES)),
        at=deps.clock(),
        by=call.service.key_id,
    )
    await audited(call, f"hook {hook_id} of {source or 'no source'}")
    await deps.hooks.write(hook)
    return answer(HookMade(hook.id, hook.url, hook.statuses, secret), 201)


async def get(call: Call) -> web.Response:
    hooks = call.deps.hooks.states.all()
    return answer(HookList([_shown(call, hook) for hook in hooks if call.service.may_see(hook.source)]))


async def delete(call: Call) -> web.Response:
    hook = _named(call)
    await audited(call, f"hook {hook.id} of {hook.source or 'no source'}")
    await call.deps.hooks.delete(hook.id)
    return no_content()


async def enable(call: Call) -> web.Response:
    hook = _named(call)
    await audited(call, f"hook {hook.id} of {hook.source or 'no source'}")
    if call.deps.hooks.states.disabled(hook.id) is not None:
        await call.deps.hooks.enable(hook.id)
    return no_content()


async def replay(call: Call) -> web.Response:
    hook = _named(call)
    asked = await call.read(_read_replay)
    try:
        from_ms, to_ms = instant_ms(asked.from_, "from"), instant_ms(asked.to, "to")
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    now = call.deps.clock()
    if to_ms <= from_ms:
        raise Problem(422, "must be after from", "to")
    if from_ms > now:
        raise Problem(422, "is in the future", "from")
    to_ms = min(to_ms, now)
    await audited(call, f"hook {hook.id} from {rfc3339(from_ms)} to {rfc3339(to_ms)}")
    wanted = HookReplay(
        id=hook.id, replay_id=call.deps.new_id(), from_ms=from_ms, to_ms=max(to_ms, from_ms + 1), at=now
    )
    await call.deps.hooks.write(wanted)
    return answer(_shown_replay(wanted), 202)


def _named(call: Call) -> Hook:
    """Raises Problem 404; of another source's 403."""
    hook = call.deps.hooks.states.hook(call.path("id"))
    if hook is None:
        raise unknown("the hook")
    if not (call.service.is_admin or hook.source == call.service.source):
        raise Problem(403, "not yours: the hook is another source's")
    return hook


def _shown(call: Call, hook: Hook) -> HookShown:
    states = call.deps.hooks.states
    disabled, latest = states.disabled(hook.id), states.replay(hook.id)
    return HookShown(
        id=hook.id,
        source=hook.source,
        url=hook.url,
        statuses=hook.statuses,
        created_at=rfc3339(hook.at),
        disabled=None if disabled is None else DisabledShown(rfc3339(disabled.at), disabled.why),
        replay=None if latest is None else _shown_replay(latest),
    )


def _shown_replay(replay: HookReplay) -> ReplayShown:
    return ReplayShown(rfc3339(replay.from_ms), rfc3339(replay.to_ms))


ROUTES: tuple[Route, ...] = (
    Route("GET", _PATH, get, READ, "Your outbound webhooks", {200: HookList}),
    Route(
        "POST",
        _PATH,
        post,
        OWN_HOOKS,
        "Register a webhook that is called when something happens to your notifications",
        {201: HookMade},
        HookAsked,
        action="hook.create",
    ),
    Route(
        "DELETE", f"{_PATH}/{{id}}", delete, OWN_HOOKS, "Delete an outbound webhook", {204: None}, action="hook.delete"
    ),
    Route(
        "POST",
        f"{_PATH}/{{id}}/enable",
        enable,
        OWN_HOOKS,
        "Enable a disabled hook: its calls resume where they stopped",
        {204: None},
        action="hook.enable",
    ),
    Route(
        "POST",
        f"{_PATH}/{{id}}/replay",
        replay,
        OWN_HOOKS,
        "Have a hook called again for everything recorded in a range of time",
        {202: ReplayShown},
        ReplayAsked,
        action="hook.replay",
    ),
)
