"""docs/metrics.md names every metric with its labels, and names no other."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.metrics.everything import labels_by_metric

_ROW = re.compile(r"^\| `(tocsin_\w+)` \|([^|]*)\|", re.MULTILINE)


def documented() -> Mapping[str, frozenset[str]]:
    page = Path("docs/metrics.md").read_text()
    rows = [(name, re.sub(r"\(.*?\)", "", labels)) for name, labels in _ROW.findall(page)]
    assert len(rows) == len(dict(rows)), "a metric is there twice"
    return {name: frozenset(re.findall(r"\w+", labels)) for name, labels in rows}


def test_the_page_names_every_metric_with_its_labels() -> None:
    assert documented() == labels_by_metric()


#: Contract, "Metrics".
PROMISED = {
    "requests_total": "lane outcome",
    "http_requests_total": "route method status",
    "http_request_duration_seconds": "route method status",
    "decisions_total": "channel category outcome reason",
    "sends_total": "channel provider category status",
    "send_latency_seconds": "channel provider priority",
    "provider_calls_total": "provider outcome",
    "provider_call_duration_seconds": "provider outcome",
    "breaker_open": "provider why",
    "in_doubt": "provider",
    "in_doubt_settled_total": "provider how",
    "receipts_total": "channel provider status",
    "lag_records": "role topic partition",
    "lag_seconds": "role topic partition",
    "dead_letters_total": "role topic code",
    "ready": "role",
    "in_doubt_oldest_seconds": "provider",
    "slo_total": "category priority within",
    "campaign_sent_total": "source campaign",
    "campaign_unsubscribed_total": "source campaign",
    "caps_total": "cap",
    "digests_total": "rule how",
    "replays_total": "outcome",
}


@pytest.mark.parametrize("name", PROMISED)
def test_what_is_promised_is_there(name: str) -> None:
    assert labels_by_metric()[f"tocsin_{name}"] == frozenset(PROMISED[name].split())
