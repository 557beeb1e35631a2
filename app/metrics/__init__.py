"""The names of every metric, and the registry of a process. Nothing is registered on import."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.metrics.counts import Counts, Durations
from app.metrics.outcomes import Outcomes
from schemas.dead import CODES


def process_registry() -> CollectorRegistry:
    """A registry with what is true of every process: memory, CPU, files, garbage collection."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class DeadLetters:
    """``topics``: those whose bad records the role answers for. A rate needs a first value, so all are shown."""

    def __init__(self, registry: CollectorRegistry, role: str, topics: Iterable[str]) -> None:
        self._role = role
        self._counts = Counts(registry, "tocsin_dead_letters", "Records sent to notify_dead", ("role", "topic", "code"))
        self._counts.show((role, topic, code) for topic in topics for code in CODES)

    def count(self, topic: str, code: str) -> None:
        """``topic``: the record's own; ``code``: why (schemas/dead.py)."""
        self._counts.inc((self._role, topic, code))


class Readiness(Collector):
    """Whether the process is ready. ``problem``: see ``app.operations``."""

    def __init__(self, registry: CollectorRegistry, role: str, problem: Callable[[], str | None]) -> None:
        self._role = role
        self._problem = problem
        registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("tocsin_ready", "Whether the process is ready: 1 or 0", labels=["role"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for family in self.describe():
            family.add_metric([self._role], float(self._problem() is None))
            yield family


class AnnouncementMetrics:
    """Announcements of workers that didn't count."""

    def __init__(self, registry: CollectorRegistry, reasons: Iterable[str]) -> None:
        self._refused = Counter("tocsin_announcements_refused", "Announcements refused", ["reason"], registry=registry)
        for reason in reasons:  # a rate needs a first value
            self._refused.labels(reason)

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()


class RefusalMetrics:
    """What the gateway's door refuses. ``endings``: why connections may be ended."""

    def __init__(self, registry: CollectorRegistry, endings: Iterable[str]) -> None:
        self._refused = Counter(
            "tocsin_http_refusals", "Calls answered with a problem", ["status", "reason"], registry=registry
        )
        self._ended = Counter(
            "tocsin_http_connections_ended", "Connections closed by a limit", ["reason"], registry=registry
        )
        for why in endings:  # a rate needs a first value
            self._ended.labels(why)

    def refused(self, status: int, reason: str) -> None:
        self._refused.labels(str(status), reason).inc()

    def ended(self, why: str) -> None:
        self._ended.labels(why).inc()


class WebhookMetrics:
    """What providers report by webhook. ``outcomes``: what may become of an event, for each of the providers."""

    def __init__(self, registry: CollectorRegistry, providers: Iterable[str], outcomes: Sequence[str]) -> None:
        self._events = Counts(
            registry, "tocsin_webhook_events", "Events by webhook, and what became of them", ("provider", "outcome")
        )
        self._events.show((provider, outcome) for provider in providers for outcome in outcomes)

    def reported(self, provider: str, outcome: str) -> None:
        self._events.inc((provider, outcome))


class StreamMetrics:
    """Live streams of the gateway. ``ends``: why they may end."""

    def __init__(self, registry: CollectorRegistry, ends: Iterable[str]) -> None:
        self.open = Gauge("tocsin_streams", "Live streams of inboxes that are open", registry=registry).set
        self._ended = Counter("tocsin_stream_ends", "Live streams that ended", ["reason"], registry=registry)
        for why in ends:  # a rate needs a first value
            self._ended.labels(why)

    def ended(self, why: str) -> None:
        self._ended.labels(why).inc()


class StreamingMetrics:
    """What a role with tables counts; children are bound once, so that counting costs next to nothing."""

    def __init__(self, registry: CollectorRegistry, role: str, topics: Iterable[str] = ()) -> None:
        """``topics``: those whose bad records the role answers for."""
        self._counters: dict[str, Counter] = {
            "records": Counter("tocsin_records_handled", "Records handled", ["role"], registry=registry),
            "empty": Counter("tocsin_records_without_value", "Records skipped", ["role"], registry=registry),
            "unreadable": Counter("tocsin_records_unreadable", "Can't be read", ["role"], registry=registry),
            "unknown": Counter(
                "tocsin_receipts_unknown", "Receipts of sends that aren't known", ["role"], registry=registry
            ),
            "tokens_moved": Counter(
                "tocsin_tokens_moved", "Device tokens that another user has now", ["role"], registry=registry
            ),
            "moved": Counter("tocsin_records_moved", "Records of another partition", ["role"], registry=registry),
            "checkpoints": Counter("tocsin_checkpoints", "Checkpoints made durable", ["role"], registry=registry),
            "calls": Counter("tocsin_calls", "Provider calls begun", ["role"], registry=registry),
            "due_failed": Counter("tocsin_due_failed", "Due rows postponed by an error", ["role"], registry=registry),
            "due_given_up": Counter(
                "tocsin_due_given_up", "Due rows given up: their send was ended as failed", ["role"], registry=registry
            ),
            "passed_over": Counter(
                "tocsin_sends_passed_over",
                "Sends that fail, taken out of line",
                ["role"],
                registry=registry,
            ),
            "results_failed": Counter(
                "tocsin_results_failed", "Results of calls left to their deadlines", ["role"], registry=registry
            ),
        }
        self._dead = DeadLetters(registry, role, topics)
        self._outcomes = Outcomes(registry)
        #: Takes what each durable batch has to be counted.
        self.durable = self._outcomes.count
        if role == "router":
            self._outcomes.show_requests()
        self._bound = {name: counter.labels(role) for name, counter in self._counters.items()}
        self.owned = Gauge("tocsin_partitions_owned", "Partitions owned", ["role"], registry=registry).labels(role)

    def count(self, name: str, count: int) -> None:
        if count:
            self._bound[name].inc(count)

    def dead(self, topic: str, code: str) -> None:
        """A record of that topic was sent to notify_dead."""
        self._dead.count(topic, code)
        self._outcomes.refused(topic)


class SheddingMetrics:
    """What waits for a channel's providers, and how much of it was given up."""

    def __init__(self, registry: CollectorRegistry, role: str) -> None:
        self._role = role
        self._backlog = Gauge(
            "tocsin_backlog", "Sends that wait for a provider", ["role", "provider"], registry=registry
        )
        self.shed = Counter("tocsin_sends_shed", "Sends given up", ["role"], registry=registry).labels(role).inc

    def backlog(self, provider: str, count: int) -> None:
        self._backlog.labels(self._role, provider).set(count)


class DoubtMetrics:
    """The sends of a channel whose outcome isn't known."""

    def __init__(
        self,
        registry: CollectorRegistry,
        providers: Iterable[str],
        ways: Iterable[str],
        clock: Callable[[], int],
    ) -> None:
        """``ways``: in which a doubt may be settled. ``clock``: Unix ms."""
        self._clock = clock
        self._open = Gauge("tocsin_in_doubt", "Sends in doubt", ["provider"], registry=registry)
        self._oldest = Gauge(
            "tocsin_in_doubt_oldest_seconds", "Since when the oldest is in doubt", ["provider"], registry=registry
        )
        self._settled = Counter(
            "tocsin_in_doubt_settled", "Doubts that were settled", ["provider", "how"], registry=registry
        )
        ways = tuple(ways)
        for provider in providers:  # a rate needs a first value
            for how in ways:
                self._settled.labels(provider, how)

    def settled(self, provider: str, how: str) -> None:
        self._settled.labels(provider, how).inc()

    def show(self, provider: str, count: int, since: int | None) -> None:
        """``since``: when the oldest began, Unix ms; None: there is none."""
        self._open.labels(provider).set(count)
        self._oldest.labels(provider).set(0.0 if since is None else max(0, self._clock() - since) / 1000)


#: Of what callers wait for: a call to a provider, a request.
_WAIT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)


class CallMetrics:
    """Calls to send, as they end; questions after a doubt are none. ``kinds``: the outcomes that a call may have."""

    def __init__(self, registry: CollectorRegistry, providers: Iterable[str], kinds: Iterable[str]) -> None:
        labels = ("provider", "outcome")
        self._calls = Counts(registry, "tocsin_provider_calls", "Finished calls to send", labels)
        self._seconds = Durations(
            registry, "tocsin_provider_call_duration_seconds", "How long such a call took", labels, _WAIT_BOUNDS
        )
        kinds = tuple(kinds)
        self._calls.show((provider, kind) for provider in providers for kind in kinds)

    def ended(self, provider: str, outcome: str, seconds: float) -> None:
        self._calls.inc((provider, outcome))
        self._seconds.observe((provider, outcome), seconds)


class BreakerStates(Collector):
    """Which providers are left alone, and why: 1 where that is why, else 0."""

    def __init__(
        self, registry: CollectorRegistry, causes: Callable[[], Mapping[str, str | None]], whys: Iterable[str]
    ) -> None:
        """``causes``: of each provider why it is left alone now, one of ``whys``; None: it is called."""
        self._causes = causes
        self._whys = tuple(whys)
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "tocsin_breaker_open", "Whether calls are stopped, and why", labels=["provider", "why"]
        )
        for provider, cause in self._causes().items():
            for why in self._whys:
                family.add_metric([provider, why], float(cause == why))
        yield family


