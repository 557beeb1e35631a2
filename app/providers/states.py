"""How this worker sees its providers, for everybody to know: closed, open, recovering or paused, and since when."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from app.providers.gate import Gate
from schemas.providers import LimitedBy, ProviderPause, ProviderState, SeenProvider, WorkerReport
from schemas.words import Channel, Provider

#: Why a provider isn't called, beside the causes of an open breaker.
PAUSED = "paused"

_COUNTED_EVERY_MS = 1_000

#: Told the provider, and why it is paused (None: it isn't any more).
OnPause = Callable[[Provider, str | None], None]


@dataclass(frozen=True, slots=True)
class _Standing:
    state: ProviderState
    why: str | None
    since: int


class WorkerProviders:
    """The gates of one worker and what they are in. ``clock``: Unix milliseconds. ``on_pause`` is called when a gate is
    paused or resumed."""

    def __init__(
        self,
        channel: Channel,
        instance: str,
        gates: Iterable[Gate],
        clock: Callable[[], int],
        on_pause: OnPause = lambda provider, why: None,
    ) -> None:
        self.channel = channel
        self._instance = instance
        self._gates = {gate.provider: gate for gate in gates}
        self._clock = clock
        self._on_pause = on_pause
        self._pauses: Mapping[Provider, ProviderPause] = {}
        self._waiting: dict[Provider, int] = {}
        self._standing: dict[Provider, _Standing] = {}
        self._counts: list[tuple[int, int | None, float | None]] = []
        self._counted_at = 0
        self._note_states()

    def take_over(self, pauses: Mapping[Provider, ProviderPause]) -> None:
        """From now on exactly these are paused."""
        self._pauses = pauses
        for provider, gate in self._gates.items():
            pause = pauses.get(provider)
            if pause is not None and not gate.paused:
                gate.pause()
                self._on_pause(provider, pause.why)
            elif pause is None and gate.paused:
                gate.resume()
                self._on_pause(provider, None)

    def note_waiting(self, provider: Provider, count: int) -> None:
        """So many sends wait for it here."""
        self._waiting[provider] = count

    def look(self) -> bool:
        """Whether there is news since the last look: another state at once, other counts once a second."""
        changed = self._note_states()
        counts = [(gate.in_flight, self._waiting.get(provider), gate.rate) for provider, gate in self._gates.items()]
        now = self._clock()
        if changed or (counts != self._counts and now >= self._counted_at + _COUNTED_EVERY_MS):
            self._counts, self._counted_at = counts, now
            return True
        return False

    def _note_states(self) -> bool:
        changed = False
        for provider, gate in self._gates.items():
            state, cause = gate.state
            pause = self._pauses.get(provider) if state == "paused" else None
            why = cause if pause is None else pause.why
            before = self._standing.get(provider)
            if before is None or (before.state, before.why) != (state, why):
                since = pause.since if pause is not None else self._clock()
                self._standing[provider] = _Standing(state, why, since)
                changed = True
        return changed

    def why_not_called(self) -> dict[str, str | None]:
        """Why each provider isn't called: ``paused``, or its breaker's cause; None: it is called."""
        causes: dict[str, str | None] = {}
        for provider, gate in self._gates.items():
            state, cause = gate.state
            causes[provider] = PAUSED if state == "paused" else cause
        return causes

    def rates(self) -> dict[str, tuple[float | None, LimitedBy | None]]:
        """Each provider's calls a second at most, and what that follows from; None: no limit."""
        return {provider: (gate.rate, gate.limited_by) for provider, gate in self._gates.items()}

    def report(self, at: int) -> WorkerReport:
        """How things stand now."""
        self._note_states()
        return WorkerReport(
            channel=self.channel,
            instance=self._instance,
            at=at,
            providers=[self._seen(provider, gate) for provider, gate in self._gates.items()],
        )

    def _seen(self, provider: Provider, gate: Gate) -> SeenProvider:
        standing = self._standing[provider]
        return SeenProvider(
            provider=provider,
            state=standing.state,
            why=standing.why,
            since=standing.since,
            in_flight=gate.in_flight,
            waiting=self._waiting.get(provider, 0),
            rate=gate.rate,
            limited_by=gate.limited_by,
        )
