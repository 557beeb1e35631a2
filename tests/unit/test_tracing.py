"""The exporter: what a collector gets, what is dropped, and that nobody ever waits for it."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from prometheus_client import CollectorRegistry

from app.domain.tracing import Span
from app.metrics import SpanMetrics
from app.tracing import DROP_REASONS, QUEUE, SpanExporter, TracingUnavailable, check_installed
from schemas.traces import Trace, trace_at
from tests.collector import collecting
from tests.conftest import until

ID, PARENT_ID = "12345678901234567890123456789012", "1234567890123456"
SERVICE = {"service.name": "tocsin-router", "service.instance.id": "1"}
NOW = 1_780_000_000_000


def a_span(number: int = 1, **changes: Any) -> Span:
    given: dict[str, Any] = {
        "trace": trace_at(ID, f"{number:016x}", "shop=1"),
        "parent_id": PARENT_ID,
        "name": "decide push",
        "kind": "internal",
        "start_ms": NOW - 7,
        "end_ms": None,
        "attributes": {"tocsin.channel": "push", "tocsin.attempt": 2, "share": 0.5, "yes": True},
    }
    return Span(**{**given, **changes})


class Counted:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = SpanMetrics(self.registry, DROP_REASONS)

    def exported(self) -> float:
        return self.registry.get_sample_value("tocsin_spans_exported_total") or 0

    def dropped(self, why: str) -> float:
        return self.registry.get_sample_value("tocsin_spans_dropped_total", {"why": why}) or 0


class Held:
    """A collector that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.going = threading.Event()
        self.given: list[int] = []

    def export(self, spans: Sequence[Any]) -> Any:
        self.given.append(len(spans))
        self.going.wait(60)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.going.set()


@asynccontextmanager
async def exporting(endpoint: str, counted: Counted, clock: Callable[[], int] = lambda: NOW) -> AsyncIterator[Any]:
    exporter = SpanExporter.open(endpoint, {"x-api-key": "k"}, SERVICE, counted.metrics, clock)
    try:
        yield exporter
    finally:
        await exporter.close()


async def test_a_collector_gets_what_a_span_says() -> None:
    counted, link = Counted(), Trace(f"00-{'a' * 32}-{'b' * 16}-01")
    async with collecting() as collector:
        async with exporting(collector.endpoint, counted) as exporter:
            exporter.show([a_span(error="bad_template", links=(link,)), a_span(2, parent_id="", end_ms=NOW + 5)])
        [first, second] = collector.spans

    assert collector.headers[0]["x-api-key"] == "k"
    assert counted.exported() == 2
    assert (first.service, first.name, first.kind, first.trace_state) == ("tocsin-router", "decide push", 1, "shop=1")
    assert (first.trace_id, first.span_id, first.parent_id) == (ID, f"{1:016x}", PARENT_ID)
    assert (first.start_ms, first.end_ms, first.error) == (NOW - 7, NOW, "bad_template")
    assert first.attributes == {"tocsin.channel": "push", "tocsin.attempt": 2, "share": 0.5, "yes": True}
    assert first.links == [("a" * 32, "b" * 16)]
    assert (second.parent_id, second.end_ms, second.error) == ("", NOW + 5, None)


async def test_what_finds_no_place_is_dropped_counted_and_waited_for_by_nobody() -> None:
    counted, held = Counted(), Held()
    exporter = SpanExporter(SERVICE, held, counted.metrics, lambda: NOW)
    exporter.show([a_span(n) for n in range(1, 513)])
    await until(lambda: bool(held.given))
    exporter.show([a_span(n) for n in range(1, QUEUE + 11)])
    exporter.show([a_span()])

    assert counted.dropped("queue_full") == 11
    held.going.set()
    await exporter.close()
    assert counted.exported() == 512 + QUEUE


async def test_a_collector_that_hangs_holds_up_no_end() -> None:
    counted, held = Counted(), Held()
    exporter = SpanExporter(SERVICE, held, counted.metrics, lambda: NOW)
    exporter.show([a_span()])
    await until(lambda: bool(held.given))
    async with asyncio.timeout(30):
        await exporter.close()

    assert not held.going.is_set()
    held.going.set()


async def test_a_span_that_cannot_be_shown_takes_no_other_with_it() -> None:
    counted = Counted()
    async with collecting() as collector:
        exporter = SpanExporter.open(collector.endpoint, {}, SERVICE, counted.metrics, lambda: NOW)
        exporter.show([a_span(trace=Trace("nonsense")), a_span(2)])
        await exporter.close()

    assert (len(collector.spans), counted.dropped("unreadable")) == (1, 1)


async def test_what_a_collector_refuses_or_nobody_takes_is_dropped_and_counted() -> None:
    counted = Counted()
    async with collecting(status=400) as collector:
        async with exporting(collector.endpoint, counted) as exporter:
            exporter.show([a_span(1), a_span(2)])
        gone = collector.endpoint
    async with exporting(gone, counted) as exporter:
        exporter.show([a_span(3)])

    await until(lambda: counted.dropped("export_failed") == 3)
    assert counted.exported() == 0


async def test_a_key_for_a_collector_is_never_sent_on() -> None:
    counted = Counted()
    async with collecting() as elsewhere, collecting(moved_to=elsewhere.endpoint) as collector:
        async with exporting(collector.endpoint, counted) as exporter:
            exporter.show([a_span()])
        await until(lambda: counted.dropped("export_failed") == 1)

    assert (len(collector.headers), elsewhere.headers) == (1, [])


def test_without_opentelemetry_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(TracingUnavailable, match=r"tracing\.endpoint .* pip install 'tocsin\[tracing\]'"):
        check_installed()


def test_nothing_imports_opentelemetry_unless_it_is_asked_for() -> None:
    roles = "app.tracing, app.api.gateway, app.streaming.worker, agents.router.machine, agents.executor, app.wiring"
    program = f"import {roles}, sys; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