class ProviderRates(Collector):
    """Calls a second at most to each provider that has a limit, and what that follows from."""

    def __init__(
        self, registry: CollectorRegistry, rates: Callable[[], Mapping[str, tuple[float | None, str | None]]]
    ) -> None:
        self._rates = rates
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("tocsin_provider_rate", "Calls a second at most", labels=["provider", "limited_by"])
        for provider, (rate, limited_by) in self._rates().items():
            if rate is not None:
                family.add_metric([provider, limited_by or ""], rate)
        yield family


class HttpMetrics:
    """Requests that the gateway answered. ``route``: the path's pattern, never the path."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("route", "method", "status")
        self._requests = Counts(registry, "tocsin_http_requests", "HTTP requests that were answered", labels)
        self._seconds = Durations(
            registry,
            "tocsin_http_request_duration_seconds",
            "From a request's head to the end of its answer",
            labels,
            _WAIT_BOUNDS,
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        labels = (route, method, str(status))
        self._requests.inc(labels)
        self._seconds.observe(labels, seconds)


class ReplayMetrics:
    """What became of the candidates of replays. ``outcomes``: those that a candidate may have."""

    def __init__(self, registry: CollectorRegistry, outcomes: Iterable[str]) -> None:
        self._replays = Counts(registry, "tocsin_replays", "Candidates of replays, by outcome", ("outcome",))
        self._replays.show((outcome,) for outcome in outcomes)

    def count(self, outcome: str, count: int = 1) -> None:
        self._replays.inc((outcome,), count)


class HookMetrics:
    """What came of the calls of outbound webhooks. ``outcomes``: those that a call may have."""

    def __init__(self, registry: CollectorRegistry, outcomes: Iterable[str]) -> None:
        self._calls = Counts(registry, "tocsin_hook_calls", "Calls of outbound webhooks", ("outcome",))
        self._calls.show((outcome,) for outcome in outcomes)
        self._seconds = Histogram("tocsin_hook_call_duration_seconds", "Duration of a call", registry=registry)
        self._given_up = Counter(
            "tocsin_hook_events_given_up", "Events given up after 24 h of failed calls", registry=registry
        )
        self._waiting = Gauge("tocsin_hook_waiting", "Events in memory", ["hook"], registry=registry)
        self._hooks = Gauge("tocsin_hooks", "Registered hooks", ["state"], registry=registry)

    def called(self, outcome: str, seconds: float) -> None:
        self._calls.inc((outcome,))
        self._seconds.observe(max(0.0, seconds))

    def given_up(self) -> None:
        self._given_up.inc()

    def show(self, active: int, disabled: int, waiting: Mapping[str, int]) -> None:
        """``waiting``: events in hand, by hook."""
        self._hooks.labels("active").set(active)
        self._hooks.labels("disabled").set(disabled)
        self._waiting.clear()
        for hook, count in waiting.items():
            self._waiting.labels(hook).set(count)


class OutboxMetrics:
    """What a relay of an outbox has done, and what waits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = Counts(registry, "tocsin_outbox_rows", "Rows of the outbox", ("outcome",))
        self._rows.show((outcome,) for outcome in ("relayed", "refused"))
        self._waiting = Gauge("tocsin_outbox_waiting", "Rows that wait", registry=registry)
        self._lag = Gauge("tocsin_outbox_lag_seconds", "For how long the oldest has waited", registry=registry)
        self.retries = Counter("tocsin_outbox_retries", "Outages of database or Kafka", registry=registry)

    def count(self, relayed: int, refused: int) -> None:
        self._rows.inc(("relayed",), relayed)
        self._rows.inc(("refused",), refused)

    def show(self, waiting: int, oldest_s: float) -> None:
        self._waiting.set(waiting)
        self._lag.set(oldest_s)


