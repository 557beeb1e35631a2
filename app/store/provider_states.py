"""Who paused which provider, and how each worker sees its providers, as ``tocsin_providers`` has it."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import structlog

from app.domain import announcing
from app.domain.provider_states import ProviderView, views
from app.ports import Guard, LogRecord
from app.store.announced import Announced, Refusal
from app.store.follower import TopicFollower
from app.store.publisher import KafkaPublisher, Outgoing
from schemas.decode import Invalid
from schemas.providers import ProviderPause, encode_provider_record, is_pause, is_report, read_pause, read_report
from schemas.topics import PROVIDERS
from schemas.words import Provider

log = structlog.get_logger(__name__)

#: So often a record is written again that another process's came before.
_TRIES = 10

#: Those that are paused.
Pauses = Mapping[Provider, ProviderPause]


class _Taken(NamedTuple):
    """The record that counts of a provider, and where it lies."""

    pause: ProviderPause
    offset: int


class ProviderStates:
    """What the topic says up to now.

    A pause counts until a later record of its provider, however old it is: only a signature can make one, and a copy of
    an older record is no later. ``on_pauses`` is called when another provider is paused or resumed, but not for what
    was there at the start. ``clock``: Unix milliseconds.
    """

    def __init__(
        self,
        secret: bytes,
        clock: Callable[[], int],
        on_refused: Callable[[Refusal], None] = lambda _: None,
        on_pauses: Callable[[Pauses], None] = lambda _: None,
    ) -> None:
        self._secret = secret
        self._reports = Announced(read_report, secret, clock, on_refused)
        self._on_refused = on_refused
        self._on_pauses = on_pauses
        self._taken: dict[Provider, _Taken] = {}

    @property
    def pauses(self) -> Pauses:
        return {provider: taken.pause for provider, taken in self._taken.items() if taken.pause.paused}

    def views(self) -> list[ProviderView]:
        """Each provider as its running workers see it. That of a worker that is silent for 15 s doesn't count."""
        return views(self.pauses, sorted(self._reports.lately(), key=lambda report: report.name))

    def is_available(self, provider: Provider) -> bool:
        """Whether what it is given now is sent now, as far as is known: it isn't paused, and no worker's breaker is
        open. Of one without a running worker nothing speaks against it."""
        view = next((view for view in self.views() if view.provider == provider), None)
        return view is None or view.available

    def is_idle(self, provider: Provider) -> bool:
        """Whether its breaker is open and nothing waits for it: then nobody learns that it works again."""
        view = next((view for view in self.views() if view.provider == provider), None)
        return view is not None and view.state == "open" and not view.pause and not view.waiting and not view.in_flight

    def latest(self, provider: Provider) -> ProviderPause | None:
        """The record that counts: of a pause, or of its end."""
        taken = self._taken.get(provider)
        return taken.pause if taken is not None else None

    def offset_of(self, provider: Provider) -> int:
        """Where the record lies that counts; -1: there is none."""
        taken = self._taken.get(provider)
        return taken.offset if taken is not None else -1

    def take(self, record: LogRecord) -> None:
        """Takes the next record of the topic."""
        key = record.key or b""
        if is_report(key):
            self._reports.take(record)
        elif is_pause(key):
            self._take_pause(key, record)
        else:
            self._refuse("untrusted", record)

    def live(self) -> None:
        """From now on what is read was just written."""
        self._reports.is_live = True

    def _take_pause(self, key: bytes, record: LogRecord) -> None:
        at = announcing.announced_at(self._secret, key, record.value, record.headers)
        if at is None:
            self._refuse("untrusted", record)
            return
        try:
            pause = read_pause(record.value or b"")
        except Invalid:
            self._refuse("unreadable", record)
            return
        before = self.latest(pause.provider)
        if pause.key != key or pause.at != at:
            self._refuse("unreadable", record)
        elif before is None or at > before.at:
            self._taken[pause.provider] = _Taken(pause, record.offset)
            if before is None or (before.paused, before.why) != (pause.paused, pause.why):
                self._on_pauses(self.pauses)

    def _refuse(self, why: Refusal, record: LogRecord) -> None:
        self._on_refused(why)
        log.warning("a record of tocsin_providers doesn't count", why=why, offset=record.offset)


class ProvidersFollower(ProviderStates):
    """The same, kept up to date."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        secret: bytes,
        clock: Callable[[], int],
        on_refused: Callable[[Refusal], None] = lambda _: None,
        on_pauses: Callable[[Pauses], None] = lambda _: None,
        guard: Guard | None = None,
    ) -> None:
        self._started = False
        super().__init__(secret, clock, on_refused, lambda pauses: on_pauses(pauses) if self._started else None)
        self._follower = TopicFollower(client_options, PROVIDERS, self.take, guard=guard)

    async def start(self) -> None:
        """Returns when all that was in the topic is taken. Raises KafkaError, LookupError for no topic."""
        await self._follower.start()
        self._started = True
        self.live()

    async def close(self) -> None:
        await self._follower.close()

    async def reached(self, offset: int) -> None:
        """Returns when the record at that offset has been taken. Raises TimeoutError after a while."""
        await self._follower.reached(offset)


class PauseWriter:
    """Pauses providers and ends pauses. Returns when it is acknowledged, and counts in this process.

    All methods raise PublishError, and TimeoutError where the topic can't be followed. ``clock``: Unix milliseconds.
    """

    def __init__(
        self, publisher: KafkaPublisher, states: ProvidersFollower, secret: bytes, clock: Callable[[], int]
    ) -> None:
        self._publisher = publisher
        self._states = states
        self._secret = secret
        self._clock = clock
        self._writing = asyncio.Lock()

    async def pause(self, providers: Collection[Provider], why: str, by: str | None) -> None:
        await self._write(providers, paused=True, why=why, by=by)

    async def resume(self, providers: Collection[Provider], why: str | None, by: str | None) -> None:
        await self._write(providers, paused=False, why=why, by=by)

    async def _write(self, providers: Collection[Provider], *, paused: bool, why: str | None, by: str | None) -> None:
        """Each later than what is known of its provider, whatever the clocks say. One that another process's record
        came before is written again: it is the later one."""
        async with self._writing:
            left = list(providers)
            for _ in range(_TRIES):
                records = [self._record(provider, paused=paused, why=why, by=by) for provider in left]
                positions = await self._publisher.publish_many([self._signed(record) for record in records])
                offsets = dict(zip(left, (offset for _, offset in positions), strict=True))
                await self._states.reached(max(offsets.values()))
                left = [provider for provider in left if self._states.offset_of(provider) < offsets[provider]]
                if not left:
                    return
            raise TimeoutError(f"others pause and resume {', '.join(left)} at the same time")

    def _record(self, provider: Provider, *, paused: bool, why: str | None, by: str | None) -> ProviderPause:
        now, before = self._clock(), self._states.latest(provider)
        at = now if before is None else max(now, before.at + 1)
        since = before.since if before is not None and before.paused == paused else at
        return ProviderPause(provider=provider, paused=paused, at=at, since=since, why=why, by=by)

    def _signed(self, record: ProviderPause) -> Outgoing:
        value = encode_provider_record(record)
        header = announcing.signed(self._secret, record.key, value, record.at)
        return Outgoing(PROVIDERS, record.key, value, headers=[(announcing.HEADER, header)])
