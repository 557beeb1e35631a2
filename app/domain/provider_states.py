"""What is known of providers: those paused by hand, and each as all its workers together see it. Times are Unix ms."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.providers import LimitedBy, ProviderPause, ProviderState, SeenProvider, WorkerReport
from schemas.words import Channel, Provider

#: The providers of each channel that are called, and so have a state. The inbox is none: nobody is called.
PROVIDERS_OF: Mapping[Channel, tuple[Provider, ...]] = {
    "push": ("apns", "fcm", "webpush"),
    "email": ("ses", "sendgrid"),
    "sms": ("twilio", "vonage", "sns"),
}
CHANNEL_OF: Mapping[Provider, Channel] = {
    provider: channel for channel, providers in PROVIDERS_OF.items() for provider in providers
}

#: Of several workers, the worst state is shown.
_WORST_FIRST: Sequence[ProviderState] = ("open", "recovering", "closed", "paused")
#: Of what keeps several workers at their rates, the first of these is shown.
_LIMITS: Sequence[LimitedBy] = ("throttling", "warm_up", "limit")


@dataclass(frozen=True, slots=True)
class SeenBy:
    """A provider as one worker sees it. ``worker``: ``push/1``."""

    worker: str
    seen: SeenProvider


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A provider as its running workers see it. ``pause``: the one in force, obeyed by all of them or not yet."""

    provider: Provider
    channel: Channel
    state: ProviderState
    why: str | None
    since: int
    in_flight: int
    waiting: int
    rate: float | None
    limited_by: LimitedBy | None
    pause: ProviderPause | None
    workers: tuple[SeenBy, ...]

    @property
    def available(self) -> bool:
        """Whether a send that it gets now is sent now, as far as anybody knows."""
        return self.pause is None and self.state not in ("open", "paused")


def named(name: str) -> tuple[Provider, ...]:
    """The providers that a name stands for: itself, or all of a channel; none for a name that nobody knows."""
    of_channel = next((providers for channel, providers in PROVIDERS_OF.items() if channel == name), None)
    return of_channel if of_channel is not None else tuple(each for each in CHANNEL_OF if each == name)


def views(pauses: Mapping[Provider, ProviderPause], reports: Iterable[WorkerReport]) -> list[ProviderView]:
    """Every provider that a running worker has or that is paused, in the order of ``PROVIDERS_OF``."""
    seen: dict[Provider, list[SeenBy]] = {}
    for report in reports:
        for each in report.providers:
            seen.setdefault(each.provider, []).append(SeenBy(report.name, each))
    shown = [provider for provider in CHANNEL_OF if provider in seen or provider in pauses]
    return [_view(provider, pauses.get(provider), seen.get(provider, ())) for provider in shown]


def _view(provider: Provider, pause: ProviderPause | None, by: Sequence[SeenBy]) -> ProviderView:
    """It is paused when all its workers have paused it: until then one of them may still call it."""
    each = [seen_by.seen for seen_by in by]
    worst = min(each, key=lambda seen: (_WORST_FIRST.index(seen.state), seen.since), default=None)
    rates = [seen.rate for seen in each]
    shown: ProviderState = worst.state if worst is not None else "paused"
    why, since = (worst.why, worst.since) if worst is not None else (None, 0)
    if shown == "paused" and pause is not None:
        why, since = pause.why, pause.since
    return ProviderView(
        provider=provider,
        channel=CHANNEL_OF[provider],
        state=shown,
        why=why,
        since=since,
        in_flight=sum(seen.in_flight for seen in each),
        waiting=sum(seen.waiting for seen in each),
        rate=None if None in rates or not rates else sum(rate for rate in rates if rate is not None),
        limited_by=next((by for by in _LIMITS if any(seen.limited_by == by for seen in each)), None),
        pause=pause,
        workers=tuple(by),
    )
