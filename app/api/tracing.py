"""A service's trace at the door: its notifications' requests are spans of it, and carry it on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from app.api.answering import pattern_of
from app.api.intake import Taken
from app.domain.tracing import Attribute, Span, parent_of, root_trace
from schemas.topics import EVENT_TOPIC_OF_LANE
from schemas.traces import TRACEPARENT, TRACESTATE, Trace, trace_at, trace_in_fields, trace_in_headers

#: The routes whose calls a trace shows.
TRACED = frozenset(("/v1/notifications", "/v1/notifications/bulk"))
#: Set once it is known that the caller may call.
AUTHORIZED = web.RequestKey("authorized", bool)
#: Where a call stands in its trace, sampled or not.
_CALL: web.RequestKey[Trace] = web.RequestKey("trace", Trace)


@dataclass(frozen=True, slots=True)
class Tracing:
    """``show`` takes spans. ``share``: of the calls that bring no trace context. ``clock``: Unix ms.
    ``random_bits``: so many, for ids."""

    show: Callable[[Sequence[Span]], None]
    share: float
    clock: Callable[[], int]
    random_bits: Callable[[int], int] = SystemRandom().getrandbits

    def span_id(self) -> str:
        return f"{self.random_bits(64) or 1:016x}"

    def begun(self) -> Trace:
        """A new trace, of which no span is there yet. One that isn't sampled is carried on as such, behind a span that
        nobody sees: so that no role samples it anew."""
        root = root_trace(f"{self.random_bits(128) or 1:032x}", self.share)
        return root if root.is_sampled else trace_at(root.trace_id, self.span_id(), sampled=False)

    # --- a call ---

    def middleware(self) -> Middleware:
        """Makes each call that ends in the log a span."""

        @web.middleware
        async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
            route = pattern_of(request)
            if request.method != "POST" or route not in TRACED:
                return await handler(request)
            headers = [(name.decode("latin-1"), value) for name, value in request.raw_headers]
            parent = trace_in_headers(headers) or self.begun()
            if not parent.is_sampled:
                request[_CALL] = parent
                return await handler(request)
            request[_CALL] = own = parent.behind(self.span_id())
            began_ms, status = self.clock(), None
            try:
                response = await handler(request)
                status = response.status
                return response
            finally:
                if AUTHORIZED in request:  # nobody else fills the queue
                    self.show([self._call_span(parent, own, route, began_ms, status)])

        return traced

    def _call_span(self, parent: Trace, own: Trace, route: str, began_ms: int, status: int | None) -> Span:
        """``status`` None: the caller left before it was answered."""
        attributes: dict[str, Attribute] = {"http.request.method": "POST", "http.route": route}
        if status is not None:
            attributes["http.response.status_code"] = status
        error = None if status is not None and status < 500 else str(status or "cancelled")
        return Span(own, parent_of(parent), f"POST {route}", "server", began_ms, self.clock(), attributes, error)

    # --- its notifications ---

    def begin(self, request: web.Request, taken: Sequence[Taken]) -> list[Span]:
        """Has the records of each notification carry its trace on. A field of the body counts more than the call's
        header. What is returned is to be shown when the records are in the log."""
        spans = []
        for one in taken:
            parent = trace_in_fields(one.request[TRACEPARENT], one.request[TRACESTATE]) or request[_CALL]
            if parent.is_sampled:
                own = parent.behind(self.span_id())
                spans.append(self._producing_span(parent, own, one))
                _carry(one.request, own)
            else:
                _carry(one.request, parent)
        return spans

    def _producing_span(self, parent: Trace, own: Trace, one: Taken) -> Span:
        topic = EVENT_TOPIC_OF_LANE[one.lane]
        attributes: dict[str, Attribute] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
            "messaging.batch.message_count": len(one.recipients),
            "tocsin.notification_id": one.notification_id,
            "tocsin.event_type": one.request["event_type"],
        }
        return Span(own, parent_of(parent), f"send {topic}", "producer", self.clock(), None, attributes)


def _carry(request: dict[str, Any], trace: Trace) -> None:
    request[TRACEPARENT] = msgspec.Raw(msgspec.json.encode(trace.traceparent))
    if trace.tracestate is None:
        del request[TRACESTATE]  # an empty value of our own would be written as no value: that is no JSON
    else:
        request[TRACESTATE] = msgspec.Raw(msgspec.json.encode(trace.tracestate))
