"""Sends spans to a collector by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/).

Nobody waits for it: spans lie in a bounded queue that a thread of its own empties, and what has no place there, or is
refused, is dropped and counted. OpenTelemetry is imported where an exporter is opened, and nowhere else.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol

import structlog

from app.domain.tracing import Span
from schemas.traces import Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, TraceState

log = structlog.get_logger(__name__)

#: Spans that wait, and how many go at once; how long they may wait for others, and a collector for its answer.
QUEUE, _AT_ONCE = 4096, 512
_DELAY_MS, _TIMEOUT_S = 1_000.0, 5.0
#: A role that ends gives what waits so long.
_LAST_S = 2.0
_SCOPE = "tocsin"

DropReason = Literal["queue_full", "export_failed", "unreadable"]
DROP_REASONS: tuple[DropReason, ...] = ("queue_full", "export_failed", "unreadable")


class TracingUnavailable(Exception):
    """What tracing needs isn't installed; the message says what to do."""


class Counted(Protocol):
    """What became of spans, for the metrics; called by any thread."""

    def exported(self, spans: int) -> None: ...

    def dropped(self, why: DropReason, spans: int) -> None: ...


class Exporting(Protocol):
    """What a batch of spans is given to; False: it was not taken. Blocks, in a thread of its own."""

    def export(self, spans: "Sequence[ReadableSpan]") -> Any: ...

    def shutdown(self) -> None: ...


def check_installed() -> None:
    """Raises TracingUnavailable."""
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError:
        raise TracingUnavailable(
            "tracing.endpoint is set, but OpenTelemetry isn't installed: pip install 'tocsin[tracing]'"
        ) from None


class SpanExporter:
    """One process's. ``clock``: Unix ms."""

    def __init__(self, service: Mapping[str, str], to: Exporting, counted: Counted, clock: Callable[[], int]) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._clock = clock
        self._counted = counted
        self._waiting = 0
        self._lock = threading.Lock()
        self._resource = Resource(service)
        self._scope = InstrumentationScope(_SCOPE)
        # It has room for more than is ever given to it: what it drops itself, it doesn't count.
        self._processor = BatchSpanProcessor(
            _Counting(to, counted, self._taken),  # type: ignore[arg-type]  # all that a batch processor calls
            max_queue_size=2 * QUEUE,
            schedule_delay_millis=_DELAY_MS,
            max_export_batch_size=_AT_ONCE,
        )

    @classmethod
    def open(
        cls,
        endpoint: str,
        headers: Mapping[str, str],
        service: Mapping[str, str],
        counted: Counted,
        clock: Callable[[], int],
    ) -> "SpanExporter":
        """``endpoint``: the collector's URL for traces. Raises TracingUnavailable."""
        check_installed()
        import requests
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        session = requests.Session()
        session.trust_env = False
        session.max_redirects = 0  # headers may hold a key, which is the collector's alone
        to = OTLPSpanExporter(
            endpoint, headers=dict(headers), timeout=_TIMEOUT_S, compression=Compression.Gzip, session=session
        )
        return cls(service, to, counted, clock)

    def show(self, spans: Sequence[Span]) -> None:
        """Takes spans that are durable now. Never blocks, and never raises."""
        now = self._clock()
        with self._lock:
            room = max(0, QUEUE - self._waiting)
            taken = spans[:room]
            self._waiting += len(taken)
        for span in taken:
            try:
                readable = self._readable(span, now)
            except Exception as error:  # of whatever stood in a record: no role ends for a span
                log.error("can't show a span", name=span.name, error=repr(error))
                self._taken(1)
                self._counted.dropped("unreadable", 1)
            else:
                self._processor.on_end(readable)
        if len(taken) < len(spans):
            self._counted.dropped("queue_full", len(spans) - len(taken))

    async def close(self) -> None:
        """Gives what waits a last chance, and no more time than that."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            with suppress(RuntimeError):  # the loop may have ended before
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="spans-end", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await done.wait()

    def _taken(self, spans: int) -> None:
        """They are out of the queue."""
        with self._lock:
            self._waiting -= spans

    def _readable(self, span: Span, now: int) -> "ReadableSpan":
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanKind
        from opentelemetry.trace.status import Status, StatusCode

        end_ms = now if span.end_ms is None else span.end_ms
        return ReadableSpan(
            span.name,
            context=_context(span.trace, remote=False),
            parent=_context(span.trace.behind(span.parent_id), remote=True) if span.parent_id else None,
            resource=self._resource,
            attributes=span.attributes,
            links=[Link(_context(link, remote=True)) for link in span.links],
            kind=SpanKind[span.kind.upper()],
            status=Status(StatusCode.UNSET if span.error is None else StatusCode.ERROR, span.error),
            start_time=span.start_ms * 1_000_000,
            end_time=max(span.start_ms, end_ms) * 1_000_000,
            instrumentation_scope=self._scope,
        )


class _Counting:
    """Counts what a collector takes, and what it doesn't."""

    def __init__(self, to: Exporting, counted: Counted, taken: Callable[[int], None]) -> None:
        self._to = to
        self._counted = counted
        self._taken = taken

    def export(self, spans: "Sequence[ReadableSpan]") -> Any:
        from opentelemetry.sdk.trace.export import SpanExportResult

        result = SpanExportResult.FAILURE
        self._taken(len(spans))
        try:
            result = self._to.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self._counted.exported(len(spans))
            else:
                self._counted.dropped("export_failed", len(spans))
        return result

    def shutdown(self) -> None:
        self._to.shutdown()


def _context(trace: Trace, *, remote: bool) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), remote, flags, _state(trace.tracestate))


def _state(tracestate: str | None) -> "TraceState":
    from opentelemetry.trace import TraceState

    return TraceState.from_header([tracestate] if tracestate else [])
