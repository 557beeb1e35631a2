"""Every metric of every role, each with one sample, as it is named in the text that Prometheus reads."""

from collections.abc import Mapping
from functools import cache

from prometheus_client import CollectorRegistry

from app import metrics
from app.store.lifecycle_sink import SinkMetrics
from schemas.lifecycle import LifecycleEvent
from schemas.topics import EVENTS

_PLACE = ("notify_events", 0)
_EVENTS = [
    LifecycleEvent(
        event_id="e",
        notification_id="n",
        user_id="u",
        send_id="s",
        status=status,
        campaign_id="c",
        occurred_at="2026-01-01T00:00:00Z",
        detail={"cap": "push-hour", "latency_ms": 7},
    )
    for status in ("queued", "sent", "unsubscribed")
]


@cache
def labels_by_metric() -> Mapping[str, frozenset[str]]:
    labels: dict[str, frozenset[str]] = {}
    for registry in (_worker(), _gateway(), _analytics(), _hooks()):
        for family in registry.collect():
            for sample in family.samples:
                if sample.name.startswith("tocsin_") and not sample.name.endswith("_created"):
                    name = sample.name if family.type == "counter" else family.name
                    labels.setdefault(name, frozenset(sample.labels.keys() - {"le"}))
    return labels


def _worker() -> CollectorRegistry:
    registry = CollectorRegistry()
    metrics.Readiness(registry, "router", lambda: None)
    streaming = metrics.StreamingMetrics(registry, "router", [EVENTS])
    streaming.durable(_EVENTS)
    streaming.durable(
        [("slo", "orders", "high", "true"), ("digests", "social", "single"), ("no_receipt", "sms", "vonage")]
    )
    shedding = metrics.SheddingMetrics(registry, "push")
    shedding.backlog("fcm", 1)
    metrics.DoubtMetrics(registry, ["fcm"], ["found"], lambda: 0).show("fcm", 0, None)
    metrics.ProviderErrors(registry, "push").count("fcm")
    spans = metrics.SpanMetrics(registry, ["queue_full"])
    spans.exported(1)
    spans.dropped("queue_full", 1)
    metrics.CallMetrics(registry, ["fcm"], ["ok"]).ended("fcm", "ok", 0.1)
    metrics.BreakerStates(registry, lambda: {"fcm": None}, ["outage"])
    metrics.ProviderRates(registry, lambda: {"fcm": (9.0, "limit")})
    registry.register(metrics.WaitingRecords("router", lambda: {0: 1}))
    lags = {_PLACE: 1}
    registry.register(
        metrics.WorkerHealth(
            "router", lambda: lags, lambda: {_PLACE: 1.0}, lambda: {"deciding": 0.0}, lambda: 0.0, lambda: {0: 0.0}
        )
    )
    return registry


def _gateway() -> CollectorRegistry:
    registry = CollectorRegistry()
    metrics.AnnouncementMetrics(registry, ["untrusted"])
    refusals = metrics.RefusalMetrics(registry, ["limit"])
    refusals.refused(400, "malformed")
    metrics.StreamMetrics(registry, ["slow"])
    metrics.HttpMetrics(registry).answered("/v1/policy", "GET", 200, 0.1)
    metrics.ReplayMetrics(registry, ["sent"])
    metrics.WebhookMetrics(registry, ["ses"], ["receipt"])
    return registry


def _analytics() -> CollectorRegistry:
    registry = CollectorRegistry()
    SinkMetrics(registry).watch(lambda: {_PLACE: (1, 1.0)})
    return registry


def _hooks() -> CollectorRegistry:
    registry = CollectorRegistry()
    hooks = metrics.HookMetrics(registry, ["ok"])
    hooks.called("ok", 0.1)
    hooks.given_up()
    hooks.show(1, 0, {"h": 1})
    metrics.OutboxMetrics(registry).show(1, 1.0)
    return registry
