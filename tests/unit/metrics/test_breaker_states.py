"""Which providers are left alone, as the metrics show it."""

from prometheus_client import CollectorRegistry

from app.metrics import BreakerStates


def test_a_breaker_shows_every_reason_so_that_none_is_ever_absent() -> None:
    registry = CollectorRegistry()
    causes: dict[str, str | None] = {"fcm": "outage", "apns": None}
    BreakerStates(registry, lambda: causes, ("outage", "config"))

    def shown() -> dict[tuple[str, str], float]:
        [family] = registry.collect()
        return {(sample.labels["provider"], sample.labels["why"]): sample.value for sample in family.samples}

    assert shown() == {
        ("fcm", "outage"): 1,
        ("fcm", "config"): 0,
        ("apns", "outage"): 0,
        ("apns", "config"): 0,
    }
    causes["fcm"] = "config"
    assert shown()["fcm", "outage"] == 0
    assert shown()["fcm", "config"] == 1
