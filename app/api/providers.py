"""Providers: how their workers see them; paused and resumed by hand."""

from aiohttp import web
from msgspec import Struct

from app.api.audit_log import audited
from app.api.call import Call, answer
from app.api.callers import ADMIN, ADMIN_READ
from app.api.problems import Problem
from app.api.routes import Route
from app.domain.provider_states import ProviderView, named
from schemas.decode import Reader
from schemas.instants import rfc3339
from schemas.providers import LimitedBy, ProviderState, Why
from schemas.words import CHANNELS, Channel, Provider

_PATH = "/v1/providers"
#: Nobody is called for it.
_NOT_CALLED = ("in_app", "inbox")


class ProviderAtWorker(Struct, frozen=True):
    """As one worker sees it."""

    worker: str
    state: ProviderState
    why: str | None
    since: str
    in_flight: int
    waiting: int
    rate: float | None
    limited_by: LimitedBy | None


class ProviderDocument(Struct, frozen=True):
    """As all its running workers see it: the worst of their states, and the sums of their counts."""

    provider: Provider
    channel: Channel
    state: ProviderState
    #: Of one that is paused, as it was said; of one whose breaker is open, ``outage``, ``config`` or ``tokens``.
    why: str | None
    since: str
    in_flight: int
    waiting: int
    rate: float | None
    #: What the rate follows from: our own ``limit``, the provider's refusals (``throttling``), or a plan to warm up a
    #: domain (``warm_up``).
    limited_by: LimitedBy | None
    #: Whether an operator has paused it. Until all its workers have obeyed, ``state`` isn't ``paused``.
    paused: bool
    paused_by: str | None
    workers: list[ProviderAtWorker]


class ProviderList(Struct, frozen=True):
    providers: list[ProviderDocument]


class PauseBody(Struct, frozen=True):
    why: Why


class ResumeBody(Struct, frozen=True):
    why: Why | None = None


class PauseAnswer(Struct, frozen=True):
    """Those that the name stands for."""

    providers: list[Provider]
    paused: bool


_read_pause: Reader[PauseBody] = Reader(PauseBody)
_read_resume: Reader[ResumeBody] = Reader(ResumeBody)


async def get(call: Call) -> web.Response:
    return answer(ProviderList([_document(view) for view in call.deps.providers.views()]))


async def pause(call: Call) -> web.Response:
    providers, body = _named(call), await call.read(_read_pause)
    await audited(call, f"{call.path('provider')}: {body.why}")
    await call.deps.pausing.pause(providers, body.why, call.service.key_id)
    return answer(PauseAnswer(list(providers), paused=True), status=202)


async def resume(call: Call) -> web.Response:
    providers = _named(call)
    body = await call.read(_read_resume) if call.has_body else ResumeBody()
    await audited(call, f"{call.path('provider')}{'' if body.why is None else f': {body.why}'}")
    await call.deps.pausing.resume(providers, body.why, call.service.key_id)
    return answer(PauseAnswer(list(providers), paused=False), status=202)


def _named(call: Call) -> tuple[Provider, ...]:
    name = call.path("provider")
    if name in _NOT_CALLED:
        raise Problem(422, "is shown by Tocsin itself: no provider is called for it", "provider")
    providers = named(name)
    if not providers:
        channels = ", ".join(channel for channel in CHANNELS if channel not in _NOT_CALLED)
        raise Problem(404, f"is neither a provider nor a channel; the channels are {channels}", "provider")
    return providers


def _document(view: ProviderView) -> ProviderDocument:
    return ProviderDocument(
        provider=view.provider,
        channel=view.channel,
        state=view.state,
        why=view.why,
        since=rfc3339(view.since),
        in_flight=view.in_flight,
        waiting=view.waiting,
        rate=view.rate,
        limited_by=view.limited_by,
        paused=view.pause is not None,
        paused_by=view.pause.by if view.pause is not None else None,
        workers=[
            ProviderAtWorker(
                by.worker,
                by.seen.state,
                by.seen.why,
                rfc3339(by.seen.since),
                by.seen.in_flight,
                by.seen.waiting,
                by.seen.rate,
                by.seen.limited_by,
            )
            for by in view.workers
        ],
    )


ROUTES = (
    Route("GET", _PATH, get, ADMIN_READ, "The providers, as their workers see them", {200: ProviderList}),
    Route(
        "POST",
        f"{_PATH}/{{provider}}/pause",
        pause,
        ADMIN,
        "Pause a provider, or all of a channel's: nobody calls it until it is resumed",
        {202: PauseAnswer},
        body=PauseBody,
        action="provider.pause",
    ),
    Route(
        "POST",
        f"{_PATH}/{{provider}}/resume",
        resume,
        ADMIN,
        "Resume a provider, or all of a channel's",
        {202: PauseAnswer},
        body=ResumeBody,
        action="provider.resume",
    ),
)
