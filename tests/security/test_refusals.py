"""What the door refuses is counted, with labels whose values are few whatever is sent."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from prometheus_client import CollectorRegistry

from app.api import server
from app.api.connections import ConnectionLimits
from app.api.refusals import ENDINGS, REASONS, Counting
from app.api.room import Size
from app.api.server import routes
from app.metrics import HttpMetrics, RefusalMetrics
from tests.calling import user_token
from tests.security.conftest import Opening, api_key

SHOP = "shop." + "s" * 43
BODY = b'{"user_id": "ada", "event_type": "a.b", "content": {"title": "t", "body": "b"}}'


class Counted:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        metrics = RefusalMetrics(self.registry, ENDINGS)
        self.counting = Counting(metrics.refused, metrics.ended, HttpMetrics(self.registry).answered)

    def refusals(self) -> dict[tuple[str, str], int]:
        return {
            (sample.labels["status"], sample.labels["reason"]): int(sample.value)
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "tocsin_http_refusals_total"
        }

    def requests(self) -> dict[tuple[str, str, str], int]:
        """By route, method and status."""
        return {
            (sample.labels["route"], sample.labels["method"], sample.labels["status"]): int(sample.value)
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "tocsin_http_requests_total"
        }

    def ended(self, why: str) -> float:
        return self.registry.get_sample_value("tocsin_http_connections_ended_total", {"reason": why}) or 0.0


REFUSED: dict[tuple[int, str], tuple[str, str, bytes | None, str | None]] = {
    (401, "credentials"): ("POST", "/v1/notifications", BODY, "shop.wrong"),
    (403, "forbidden"): ("GET", "/v1/policy", None, SHOP),
    (404, "unknown"): ("GET", "/nowhere", None, SHOP),
    (405, "method"): ("PUT", "/v1/notifications", BODY, SHOP),
    (400, "malformed"): ("POST", "/v1/notifications", b"{", SHOP),
    (413, "too_large"): ("POST", "/v1/notifications", b" " * (2 << 20), SHOP),
    (422, "rule"): ("POST", "/v1/notifications", b'{"user_id": "ada", "event_type": "a.b"}', SHOP),
    (414, "request_line"): ("GET", "/" + "a" * 10_000, None, SHOP),
    (415, "coding"): ("POST", "/br", b"", SHOP),
}


@pytest.mark.parametrize(("status", "reason"), REFUSED)
async def test_a_refusal_is_counted_by_its_status_and_reason(open_door: Opening, status: int, reason: str) -> None:
    counted = Counted()
    method, path, body, key = REFUSED[status, reason]
    headers = {"Content_Encoding": "br"} if path == "/br" else {}
    async with open_door(api_key(SHOP), counting=counted.counting) as door:
        assert (await door.call(method, path, body, key=key, **headers)).status == status

    assert counted.refusals() == {(str(status), reason): 1}


async def test_each_limit_is_counted_by_its_name(open_door: Opening) -> None:
    counted = Counted()
    slow = "slow." + "z" * 43
    async with open_door(api_key(SHOP), api_key(slow, rate=1), room=Size(1000, 100), counting=counted.counting) as door:
        for _ in range(2):
            await door.call("GET", "/v1/policy", key=slow)
        assert (await door.call("POST", "/v1/notifications", BODY, key=SHOP)).status == 429
        for _ in range(101):
            await door.call("GET", "/v1/policy")
        for _ in range(501):
            await door.call("GET", "/v1/users/ada/devices", key=user_token("ada"))

    found = {reason: count for (status, reason), count in counted.refusals().items() if status == "429"}
    assert found == {"key_rate": 1, "share": 1, "address_rate": 1, "user_rate": 1}


async def test_labels_stay_few_whatever_is_asked_for(open_door: Opening) -> None:
    counted = Counted()
    async with open_door(api_key(SHOP), counting=counted.counting) as door:
        for n, route in enumerate(routes(None)):
            await door.call(route.method, route.path.replace("{id}", f"user{n}"), b"\xff", key=SHOP)
            await door.call(f"M{n}", f"/{n}?{n}={n}", key=SHOP)

    assert {reason for _, reason in counted.refusals()} <= set(REASONS)
    assert len(counted.refusals()) < 12
    paths = {route.path for route in routes(None)} | {"unknown"}
    assert {route for route, _, _ in counted.requests()} <= paths
    assert {method for _, method, _ in counted.requests()} <= {"GET", "POST", "PUT", "PATCH", "DELETE", "other"}


async def test_a_request_is_counted_by_its_routes_path_and_never_by_its_own(open_door: Opening) -> None:
    counted = Counted()
    async with open_door(api_key(SHOP), counting=counted.counting) as door:
        for user in ("ada", "bob"):
            await door.call("GET", f"/v1/users/{user}/devices", key=user_token("eve"))
        await door.call("GET", "/v1/nowhere/ada")

    assert counted.requests() == {
        ("/v1/users/{id}/devices", "GET", "403"): 2,
        ("unknown", "GET", "404"): 1,
    }
    taken = {"route": "/v1/users/{id}/devices", "method": "GET", "status": "403"}
    assert counted.registry.get_sample_value("tocsin_http_request_duration_seconds_count", taken) == 2


async def test_what_nobody_foresaw_is_counted(open_door: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server, "authorize", fail)
    counted = Counted()
    async with open_door(api_key(SHOP), counting=counted.counting) as door:
        assert (await door.call("GET", "/v1/policy", key=SHOP)).status == 500

    assert counted.refusals() == {("500", "failed"): 1}


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (ConnectionLimits(unknown=2), "limit"),
        (ConnectionLimits(unknown_per_address=2), "address_limit"),
        (ConnectionLimits(header_s=0.05), "header"),
    ],
)
async def test_connections_that_a_limit_ends_are_counted(
    open_door: Opening, limits: ConnectionLimits, why: str
) -> None:
    counted = Counted()
    async with open_door(limits=limits, counting=counted.counting) as door, AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(door.raw(b"GET"))
        async with asyncio.timeout(60):
            while counted.ended(why) < 3:
                await asyncio.sleep(0.01)
