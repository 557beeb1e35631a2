"""The operations port: health says why, metrics are served, state is read from its owner. By whom: tests/security."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.config import Operations
from app.metrics import StreamingMetrics, process_registry
from app.operations import OperationsServer, ServedState
from app.ports import NotOwned
from app.store.owner_client import StateReader
from schemas.decode import Invalid

SECRET = b"the installation's own secret of 32 bytes or more"


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


class FakeState:
    """Answers as a worker that owns partition 1 would."""

    async def read(
        self, partition: int, view: str, user_id: str, params: Mapping[str, str], after: int | None, within_s: float
    ) -> Any:
        if partition != 1:
            raise NotOwned(str(partition))
        match view:
            case "profile":
                return {"user_id": user_id, "after": after, **params}
            case "empty":
                return None
            case "slow":
                raise TimeoutError
            case "picky":
                raise Invalid("is not a number", "limit")
            case _:
                raise LookupError(view)


class Operated:
    problem: str | None = "restoring partitions [1]"


@pytest.fixture
async def operated(tmp_path: Path) -> AsyncIterator[tuple[Operated, str]]:
    role, registry = Operated(), process_registry()
    StreamingMetrics(registry, "router").count("records", 3)
    state = ServedState(FakeState(), SECRET, unix_ms)
    server = OperationsServer(role="router", problem=lambda: role.problem, registry=registry, state=state)
    await server.start(Operations(), tmp_path)
    assert json.loads((tmp_path / "operations.json").read_text())["url"] == server.url
    yield role, server.url
    await server.stop()


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return response.status, await response.text()


async def test_ready_says_what_is_missing_until_nothing_is(operated: tuple[Operated, str]) -> None:
    role, url = operated
    before = await get(f"{url}/health/ready")
    role.problem = None

    assert before[0] == 503
    assert "restoring partitions [1]" in before[1]
    assert (await get(f"{url}/health/ready"))[0] == 200


async def test_metrics_say_whether_it_is_ready(operated: tuple[Operated, str]) -> None:
    role, url = operated
    before = await get(f"{url}/metrics")
    role.problem = None

    assert 'tocsin_ready{role="router"} 0.0' in before[1]
    assert 'tocsin_ready{role="router"} 1.0' in (await get(f"{url}/metrics"))[1]


async def test_live_does_not_wait_for_ready(operated: tuple[Operated, str]) -> None:
    assert (await get(f"{operated[1]}/health/live"))[0] == 200


async def test_metrics_are_served(operated: tuple[Operated, str]) -> None:
    status, text = await get(f"{operated[1]}/metrics")

    assert status == 200
    assert 'tocsin_records_handled_total{role="router"} 3.0' in text


@pytest.mark.parametrize(
    ("view", "query", "status", "says"),
    [
        (
            "profile",
            {"partition": "1", "user_id": "ü 1/&?", "after": "7", "x": "y"},
            200,
            '{"user_id":"ü 1/&?","after":7,"x":"y"}',
        ),
        ("empty", {"partition": "1"}, 404, "nothing known"),
        ("nosuch", {"partition": "1"}, 404, "no such view"),
        ("profile", {"partition": "2"}, 409, "another worker owns this partition"),
        ("slow", {"partition": "1"}, 503, "not caught up yet"),
        ("picky", {"partition": "1"}, 400, '"field": "limit"'),
        ("profile", {"partition": "x"}, 400, "partition and after are numbers"),
        ("profile", {"partition": "9" * 5000}, 400, "partition and after are numbers"),
        ("profile", {}, 400, "partition and after are numbers"),
    ],
)
async def test_state_is_read_from_its_owner(
    operated: tuple[Operated, str], view: str, query: dict[str, str], status: int, says: str
) -> None:
    async with aiohttp.ClientSession() as session:
        answered = await StateReader(session, SECRET, unix_ms).read(operated[1], view, query)

    assert answered[0] == status
    assert says in answered[1].decode()
