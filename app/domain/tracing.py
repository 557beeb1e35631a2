"""What a trace shows of a notification: a span for each thing that is decided or done of it, as a value.

Spans have ids that follow from what they tell, so that what is done twice is one span. They say nothing of a user: no
user id, no address, nothing of data or content. Receipts, which may come days later, have none.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from schemas.lifecycle import CAME_BACK, LifecycleEvent
from schemas.traces import Trace, trace_at
from schemas.words import ENDS, Status

#: As OpenTelemetry names them. ``server``: answers a call; ``producer``: writes to the log; ``consumer``: reads from
#: it; ``client``: calls.
SpanKind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = str | int | float | bool

#: Ends that aren't what the request asked for, and that nobody chose.
_FAILED: frozenset[Status] = frozenset(("failed", "expired", "unknown"))
#: The spans of requests and of calls show these.
_SHOWN_ELSEWHERE: frozenset[Status] = frozenset(("accepted", "sending", *CAME_BACK))
#: Fields of events and facts that spans carry.
_CARRIED_FIELDS = ("notification_id", "send_id", "event_type", "category", "priority", "campaign_id", "replay_id")
_SAMPLED_OF = 1 << 64
#: In place of a parent: the trace begins.
NO_SPAN = "0" * 16
#: As many as OpenTelemetry takes of one span.
_MOST_LINKS = 128


class Span(Struct, frozen=True, gc=False):
    """``trace``: the span itself, with its id. Times are Unix ms; ``end_ms`` None: when it is durable."""

    trace: Trace
    #: "": it is the first of its trace.
    parent_id: str
    name: str
    kind: SpanKind
    start_ms: int
    end_ms: int | None
    attributes: dict[str, Attribute]
    #: Why it failed; None: it didn't.
    error: str | None = None
    #: Spans of other traces that led to it.
    links: tuple[Trace, ...] = ()


def span_id_of(event_id: str) -> str:
    """The span that tells the same as a lifecycle event. (Of a UUID's second half one bit is always set.)"""
    return event_id.replace("-", "")[16:]


def begun_trace(notification_id: str, user_id: str, recorded_ms: int, share: float) -> Trace | None:
    """Of a request that brings no context: the trace that begins with it, which has no span yet; None where it isn't
    sampled. Follows from the request, however often it is read."""
    if share <= 0:
        return None
    begun = root_trace(_trace_id(notification_id, user_id, recorded_ms), share)
    return begun if begun.is_sampled else None


def own_trace(notification_id: str, user_id: str, recorded_ms: int) -> Trace:
    """As ``begun_trace``, of what is shown in any case."""
    return trace_at(_trace_id(notification_id, user_id, recorded_ms), NO_SPAN)


def _trace_id(notification_id: str, user_id: str, recorded_ms: int) -> str:
    name = f"trace\n{notification_id}\n{user_id}\n{recorded_ms}"
    return blake2b(name.encode(), digest_size=16).hexdigest()


def root_trace(trace_id: str, share: float) -> Trace:
    """A trace that has no span yet. Whether it is sampled follows from its id, as OpenTelemetry's TraceIdRatioBased has
    it."""
    return trace_at(trace_id, NO_SPAN, sampled=int(trace_id[16:], 16) < share * _SAMPLED_OF)


def request_span(
    parent: Trace,
    span_id: str,
    topic: str,
    partition: int,
    offset: int,
    recorded_ms: int,
    now: int,
    attributes: dict[str, Attribute],
) -> Span:
    """A record of an event topic is read, from its own time on: how long it lay in the log is part of it."""
    read: dict[str, Attribute] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": offset,
    }
    return Span(
        parent.behind(span_id),
        parent_of(parent),
        f"process {topic}",
        "consumer",
        min(recorded_ms, now),
        None,
        read | attributes,
    )


def digest_span(begun: Trace, span_id: str, items: Sequence[Trace], now: int, attributes: dict[str, Attribute]) -> Span:
    """Notifications become one, whose trace is its own: each of theirs stays its service's."""
    links = tuple(items[:_MOST_LINKS])
    return Span(begun.behind(span_id), parent_of(begun), "close digest", "internal", now, None, attributes, links=links)


def parent_of(trace: Trace) -> str:
    """ "" where there is none."""
    return "" if trace.span_id == NO_SPAN else trace.span_id


def attributes_of(what: object) -> dict[str, Attribute]:
    """The attributes that spans take from an event, or from a notification's facts."""
    return {f"tocsin.{name}": value for name in _CARRIED_FIELDS if (value := getattr(what, name, None))}


def decision_span(trace: Trace, event: LifecycleEvent, now: int) -> Span | None:
    """What was decided: the event in the trace's terms. None where other spans tell it. A wait is a span of its own
    that says until when; what follows it is another."""
    status = event.status
    if status in _SHOWN_ELSEWHERE:
        return None
    detail = event.detail or {}
    waits_until = next((detail[name] for name in ("until", "due", "retry_at") if name in detail), None)
    attributes: dict[str, Attribute | None] = {
        "tocsin.channel": event.channel,
        "tocsin.outcome": status,
        "tocsin.reason": event.reason,
        "tocsin.provider": event.provider,
        "tocsin.attempt": event.attempt,
        "tocsin.policy_version": event.policy_version,
        "tocsin.until": waits_until,
        "tocsin.cap": detail.get("cap"),
        "tocsin.into": detail.get("into"),
    }
    does = "settle" if event.send_id is not None and status in ENDS else "decide"
    return Span(
        trace.behind(span_id_of(event.event_id)),
        trace.span_id,
        f"{does} {event.channel}" if event.channel else does,
        "internal",
        now,
        None,
        attributes_of(event) | {name: value for name, value in attributes.items() if value is not None},
        error=(event.reason or status) if status in _FAILED else None,
    )


def call_span(
    trace: Trace,
    send_id: str,
    notification_id: str,
    number: int,
    provider: str,
    purpose: Literal["send", "ask"],
    attempt: int,
    began_ms: int,
    ended_ms: int,
    outcome: str,
    code: str | None,
    http_status: int | None,
) -> Span:
    """A call to a provider. ``number``: of its claim; a send in doubt is asked after several times for one claim."""
    name = f"call\n{send_id}\n{purpose}\n{number}\n{began_ms if purpose == 'ask' else ''}"
    attributes: dict[str, Attribute | None] = {
        "tocsin.notification_id": notification_id,
        "tocsin.send_id": send_id,
        "tocsin.provider": provider,
        "tocsin.attempt": attempt,
        "tocsin.outcome": outcome,
        "tocsin.code": code,
        "http.response.status_code": http_status,
    }
    return Span(
        trace.behind(_hashed(name)),
        trace.span_id,
        f"{purpose} {provider}",
        "client",
        began_ms,
        max(began_ms, ended_ms),
        {name: value for name, value in attributes.items() if value is not None},
        error=None if outcome in ("ok", "nothing_found") else code or outcome,
    )


def _hashed(name: str) -> str:
    return blake2b(name.encode(), digest_size=8).hexdigest()
