"""The alert rules, evaluated by promtool: each fires when it should, and is silent when it should not."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.dev.promtool import NoPromtool, ensure_promtool
from tests.lacking import lacking
from tests.unit.metrics.everything import labels_by_metric

RULES = Path("dashboards/alerts.yaml")


def rules() -> Mapping[str, Mapping[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}


@dataclass(frozen=True)
class Case:
    """``series``: values in promtool's notation, every 15 s. ``at``: when it is judged. ``fires``: the labels of each
    alert that fires then."""

    alert: str
    means: str
    series: Mapping[str, str]
    at: str
    fires: Sequence[Mapping[str, str]] = ()


def _sends(status: str, **more: str) -> str:
    labels = {"channel": "push", "provider": "fcm", "category": "orders", "status": status, **more}
    return _name("tocsin_sends_total", labels)


def _calls(outcome: str) -> str:
    return _name("tocsin_provider_calls_total", {"provider": "fcm", "outcome": outcome})


def _slo(within: str, **more: str) -> str:
    return _name("tocsin_slo_total", {"category": "orders", "priority": "high", "within": within, **more})


def _lag(name: str, topic: str, partition: int = 0) -> str:
    return _name(f"tocsin_lag_{name}", {"role": "router", "topic": topic, "partition": str(partition)})


def _campaign(what: str, **more: str) -> str:
    return _name(f"tocsin_campaign_{what}_total", {"source": "shop", "campaign": "spring", **more})


def _dead(code: str) -> str:
    return _name("tocsin_dead_letters_total", {"role": "router", "topic": "notify_events", "code": code})


def _ready(role: str, instance: str = "a") -> str:
    return _name("tocsin_ready", {"role": role, "instance": instance})


def _breaker(why: str, provider: str = "fcm") -> str:
    return _name("tocsin_breaker_open", {"provider": provider, "why": why})


def _name(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"


def _latency(slow_per_step: int, fast_per_step: int, priority: str = "critical") -> dict[str, str]:
    """So many take more than 10 s in each step, and so many less than 1 s."""
    every = slow_per_step + fast_per_step
    upto = {"1": fast_per_step, "10": fast_per_step, "30": every, "+Inf": every}
    labels = {"channel": "sms", "provider": "twilio", "priority": priority}
    return {
        _name("tocsin_send_latency_seconds_bucket", {**labels, "le": le}): f"0+{count}x200"
        for le, count in upto.items()
    }


_PUSH = {"channel": "push"}
_FCM = {"provider": "fcm"}
_ORDERS = {"category": "orders", "priority": "high"}
_SPRING = {"source": "shop", "campaign": "spring"}

CASES = [
    # --- SendsFail ---
    Case("SendsFail", "2 % fail", {_sends("sent"): "0+98x80", _sends("failed"): "0+2x80"}, "20m", [_PUSH]),
    Case("SendsFail", "all fail, and none was ever sent", {_sends("failed"): "0+1x80"}, "20m", [_PUSH]),
    Case("SendsFail", "just under 1 % fail", {_sends("sent"): "0+992x80", _sends("failed"): "0+8x80"}, "20m"),
    Case("SendsFail", "one of ten fails, once", {_sends("sent"): "0+1x80", _sends("failed"): "0x20 1x60"}, "10m"),
    Case("SendsFail", "none fails, and there is no such series", {_sends("sent"): "0+50x80"}, "20m"),
    Case("SendsFail", "nothing is sent", {_sends("sent"): "500x80", _sends("failed"): "9x80"}, "20m"),
    Case(
        "SendsFail",
        "counters that begin again are no failures",
        {_sends("sent"): "5000+50x40 0+50x40", _sends("failed"): "40x40 0x40"},
        "12m",
    ),
    Case(
        "SendsFail",
        "it fails on after a restart",
        {_sends("sent"): "5000+50x40 0+50x40", _sends("failed"): "40+2x40 0+2x40"},
        "15m",
        [_PUSH],
    ),
    Case(
        "SendsFail",
        "what was suppressed or cancelled waters nothing down",
        {_sends("sent"): "0+50x80", _sends("failed"): "0+1x80", _sends("suppressed"): "0+5000x80"},
        "20m",
        [_PUSH],
    ),
    # --- CriticalSlow ---
    Case("CriticalSlow", "2 % take longer than 10 s", _latency(2, 98), "20m", [{"channel": "sms"}]),
    Case("CriticalSlow", "half a percent does", _latency(1, 199), "20m"),
    Case("CriticalSlow", "only low ones do", _latency(50, 50, "low"), "20m"),
    Case("CriticalSlow", "nothing critical is sent", _latency(0, 0), "20m"),
    # --- LagHigh, CriticalLag ---
    Case(
        "LagHigh",
        "the partitions together are above 100,000",
        {_lag("records", "notify_events_bulk", p): "30000x40" for p in range(4)},
        "5m",
        [{"role": "router", "topic": "notify_events_bulk"}],
    ),
    Case("LagHigh", "exactly 100,000", {_lag("records", "notify_events"): "100000x40"}, "5m"),
    Case(
        "LagHigh",
        "a peak that is over within the minute",
        {_lag("records", "notify_events"): "0x17 200000x2 0x20"},
        "5m",
    ),
    Case(
        "CriticalLag",
        "one partition's oldest is 61 s old",
        {_lag("seconds", "notify_events_critical", p): f"{61 * p}x40" for p in range(2)},
        "5m",
        [{"role": "router", "topic": "notify_events_critical"}],
    ),
    Case(
        "CriticalLag",
        "of a channel's critical sends, too",
        {_lag("seconds", "notify_send_push_critical"): "90x40"},
        "5m",
        [{"role": "router", "topic": "notify_send_push_critical"}],
    ),
    Case("CriticalLag", "other lanes may be late", {_lag("seconds", "notify_events_bulk"): "3600x40"}, "5m"),
    Case("CriticalLag", "exactly 60 s", {_lag("seconds", "notify_events_critical"): "60x40"}, "5m"),
    # --- ProviderFails ---
    Case("ProviderFails", "3 % are in doubt", {_calls("ok"): "0+97x80", _calls("in_doubt"): "0+3x80"}, "20m", [_FCM]),
    Case("ProviderFails", "none is taken", {_calls("ok"): "0x80", _calls("retry"): "0+1x80"}, "20m", [_FCM]),
    Case("ProviderFails", "1 % fail", {_calls("ok"): "0+99x80", _calls("retry"): "0+1x80"}, "20m"),
    Case(
        "ProviderFails",
        "a tenth of the tokens are dead",
        {_calls("ok"): "0+9x80", _calls("bad_token"): "0+1x80"},
        "20m",
    ),
    Case(
        "ProviderFails",
        "so are more, and few calls fail",
        {_calls("ok"): "0+900x80", _calls("bad_token"): "0+100x80", _calls("retry"): "0+1x80"},
        "20m",
    ),
    Case("ProviderFails", "nobody calls", {_calls("ok"): "7x80", _calls("retry"): "3x80"}, "20m"),
    Case(
        "ProviderFails",
        "a process begins anew",
        {_calls("ok"): "900+9x40 0+9x40", _calls("retry"): "300x40 0x40"},
        "12m",
    ),
    # --- BreakerOpen ---
    Case(
        "BreakerOpen",
        "open for two minutes",
        {_breaker("outage"): "0x8 1x20", _breaker("config"): "0x28"},
        "4m",
        [_FCM],
    ),
    Case(
        "BreakerOpen",
        "for one reason after the other",
        {_breaker("outage"): "1x10 0x20", _breaker("config"): "0x10 1x20"},
        "4m",
        [_FCM],
    ),
    Case("BreakerOpen", "closed within the minute", {_breaker("outage"): "0x8 1x2 0x20"}, "4m"),
    Case("BreakerOpen", "paused by hand", {_breaker("paused"): "1x40"}, "8m"),
    Case("BreakerOpen", "closed", {_breaker("outage"): "0x40"}, "8m"),
    # --- DeadLettersRise ---
    Case(
        "DeadLettersRise",
        "the first one since the process began",
        {_dead("invalid"): "0x20 1x40"},
        "8m",
        [{"role": "router", "topic": "notify_events", "code": "invalid"}],
    ),
    Case("DeadLettersRise", "those of yesterday", {_dead("invalid"): "100x200"}, "40m"),
    Case("DeadLettersRise", "a process begins anew", {_dead("invalid"): "100x40 0x40"}, "15m"),
    # --- DoubtsUnsettled ---
    Case(
        "DoubtsUnsettled",
        "one for twenty minutes",
        {'tocsin_in_doubt_oldest_seconds{provider="fcm"}': "0+15x80"},
        "20m",
        [_FCM],
    ),
    Case(
        "DoubtsUnsettled",
        "they are settled in time",
        {'tocsin_in_doubt_oldest_seconds{provider="fcm"}': "290x80"},
        "20m",
    ),
    # --- RoleNotReady, RoleGone, NothingScraped ---
    Case(
        "RoleNotReady",
        "one of two processes",
        {_ready("push", "a"): "1x40", _ready("push", "b"): "0x40"},
        "5m",
        [{"role": "push", "instance": "b"}],
    ),
    Case("RoleNotReady", "it restores its state in time", {_ready("push"): "1x8 0x4 1x20"}, "5m"),
    Case(
        "RoleGone",
        "its last process is gone",
        {_ready("push"): "1x8 stale", _ready("router"): "1x80"},
        "10m",
        [{"role": "push"}],
    ),
    Case(
        "RoleGone",
        "another process has taken over",
        {_ready("push", "a"): "1x8 stale", _ready("push", "b"): "1x80"},
        "10m",
    ),
    Case("RoleGone", "a role that never was there", {_ready("router"): "1x80"}, "10m"),
    Case("NothingScraped", "no process is seen", {}, "10m", [{}]),
    Case("NothingScraped", "one is, though it isn't ready", {_ready("push"): "0x80"}, "10m"),
    # --- CampaignOptOuts ---
    Case(
        "CampaignOptOuts",
        "6 % opt out, all sent before the first scrape",
        {_campaign("sent"): "1000x400", _campaign("unsubscribed"): "_x20 1+1x59 60x320"},
        "90m",
        [_SPRING],
    ),
    Case(
        "CampaignOptOuts",
        "two processes sent it, and one began anew",
        {
            _campaign("sent", instance="a"): "0+10x50 500x350",
            _campaign("sent", instance="b"): "0+10x25 0+10x25 250x350",
            _campaign("unsubscribed"): "0+1x60 60x340",
        },
        "90m",
        [_SPRING],
    ),
    Case(
        "CampaignOptOuts", "4 % do", {_campaign("sent"): "1000x400", _campaign("unsubscribed"): "0+1x40 40x360"}, "90m"
    ),
    Case(
        "CampaignOptOuts",
        "four of ten do",
        {_campaign("sent"): "10x400", _campaign("unsubscribed"): "0+1x4 4x390"},
        "90m",
    ),
    Case(
        "CampaignOptOuts",
        "4 % do, of a campaign that was sent while it was watched",
        {_campaign("sent"): "0+10x100 1000x300", _campaign("unsubscribed"): "0+1x40 40x360"},
        "90m",
    ),
    Case(
        "CampaignOptOuts",
        "6 % do, before the first scrape",
        {_campaign("sent"): "1000x400", _campaign("unsubscribed"): "_x20 60x380"},
        "90m",
        [_SPRING],
    ),
    Case("CampaignOptOuts", "nobody does", {_campaign("sent"): "1000x400"}, "90m"),
    Case(
        "CampaignOptOuts",
        "of a campaign that isn't known to be sent",
        {_campaign("unsubscribed"): "0+1x60 60x340"},
        "90m",
    ),
    # --- service levels ---
    Case(
        "ServiceLevelBurnsFast", "a fifth miss", {_slo("true"): "0+80x240", _slo("false"): "0+20x240"}, "1h", [_ORDERS]
    ),
    Case("ServiceLevelBurnsFast", "all miss", {_slo("true"): "0x240", _slo("false"): "0+5x240"}, "1h", [_ORDERS]),
    Case("ServiceLevelBurnsFast", "a tenth miss", {_slo("true"): "0+90x240", _slo("false"): "0+10x240"}, "1h"),
    Case(
        "ServiceLevelBurnsFast",
        "it is over for ten minutes",
        {_slo("true"): "0+80x200 16000+100x60", _slo("false"): "0+20x200 4000x60"},
        "1h",
    ),
    Case(
        "ServiceLevelBurnsFast",
        "half miss for a quarter of the hour",
        {_slo("true"): "0+100x180 18000+50x60", _slo("false"): "0x180 0+50x60"},
        "1h",
    ),
    Case("ServiceLevelBurnsFast", "two of two miss", {_slo("true"): "0x240", _slo("false"): "0x200 2x40"}, "55m"),
    Case("ServiceLevelBurnsFast", "nothing is sent", {_slo("true"): "50x240", _slo("false"): "50x240"}, "1h"),
    Case(
        "ServiceLevelBurnsFast",
        "a process begins anew",
        {_slo("true"): "9000+9x100 0+9x140", _slo("false"): "5000x100 0x140"},
        "40m",
    ),
    Case(
        "ServiceLevelBurnsSlowly",
        "a tenth miss for hours",
        {_slo("true"): "0+90x1440", _slo("false"): "0+10x1440"},
        "6h",
        [_ORDERS],
    ),
    Case("ServiceLevelBurnsSlowly", "5 % miss", {_slo("true"): "0+95x1440", _slo("false"): "0+5x1440"}, "6h"),
    Case(
        "ServiceLevelBurnsSlowly",
        "a quarter miss for a fifth of the time",
        {_slo("true"): "0+100x1152 115200+75x288", _slo("false"): "0x1152 0+25x288"},
        "6h",
    ),
    Case(
        "ServiceLevelBurnsSlowly",
        "it is over for an hour",
        {_slo("true"): "0+90x1200 108000+100x240", _slo("false"): "0+10x1200 12000x240"},
        "6h",
    ),
]


@pytest.fixture(scope="session")
def promtool() -> Path:
    try:
        return ensure_promtool(Path(".tocsin/promtool"), os.environ)
    except NoPromtool as missing:
        lacking(str(missing))


def _expected(case: Case) -> list[dict[str, Any]]:
    rule = rules()[case.alert]
    return [{"exp_labels": {**rule["labels"], **labels}} for labels in case.fires]


def _judged(promtool: Path, cases: Sequence[Case], folder: Path) -> str:
    """What promtool says of them; nothing where all is as expected. Annotations are judged by promtool's own check."""
    rule_file = folder / "rules.yaml"
    document = yaml.safe_load(RULES.read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]  # (they hold values, which are checked by other tests)
    rule_file.write_text(yaml.safe_dump(document))
    tests = [
        {
            "name": f"{case.alert}: {case.means}",
            "interval": "15s",
            "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
            "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": _expected(case)}],
        }
        for case in cases
    ]
    test_file = folder / "test.yaml"
    test_file.write_text(yaml.safe_dump({"rule_files": [str(rule_file)], "evaluation_interval": "30s", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", test_file], capture_output=True, text=True, timeout=300)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("alert", rules())
def test_each_alert_fires_when_it_should_and_is_silent_when_it_should_not(
    promtool: Path, alert: str, tmp_path: Path
) -> None:
    cases = [case for case in CASES if case.alert == alert]
    assert any(case.fires for case in cases)
    assert any(not case.fires for case in cases)

    assert _judged(promtool, cases, tmp_path) == ""


def test_where_there_are_no_series_nothing_fires_but_that(promtool: Path, tmp_path: Path) -> None:
    cases = [Case(alert, "no series", {}, "2h") for alert in rules() if alert != "NothingScraped"]

    assert _judged(promtool, cases, tmp_path) == ""


def test_a_case_that_is_wrong_is_noticed(promtool: Path, tmp_path: Path) -> None:
    wrong = Case("LagHigh", "nothing lags", {_lag("records", "notify_events"): "0x40"}, "5m", [{"role": "router"}])

    assert "FAILED" in _judged(promtool, [wrong], tmp_path)


def test_promtool_finds_the_rules_well_formed(promtool: Path) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", RULES], capture_output=True, text=True, timeout=600
    )

    assert done.returncode == 0, done.stdout + done.stderr


# --- what needs no promtool ---

_METRIC = re.compile(r"\btocsin_\w+")
_SELECTED = re.compile(r"\b(tocsin_\w+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")
_PARTS = re.compile(r"_(?:bucket|count|sum)$")
#: Labels that Prometheus itself adds, and a histogram's.
_GIVEN = {"instance", "job", "le"}


def _labels_of(metric: str) -> frozenset[str]:
    known = labels_by_metric()
    return known[metric if metric in known else _PARTS.sub("", metric)]


@pytest.mark.parametrize("alert", rules())
def test_every_metric_and_label_that_an_alert_names_is_there(alert: str) -> None:
    expr = rules()[alert]["expr"]
    metrics = set(_METRIC.findall(expr))
    assert metrics
    labels = frozenset[str]().union(*(_labels_of(metric) for metric in metrics)) | _GIVEN
    for metric, selected in _SELECTED.findall(expr):
        assert set(re.findall(r"(\w+)\s*(?:=|!)", selected)) <= _labels_of(metric) | _GIVEN
    for grouped in _GROUPED.findall(expr):
        assert {label.strip() for label in grouped.split(",")} <= labels
    for shown in re.findall(r"\$labels\.(\w+)", str(rules()[alert]["annotations"])):
        assert shown in labels


@pytest.mark.parametrize("alert", rules())
def test_an_alert_says_how_urgent_it_is_and_what_to_read(alert: str) -> None:
    rule = rules()[alert]

    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{alert.lower()}"
    assert rule["annotations"]["summary"]


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    sections = re.findall(r"^## (\w+)$", Path("docs/runbook.md").read_text(), re.MULTILINE)

    assert sections == list(rules())


@pytest.mark.parametrize("alert", rules())
def test_each_section_says_what_it_means_how_to_look_and_what_to_do(alert: str) -> None:
    page = Path("docs/runbook.md").read_text()
    [section] = re.findall(rf"^## {alert}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)

    assert [re.sub(r"\W", "", word) for word in re.findall(r"^\*\*.*?\*\*", section, re.MULTILINE)] == [
        "Means",
        "Look",
        "Do",
    ]
