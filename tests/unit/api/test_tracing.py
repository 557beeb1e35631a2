"""A service's trace at the door, over real HTTP and without a log."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.api.intake import Taken
from app.api.problems import Problem
from app.api.tracing import AUTHORIZED, Tracing
from app.domain.tracing import Span
from schemas.requests import Request, read_request
from schemas.traces import Trace, trace_in_fields

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
PARENT = f"00-{ID}-{SPAN}-01"
BULK = "/v1/notifications/bulk"


class Door:
    """Takes every notification of a body as it is."""

    def __init__(self, share: float, status: int = 202) -> None:
        self.spans: list[Span] = []
        self.carried: list[Taken] = []
        bits, clock = itertools.count(1), itertools.count(1_000)
        self.tracing = Tracing(self.spans.extend, share, lambda: next(clock), lambda _: next(bits) << 40)
        self._status = status

    async def answer(self, request: web.Request) -> web.Response:
        if "Authorization" not in request.headers:
            raise Problem(401, "credentials are required")
        request[AUTHORIZED] = True
        taken = [self._taken(body) for body in await request.json()]
        self.tracing.show(self.tracing.begin(request, taken))
        self.carried = taken
        return web.Response(status=self._status)

    def _taken(self, body: dict[str, Any]) -> Taken:
        fields = {name: msgspec.Raw(msgspec.json.encode(body[name])) if name in body else _ABSENT for name in _CONTEXT}
        return Taken("n", ("ada", "bob"), {"event_type": "order.shipped", **fields}, "bulk")

    def contexts(self) -> list[Trace | None]:
        """Of each notification, as whoever reads its records has it."""
        found = []
        for one in self.carried:
            requests = [read_request(record.value or b"") for record in one.records()]
            [context] = {trace_in_fields(each.traceparent, each.tracestate) for each in requests}
            found.append(context)
        return found


_CONTEXT = ("traceparent", "tracestate")
_ABSENT = Request(user_id="ada", event_type="x").tracestate


@asynccontextmanager
async def calling(door: Door) -> AsyncIterator[Any]:
    app = web.Application(middlewares=[door.tracing.middleware()])
    app.router.add_post(BULK, door.answer)
    app.router.add_post("/v1/elsewhere", _nothing)
    async with TestClient(TestServer(app)) as client:
        yield client


async def _nothing(_: web.Request) -> web.Response:
    return web.Response()


async def called(door: Door, bodies: Any = ({},), path: str = BULK, **headers: str) -> None:
    async with calling(door) as client, client.post(path, json=list(bodies), headers={"Authorization": "x", **headers}):
        pass


async def test_a_call_and_its_notifications_are_spans_of_its_services_trace() -> None:
    door = Door(0.0)
    await called(door, [{}, {}], Traceparent=PARENT, Tracestate="shop=1")

    *sent, call = door.spans
    assert (call.name, call.kind, call.parent_id, call.error) == (f"POST {BULK}", "server", SPAN, None)
    assert call.attributes["http.response.status_code"] == 202
    assert [(span.name, span.kind) for span in sent] == [("send notify_events_bulk", "producer")] * 2
    assert {span.parent_id for span in sent} == {call.trace.span_id}
    assert {(span.trace.trace_id, span.trace.tracestate) for span in door.spans} == {(ID, "shop=1")}
    assert door.contexts() == [span.trace for span in sent]


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("field", [{}, {"traceparent": PARENT}, {"tracestate": "shop=1"}])
@pytest.mark.parametrize("header", [{}, {"traceparent": PARENT}, {"traceparent": PARENT, "tracestate": "shop=1"}])
async def test_whatever_context_there_is_the_records_can_be_read(
    share: float, field: dict[str, str], header: dict[str, str]
) -> None:
    door = Door(share)
    await called(door, [field, {}], **header)

    assert [context is not None for context in door.contexts()] == [True, True]


async def test_a_field_of_a_body_says_more_of_it_than_the_calls_header() -> None:
    door = Door(0.0)
    other = f"00-{'a' * 32}-{'b' * 16}-01"
    await called(door, [{"traceparent": other}, {"traceparent": "x"}, {"traceparent": 7}], traceparent=PARENT)

    first, second, third, _ = door.spans
    assert (first.trace.trace_id, first.parent_id) == ("a" * 32, "b" * 16)
    assert second.trace.trace_id == third.trace.trace_id == ID


@pytest.mark.parametrize(("share", "traces"), [(0.0, 0), (1.0, 1)])
async def test_a_call_without_a_context_is_judged_once_for_all_that_follows(share: float, traces: int) -> None:
    door = Door(share)
    await called(door, [{}])

    assert len({span.trace.trace_id for span in door.spans}) == traces
    assert [trace.is_sampled for trace in door.contexts() if trace is not None] == [bool(traces)]
    assert [span.parent_id for span in door.spans if span.kind == "server"] == [""] * traces


@pytest.mark.parametrize("context", [{"traceparent": PARENT[:-2] + "00"}, {"traceparent": "x"}, {"tracestate": "a=1"}])
async def test_what_is_not_sampled_shows_nothing(context: dict[str, str]) -> None:
    door = Door(0.0)
    await called(door, [{}], **context)

    assert door.spans == []


async def test_a_call_that_fails_says_so() -> None:
    door = Door(0.0, status=503)
    await called(door, traceparent=PARENT)

    assert (door.spans[-1].error, door.spans[-1].attributes["http.response.status_code"]) == ("503", 503)


async def test_a_call_without_good_credentials_shows_nothing() -> None:
    door = Door(1.0)
    async with calling(door) as client, client.post(BULK, json=[{}], headers={"traceparent": PARENT}):
        pass

    assert door.spans == []


async def test_other_routes_are_no_part_of_a_trace() -> None:
    door = Door(1.0)
    await called(door, path="/v1/elsewhere", traceparent=PARENT)

    assert door.spans == []
