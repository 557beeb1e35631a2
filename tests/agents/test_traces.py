"""What a trace shows of a notification, from its request to its calls; and that there is nothing where it is off."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agents.sender.calls import Result, Seen
from app.domain.bounds import Bounds
from app.domain.outcome import Outcome
from app.domain.tracing import Span
from schemas import topics
from schemas.sends import Send
from schemas.traces import Trace
from tables.notifications import NOTIFICATIONS, Facts, Notification
from tables.rows import MemoryRows
from tests.agents import senders
from tests.agents.harness import HOUR, MINUTE, NOON, POLICY, Harness
from tests.agents.stage import Stage, a_send

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
PARENT = f"00-{ID}-{SPAN}-01"
UNSAMPLED = f"00-{ID}-{SPAN}-00"


def traced(share: float = 0.0, **changes: Any) -> Harness:
    router = Harness(**changes)
    router.machine.catalog = replace(router.machine.catalog, bounds=Bounds(traced=share))
    router.known()
    return router


def names(spans: list[Span]) -> list[str]:
    return [span.name for span in spans]


def outcomes(spans: list[Span]) -> list[tuple[Any, ...]]:
    said = ("tocsin.channel", "tocsin.outcome", "tocsin.reason")
    return [tuple(span.attributes.get(name) for name in said) for span in spans]


def with_header(router: Harness, *headers: tuple[str, bytes | None], **fields: Any) -> None:
    request = {"user_id": "ann", "event_type": "order.shipped", "channels": ["email"], **fields}
    router.feed(topics.EVENTS, b"ann", msgspec.json.encode(request), headers=headers)


def test_a_request_and_its_decisions_are_spans_of_its_services_trace() -> None:
    router = traced()
    router.request(channels=["push", "email"], traceparent=PARENT, tracestate="shop=1", timestamp=NOON - 700)

    read, *decided = router.spans
    assert (read.name, read.kind, read.parent_id) == ("process notify_events", "consumer", SPAN)
    assert (read.start_ms, read.end_ms) == (NOON - 700, None)
    assert names(decided) == ["decide push", "decide email"]
    assert outcomes(decided) == [("push", "queued", None), ("email", "queued", None)]
    assert {span.parent_id for span in decided} == {read.trace.span_id}
    assert {(span.trace.trace_id, span.trace.tracestate) for span in router.spans} == {(ID, "shop=1")}
    assert [send.trace for send in router.sends] == [span.trace for span in decided]


HEADER = ("TraceParent", PARENT.encode())


def test_a_record_header_brings_a_trace_and_a_field_says_more_of_it() -> None:
    router, other = traced(), f"00-{'a' * 32}-{'b' * 16}-01"
    with_header(router, HEADER, ("tracestate", b"shop=1"))
    with_header(router, HEADER, traceparent=other)
    with_header(router, HEADER, traceparent="nonsense")

    read = [span for span in router.spans if span.kind == "consumer"]
    assert [(span.trace.trace_id, span.trace.tracestate) for span in read] == [
        (ID, "shop=1"),
        ("a" * 32, None),
        (ID, None),
    ]


@pytest.mark.parametrize("form", ["structured", "binary"])
def test_a_cloud_event_brings_its_trace_in_the_tracing_extension(form: str) -> None:
    router = traced()
    event = {"specversion": "1.0", "id": "1", "source": "shop", "type": "order.shipped", "subject": "ann"}
    event |= {"channels": "email", "traceparent": PARENT, "tracestate": "shop=1"}
    if form == "structured":
        router.feed(topics.EVENTS, b"ann", msgspec.json.encode(event))
    else:
        router.feed(
            topics.EVENTS, b"ann", b"{}", headers=[(f"ce_{name}", text.encode()) for name, text in event.items()]
        )

    assert (router.dead, router.spans[0].parent_id) == ([], SPAN)
    assert router.sends[0].trace is not None


@pytest.mark.parametrize("value", [1, {}, [], True, "", "x" * 600, UNSAMPLED, "00-" + "0" * 32 + f"-{SPAN}-01"])
def test_what_is_no_context_or_not_sampled_refuses_nothing_and_leaves_nothing(value: Any) -> None:
    router, untraced = traced(), traced()
    router.request(channels=["email"], traceparent=value, tracestate=value)
    untraced.request(channels=["email"])

    assert (router.dead, router.spans) == ([], [])
    assert router.reported() == untraced.reported()
    assert [replace_id(send) for send in router.sends] == [replace_id(send) for send in untraced.sends]


def replace_id(send: Send) -> Send:
    return msgspec.structs.replace(send, send_id="", notification_id="")


def test_without_traces_a_context_leaves_nothing_anywhere() -> None:
    router, plain = Harness(), Harness()
    for each, context in ((router, {"traceparent": PARENT}), (plain, {})):
        each.known()
        each.request(channels=["email"], notification_id="00000000-0000-4000-8000-000000000001", **context)

    assert (router.spans, router.sends) == ([], plain.sends)
    assert b"trace" not in msgspec.json.encode(router.sends)


def test_a_wait_is_a_span_that_says_until_when_and_what_follows_is_another() -> None:
    router = traced()
    router.command(
        "preferences.patch", preferences={"quiet_hours": {"enabled": True, "start": "11:00", "end": "14:00"}}
    )
    router.request(channels=["push"], traceparent=PARENT)
    router.after(3 * HOUR)

    read, held, queued = router.spans
    assert outcomes([held, queued]) == [("push", "held", "quiet_hours"), ("push", "queued", None)]
    assert held.attributes["tocsin.until"] == "2026-03-04T14:00:00.000Z"
    assert queued.start_ms == NOON + 2 * HOUR
    assert queued.parent_id == held.parent_id == read.trace.span_id
    assert router.sends[0].trace == queued.trace


def test_a_repeated_request_shows_in_its_own_services_trace() -> None:
    router, again = traced(), f"00-{'a' * 32}-{'b' * 16}-01"
    router.request(channels=["email"], idempotency_key="k", traceparent=PARENT)
    router.spans.clear()
    router.request(channels=["email"], idempotency_key="k", traceparent=again)
    router.request(channels=["email"], idempotency_key="k")

    assert names(router.spans) == ["process notify_events", "decide"]
    assert [span.trace.trace_id for span in router.spans] == ["a" * 32] * 2
    assert router.spans[1].attributes["tocsin.outcome"] == "repeated"


def test_a_record_that_is_read_again_makes_no_span() -> None:
    router = traced()
    record = router.request(channels=["email"], traceparent=PARENT)
    router.spans.clear()
    router.again(record)

    assert router.spans == []


@pytest.mark.parametrize(("share", "traces"), [(0.0, 0), (1.0, 3)])
def test_of_requests_without_a_context_the_share_begins_a_trace_of_its_own(share: float, traces: int) -> None:
    router = traced(share)
    for _ in range(3):
        router.request(channels=["email"])

    read = [span for span in router.spans if span.kind == "consumer"]
    assert [span.parent_id for span in read] == [""] * traces
    assert len({span.trace.trace_id for span in read}) == traces


def test_a_record_that_is_decided_anew_makes_the_same_spans() -> None:
    spans = []
    for _ in range(2):
        router = traced(1.0)
        router.request(channels=["email", "push"])
        spans.append(router.spans)

    assert spans[0] == spans[1] != []


def test_a_digest_has_a_trace_of_its_own_that_names_those_of_its_items() -> None:
    router = traced(
        policy=POLICY.replace("other: {channels: [in_app]}", "other: {channels: [email], digest: soon}")
        + "digests:\n  soon: {window: 10m, template: gathered}\n"
    )
    for trace_id in ("a" * 32, "b" * 32):
        router.request(event_type="comment.created", traceparent=f"00-{trace_id}-{SPAN}-01", data={"of": trace_id})
    router.request(event_type="comment.created", data={"of": "nobody"})
    items = [span.trace for span in router.spans if span.kind == "consumer"]
    router.after(10 * MINUTE)

    digest = next(span for span in router.spans if span.name == "close digest")
    [send] = router.sends
    assert digest.links == tuple(items)
    assert digest.parent_id == ""
    assert send.trace is not None
    assert send.trace.trace_id == digest.trace.trace_id
    ends = [span for span in router.spans if span.attributes.get("tocsin.outcome") == "aggregated"]
    assert [(span.trace.trace_id, span.attributes["tocsin.into"]) for span in ends] == [
        ("a" * 32, send.notification_id),
        ("b" * 32, send.notification_id),
    ]


def test_a_replayed_send_goes_on_in_its_originals_trace() -> None:
    router = traced()
    router.request(channels=["email"], traceparent=PARENT)
    [send] = router.sends
    router.settled(send, "failed", reason="retries_exhausted")
    router.spans.clear()
    router.replay(send)

    again = router.sends[-1]
    assert again.send_id != send.send_id
    assert again.trace is not None
    assert outcomes(router.spans) == [("email", "queued", None)]
    assert (again.trace.trace_id, router.spans[0].attributes["tocsin.replay_id"]) == (ID, again.replay_id)


def test_an_erased_users_row_keeps_no_trace() -> None:
    router = traced()
    router.request(channels=["email"], traceparent=PARENT)
    router.command("user.erase")
    router.after(MINUTE)

    rows = [row for state in router.states for _, row in state.notifications.scan(b"", None, 9)]
    assert [row.facts.trace for row in rows] == [None]


def test_no_span_names_a_user_or_an_address() -> None:
    router = traced()
    router.known("zoe.q")
    router.request(
        "zoe.q", channels=["push", "email", "sms"], traceparent=PARENT, data={"n": "swordfish"}, idempotency_key="mine"
    )
    shown = msgspec.json.encode(router.spans)

    assert len(router.spans) == 4
    for private in (b"zoe", b"example.com", b"+44", b"token of", b"swordfish", b"mine"):
        assert private not in shown


# --- what older versions wrote ---


def test_rows_of_before_traces_are_read_as_they_were() -> None:
    router = Harness()
    router.known()
    router.request(channels=["email"])
    [(key, row)] = router.states[0].notifications.scan(b"", None, 9)
    fields = msgspec.to_builtins(row, builtin_types=(bytes,))
    assert len(fields[0]) == len(Facts.__struct_fields__)
    old = msgspec.msgpack.encode([fields[0][:-1], *fields[1:]])

    assert msgspec.msgpack.decode(old, type=Notification) == row
    rows = MemoryRows()
    rows.write(NOTIFICATIONS.name, {key: bytes([NOTIFICATIONS.version]) + old})
    assert router.machine.open(rows, 0).notifications.get(key) == row


def test_a_trace_takes_one_byte_of_a_row_that_has_none() -> None:
    router = Harness()
    router.known()
    router.request(channels=["email"])
    [(_, row)] = router.states[0].notifications.scan(b"", None, 9)
    before = msgspec.to_builtins(row.facts, builtin_types=(bytes,))[:-1]

    assert len(msgspec.msgpack.encode(row.facts)) == len(msgspec.msgpack.encode(before)) + 1


# --- senders ---

TRACE = Trace(PARENT)


def answered(stage: Stage, kind: Any, seen: Seen | None, **outcome: Any) -> None:
    call = stage.calls.pop(0)
    stage.settle(Result(call, Outcome(kind, **outcome), seen=seen))


def test_each_call_is_a_span_behind_the_decision_that_queued_its_send() -> None:
    stage = senders.sms()
    stage.take(a_send(trace=TRACE))
    [call] = stage.calls
    answered(stage, "retry", Seen(NOON + 10, NOON + 40, 503), code="20500")
    stage.wait_for_call()
    answered(stage, "ok", Seen(stage.now, stage.now + 90, 201), provider_message_id="SM1")

    assert call.traced
    assert names(stage.spans) == ["send twilio", "decide sms", "send twilio", "settle sms"]
    assert {(span.parent_id, span.trace.trace_id) for span in stage.spans} == {(SPAN, ID)}
    assert len({span.trace.span_id for span in stage.spans}) == 4
    first, retrying, second, sent = stage.spans
    assert (first.kind, first.start_ms, first.end_ms, first.error) == ("client", NOON + 10, NOON + 40, "20500")
    assert first.attributes["http.response.status_code"] == 503
    assert (first.attributes["tocsin.attempt"], second.attributes["tocsin.attempt"]) == (1, 2)
    assert (second.error, second.attributes["tocsin.outcome"]) == (None, "ok")
    assert outcomes([retrying, sent]) == [("sms", "retrying", "20500"), ("sms", "sent", None)]


def test_a_call_that_was_not_made_is_no_span() -> None:
    stage = senders.sms()
    stage.take(a_send(trace=TRACE))
    call = stage.calls.pop(0)
    stage.settle(Result(call, None, seen=Seen()))

    assert stage.spans == []


def test_an_end_without_a_call_is_a_span() -> None:
    stage = senders.sms()
    stage.command("preferences.patch", preferences={"channels": {"sms": False}})
    stage.take(a_send(trace=TRACE))

    assert names(stage.spans) == ["settle sms"]
    assert outcomes(stage.spans) == [("sms", "suppressed", "opted_out")]


def test_a_send_without_a_trace_makes_no_spans_and_asks_for_none() -> None:
    stage = senders.sms()
    stage.take(a_send())
    traced = stage.calls[0].traced
    stage.answer("ok")

    assert (traced, stage.spans) == (False, [])


def test_a_trace_goes_on_after_a_crash_between_claim_and_answer() -> None:
    stage = senders.sms()
    stage.take(a_send(trace=TRACE))
    stage.crash()
    stage.wait(HOUR)

    assert "decide sms" in names(stage.spans)
    assert outcomes(stage.spans)[-1] == ("sms", "unknown", None)
    assert {span.trace.trace_id for span in stage.spans} == {ID}