class SpanMetrics:
    """What became of spans. ``reasons``: why some may be dropped. Registered where there are traces."""

    def __init__(self, registry: CollectorRegistry, reasons: Iterable[str]) -> None:
        self._exported = Counter("tocsin_spans_exported", "Spans that the collector accepted", registry=registry)
        self._dropped = Counter("tocsin_spans_dropped", "Spans that were lost, and why", ["why"], registry=registry)
        for why in reasons:  # a rate needs a first value
            self._dropped.labels(why)

    def exported(self, spans: int) -> None:
        self._exported.inc(spans)

    def dropped(self, why: str, spans: int) -> None:
        self._dropped.labels(why).inc(spans)


class ProviderErrors:
    """Calls whose client raised what nobody foresaw."""

    def __init__(self, registry: CollectorRegistry, role: str) -> None:
        self._role = role
        self._errors = Counter(
            "tocsin_provider_errors",
            "Calls that failed because of an unexpected error",
            ["role", "provider"],
            registry=registry,
        )

    def count(self, provider: str) -> None:
        self._errors.labels(self._role, provider).inc()


class LogLag(Collector):
    """How far behind a role without tables is, asked for when the metrics are."""

    def __init__(
        self,
        registry: CollectorRegistry,
        role: str,
        lags: Callable[[], Mapping[tuple[str, int], tuple[int, float]]],
    ) -> None:
        """``lags``: of each topic's partition, how many records aren't handled, and the age of the oldest in s."""
        self._role = role
        self._lags = lags
        registry.register(self)

    def describe(self) -> list[GaugeMetricFamily]:
        return _lag_families()

    def collect(self) -> list[GaugeMetricFamily]:
        records, seconds = families = _lag_families()
        for (topic, partition), (count, age_s) in self._lags().items():
            records.add_metric([self._role, topic, str(partition)], count)
            seconds.add_metric([self._role, topic, str(partition)], age_s)
        return families


