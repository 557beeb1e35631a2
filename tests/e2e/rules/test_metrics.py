"""What every role shows to Prometheus, on its operations port."""

import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.dev.system import ROLES
from schemas.topics import EVENTS_BULK
from tests.conftest import eventually
from tests.e2e.rules.world import LIMIT_S, World

pytestmark = pytest.mark.asyncio(loop_scope="package")

Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


async def metrics_of(world: World, role: str) -> Series:
    [announced] = Path(world.system.state.config_file).parent.glob(f"data/{role}-*/operations.json")
    url = json.loads(announced.read_text())["url"]
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/health/live") as live, http.get(f"{url}/health/ready") as ready:
            assert (live.status, ready.status) == (200, 200)
        async with http.get(f"{url}/metrics") as response:
            text = await response.text()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(series: Series, name: str, **labels: str) -> float:
    """The sum of a metric's series that have these labels."""
    return sum(
        v for (its, have), v in series.items() if its == f"tocsin_{name}" and labels.items() <= dict(have).items()
    )


@pytest.mark.parametrize("role", [*ROLES, "gateway"])
async def test_each_role_says_that_it_is_ready(world: World, role: str) -> None:
    assert value(await metrics_of(world, role), "ready", role=role) == 1


async def test_each_role_counts_what_becomes_of_a_notification_in_its_hands(world: World) -> None:
    ann = await world.person()
    campaign = f"spring-{ann.user_id}"
    before = {role: await metrics_of(world, role) for role in ("router", "email", "gateway")}
    name = await world.ask(
        ann, "order.shipped", EVENTS_BULK, channels=["email"], campaign_id=campaign, source="shop", priority="high"
    )
    sent = await world.becomes(name, "email", "sent")
    await world.receipt("opened", sent, provider=sent["provider"])
    await world.becomes(name, "email", "opened")
    await world.api("GET", f"/v1/users/{ann.user_id}/devices")

    async def gained(role: str, metric: str, **labels: str) -> float:
        return value(await metrics_of(world, role), metric, **labels) - value(before[role], metric, **labels)

    category, provider = sent["category"], sent["provider"]
    called = {"provider": provider, "outcome": "ok"}
    route = {"route": "/v1/users/{id}/devices", "method": "GET", "status": "200"}
    for role, metric, labels in (
        ("router", "requests_total", {"lane": "bulk", "outcome": "accepted"}),
        ("router", "decisions_total", {"channel": "email", "category": category, "outcome": "queued", "reason": ""}),
        ("router", "receipts_total", {"channel": "email", "provider": provider, "status": "opened"}),
        ("email", "sends_total", {"channel": "email", "provider": provider, "category": category, "status": "sent"}),
        ("email", "send_latency_seconds_count", {"channel": "email", "provider": provider, "priority": "high"}),
        ("email", "slo_total", {"category": category, "priority": "high"}),
        ("email", "campaign_sent_total", {"source": "shop", "campaign": campaign}),
        ("email", "provider_calls_total", called),
        ("email", "provider_call_duration_seconds_count", called),
        ("gateway", "http_requests_total", route),
        ("gateway", "http_request_duration_seconds_count", route),
    ):

        async def is_counted(role: str = role, metric: str = metric, labels: Mapping[str, str] = labels) -> bool:
            return await gained(role, metric, **labels) >= 1

        await eventually(is_counted, LIMIT_S)
