"""What lies on ``tocsin_providers`` (ours, compacted, one partition): who paused which provider, and how each worker
sees the providers that it calls. Signed as announcements are (``app/domain/announcing.py``); times are Unix ms."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.decode import Reader
from schemas.words import Channel, Provider

#: ``open``: its circuit breaker is; ``recovering``: the load grows again; ``paused``: by hand.
ProviderState = Literal["closed", "open", "recovering", "paused"]

#: Why a provider is paused, in the words of whoever did it: one line.
Why = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^(?=.*\S)[^\x00-\x1f\x7f-\x9f]+$(?!\n)")]

#: What keeps the calls to a provider at its rate: our own limit, its refusals (429), a plan to warm up a domain.
LimitedBy = Literal["limit", "throttling", "warm_up"]

_PAUSE, _WORKER = "pause:", "worker:"


class ProviderPause(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a provider is paused by hand: the latest of a provider counts, and it counts for ever."""

    provider: Provider
    paused: bool
    at: int
    #: Since when it has been paused; of one that isn't, since when it hasn't been.
    since: int
    why: str | None = None
    #: The API key.
    by: str | None = None

    @property
    def key(self) -> bytes:
        return f"{_PAUSE}{self.provider}".encode()


class SeenProvider(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider as one worker sees it."""

    provider: Provider
    state: ProviderState
    since: int
    why: str | None = None
    #: Calls under way, and sends that wait for it.
    in_flight: int = 0
    waiting: int = 0
    #: Calls a second at most; None: without a limit.
    rate: float | None = None
    limited_by: LimitedBy | None = None


class WorkerReport(Struct, frozen=True, kw_only=True):
    """How a worker sees its providers. It counts for 15 s."""

    channel: Channel
    instance: str
    at: int
    providers: list[SeenProvider]

    @property
    def name(self) -> str:
        return f"{self.channel}/{self.instance}"

    @property
    def key(self) -> bytes:
        return f"{_WORKER}{self.name}".encode()


def is_pause(key: bytes) -> bool:
    return key.startswith(_PAUSE.encode())


def is_report(key: bytes) -> bool:
    return key.startswith(_WORKER.encode())


read_pause: Reader[ProviderPause] = Reader(ProviderPause, own=True)
read_report: Reader[WorkerReport] = Reader(WorkerReport, own=True)
encode_provider_record = msgspec.json.Encoder().encode
