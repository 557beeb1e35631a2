"""One trace from a service's call to the provider's answer, as a collector gets it from the roles' processes."""

import json
import uuid

import pytest

from tests.collector import Collector, Received
from tests.conftest import eventually
from tests.e2e.rules.test_metrics import metrics_of, value
from tests.e2e.rules.world import HELLO, LIMIT_S, World

pytestmark = pytest.mark.asyncio(loop_scope="package")


def a_context() -> tuple[str, str, dict[str, str]]:
    """A sampled context: its trace, its span, and the header."""
    trace, span = uuid.uuid4().hex, uuid.uuid4().hex[16:]
    return trace, span, {"traceparent": f"00-{trace}-{span}-01"}


async def spans_of(world: World, collector: Collector, trace: str, *names: str) -> dict[str, Received]:
    """Waits for these; they are all that there are."""
    await world.until(lambda: {span.name for span in collector.of(trace)} >= set(names))
    spans = collector.of(trace)
    assert sorted(span.name for span in spans) == sorted(names)
    return {span.name: span for span in spans}


async def test_one_trace_leads_from_a_call_to_the_providers_answer(world: World, collector: Collector) -> None:
    ann = await world.person()
    trace, service, headers = a_context()
    body = {"user_id": ann.user_id, "event_type": "order.shipped", "channels": ["email"], "content": HELLO}
    accepted = await world.post("/v1/notifications", {**headers, "tracestate": "shop=1"}, **body)
    sent = await world.becomes(accepted["notification_id"], "email", "sent")
    provider = sent["provider"]
    chain = ("POST /v1/notifications", "send notify_events", "process notify_events", "decide email")
    found = await spans_of(world, collector, trace, *chain, f"send {provider}", "settle email")

    expected = service
    for name in (*chain, f"send {provider}"):
        assert found[name].parent_id == expected, name
        expected = found[name].span_id
    assert found["settle email"].parent_id == found["decide email"].span_id
    assert [found[name].service for name in chain] == ["tocsin-gateway"] * 2 + ["tocsin-router"] * 2
    call = found[f"send {provider}"]
    assert (call.service, call.attributes["tocsin.outcome"], call.error) == ("tocsin-email", "ok", None)
    assert 200 <= call.attributes["http.response.status_code"] < 300
    assert call.attributes["tocsin.send_id"] == sent["send_id"]
    assert {span.trace_state for span in found.values()} == {"shop=1"}
    assert all(span.start_ms <= span.end_ms for span in found.values())
    told = json.dumps([span.attributes for span in found.values()])
    for private in (ann.user_id, ann.email, ann.phone, HELLO["body"]):
        assert private not in told


async def test_a_record_brings_its_trace_and_the_inbox_ends_it(world: World, collector: Collector) -> None:
    ann = await world.person()
    trace, service, context = a_context()
    await world.ask(ann, "order.shipped", channels=["in_app"], **context)
    found = await spans_of(world, collector, trace, "process notify_events", "decide in_app", "settle in_app")

    assert found["process notify_events"].parent_id == service
    assert found["settle in_app"].service == "tocsin-in_app"


async def test_a_wait_for_quiet_hours_is_seen_while_it_lasts(world: World, collector: Collector) -> None:
    ann = await world.person("ios")
    await world.prefer(ann, **ann.quiet_now())
    trace, _, context = a_context()
    await world.ask(ann, "order.shipped", channels=["push"], **context)
    found = await spans_of(world, collector, trace, "process notify_events", "decide push")

    held = found["decide push"].attributes
    assert (held["tocsin.outcome"], held["tocsin.reason"]) == ("held", "quiet_hours")
    assert "tocsin.until" in held


async def test_a_call_that_fails_is_seen_with_its_status_and_each_attempt_is_a_span(
    world: World, collector: Collector
) -> None:
    ann = await world.person("android")
    await world.misbehave("fcm", "error", ann.tokens["android"], code="UNAVAILABLE")
    trace, _, context = a_context()
    name = await world.ask(ann, "order.shipped", channels=["push"], **context)
    await world.becomes(name, "push", "sent")
    await world.until(lambda: len([span for span in collector.of(trace) if span.name == "send fcm"]) == 2)

    first, second = [span for span in collector.of(trace) if span.name == "send fcm"]
    assert (first.attributes["http.response.status_code"], second.attributes["http.response.status_code"]) == (503, 200)
    assert first.error is not None
    assert (first.attributes["tocsin.attempt"], second.attributes["tocsin.attempt"]) == (1, 2)


async def test_what_isnt_sampled_shows_nothing_and_spans_are_counted(world: World, collector: Collector) -> None:
    ann = await world.person()
    before = value(await metrics_of(world, "router"), "spans_exported_total")
    name = await world.ask(ann, "order.shipped", channels=["email"])
    await world.becomes(name, "email", "sent")
    trace, _, context = a_context()
    await world.ask(ann, "order.shipped", channels=["in_app"], **context)

    await world.until(lambda: bool(collector.of(trace)))

    async def are_counted() -> bool:
        """Spans are counted when the collector has answered, so after they are seen there."""
        return value(await metrics_of(world, "router"), "spans_exported_total") > before

    await eventually(are_counted, LIMIT_S)
    assert value(await metrics_of(world, "router"), "spans_dropped_total") == 0
    assert name not in {span.attributes.get("tocsin.notification_id") for span in collector.spans}