def _lag_families() -> list[GaugeMetricFamily]:
    places = ["role", "topic", "partition"]
    return [
        GaugeMetricFamily("tocsin_lag_records", "Records in the log that are not processed yet", labels=places),
        GaugeMetricFamily(
            "tocsin_lag_seconds", "The age of the oldest record that is not processed yet", labels=places
        ),
    ]


class WorkerHealth(Collector):
    """How far behind a role is, what of it stands still, and how late its loop is, asked for when the metrics are."""

    def __init__(
        self,
        role: str,
        behind: Callable[[], Mapping[tuple[str, int], int]],
        lag_seconds: Callable[[], Mapping[tuple[str, int], float]],
        still: Callable[[], Mapping[str, float]],
        loop_lag_s: Callable[[], float],
        overdue_seconds: Callable[[], Mapping[int, float]],
    ) -> None:
        self._role = role
        self._behind = behind
        self._lag_seconds = lag_seconds
        self._still = still
        self._loop_lag_s = loop_lag_s
        self._overdue_seconds = overdue_seconds

    def collect(self) -> list[GaugeMetricFamily]:
        places = ["role", "topic", "partition"]
        records, seconds = _lag_families()
        behind = GaugeMetricFamily("tocsin_records_behind", f"{records.documentation} (the former name)", labels=places)
        for (topic, partition), count in self._behind().items():
            for family in (records, behind):
                family.add_metric([self._role, topic, str(partition)], count)
        for (topic, partition), age_s in self._lag_seconds().items():
            seconds.add_metric([self._role, topic, str(partition)], age_s)
        stall = "The longest stall of anything that has work to do"
        stalled = GaugeMetricFamily("tocsin_stalled_seconds", stall, labels=["role"])
        former = GaugeMetricFamily("tocsin_stands_still_seconds", f"{stall} (the former name)", labels=["role"])
        for family in (stalled, former):
            family.add_metric([self._role], max(self._still().values(), default=0.0))
        overdue = GaugeMetricFamily(
            "tocsin_timers_overdue_seconds",
            "How long the oldest due row has waited",
            labels=["role", "partition"],
        )
        for partition, age_s in self._overdue_seconds().items():
            overdue.add_metric([self._role, str(partition)], age_s)
        lag = GaugeMetricFamily("tocsin_loop_lag_seconds", "How late the event loop was", labels=["role"])
        lag.add_metric([self._role], self._loop_lag_s())
        return [overdue, records, seconds, behind, stalled, former, lag]


class WaitingRecords(Collector):
    """Fetched records that wait, by partition, asked for when the metrics are."""

    def __init__(self, role: str, waiting: Callable[[], Mapping[int, int]]) -> None:
        self._role = role
        self._waiting = waiting

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "tocsin_records_waiting", "Fetched records that wait to be handled", labels=["role", "partition"]
        )
        for partition, count in self._waiting().items():
            family.add_metric([self._role, str(partition)], count)
        return [family]
