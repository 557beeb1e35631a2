"""Begins what a trace shows of a request, or of a digest: the span that all later decisions come behind."""

from collections.abc import Sequence

from msgspec.structs import replace

from agents.router.context import RouterContext
from app.domain.ids import event_id
from app.domain.tracing import attributes_of, begun_trace, digest_span, own_trace, request_span, span_id_of
from app.ports import LogRecord
from schemas.requests import Request
from schemas.traces import Trace, trace_in_fields, trace_in_headers
from tables.notifications import Facts


def trace_request(
    context: RouterContext,
    facts: Facts,
    request: Request,
    record: LogRecord,
    headers: Sequence[tuple[str, bytes | None]],
    position: str,
    share: float,
) -> Facts:
    """With the span that shows the request, if its trace is sampled. A field says more of the request than a header,
    which may be of whatever carried it. ``share``: of the requests that bring neither."""
    parent = trace_in_fields(request.traceparent, request.tracestate)
    if parent is None and headers:
        parent = trace_in_headers(headers)
    if parent is None:
        parent = begun_trace(facts.notification_id, facts.user_id, facts.recorded_ms, share)
    if parent is None or not parent.is_sampled:
        return facts
    span_id = _span_id(facts, position)
    place = (record.topic, record.partition, record.offset, record.timestamp)
    context.out.spans.append(request_span(parent, span_id, *place, context.now, attributes_of(facts)))
    return replace(facts, trace=parent.behind(span_id))


def trace_digest(context: RouterContext, facts: Facts, items: Sequence[Trace], cause: str) -> Facts:
    """With a trace of its own, which names the spans of its items."""
    begun = own_trace(facts.notification_id, facts.user_id, facts.recorded_ms)
    span_id = _span_id(facts, cause)
    context.out.spans.append(digest_span(begun, span_id, items, context.now, attributes_of(facts)))
    return replace(facts, trace=begun.behind(span_id))


def _span_id(facts: Facts, cause: str) -> str:
    """That of the event that tells it was accepted."""
    return span_id_of(event_id(f"{facts.notification_id}\n{facts.user_id}\n", "accepted", None, cause))
