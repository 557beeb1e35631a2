"""A collector of traces: takes OTLP over HTTP, as its own protobuf has it."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class Received:
    """One span. Times are Unix ms; ids hexadecimal; ``error``: what its status says, None unless that is an error."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start_ms: int
    end_ms: int
    attributes: dict[str, Any]
    error: str | None
    links: list[tuple[str, str]]
    trace_state: str


@dataclass(slots=True)
class Collector:
    endpoint: str = ""
    spans: list[Received] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def of(self, trace_id: str) -> list[Received]:
        """The trace's spans, each once, by their times."""
        once = {span.span_id: span for span in self.spans if span.trace_id == trace_id}
        return sorted(once.values(), key=lambda span: (span.start_ms, span.end_ms))


@asynccontextmanager
async def collecting(*, status: int = 200, moved_to: str | None = None) -> AsyncIterator[Collector]:
    """``status``: what each request is answered with; ``moved_to``: where it is sent instead."""
    collector = Collector()

    async def take(request: web.Request) -> web.Response:
        collector.headers.append(dict(request.headers))
        if moved_to is not None:
            return web.Response(status=307, headers={"Location": moved_to})
        body = await request.read()
        if body.startswith(b"\x1f\x8b"):  # (aiohttp has unpacked it already, but for what it doesn't know)
            body = gzip.decompress(body)
        if status == 200:
            collector.spans.extend(_received(ExportTraceServiceRequest.FromString(body)))
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(status=status, body=answer, content_type="application/x-protobuf")

    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    try:
        yield collector
    finally:
        await runner.cleanup()


def _received(request: Any) -> list[Received]:
    return [
        Received(
            service=_attributes(resource.resource.attributes)["service.name"],
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            name=span.name,
            kind=span.kind,
            start_ms=span.start_time_unix_nano // 1_000_000,
            end_ms=span.end_time_unix_nano // 1_000_000,
            attributes=_attributes(span.attributes),
            error=span.status.message if span.status.code == 2 else None,
            links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
            trace_state=span.trace_state,
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
