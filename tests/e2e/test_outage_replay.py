"""An outage of one provider, and what an operator does afterwards: a dry run, a replay, and once more."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from app.dev.system import DevSystem, Options
from tests.conftest import eventually
from tests.e2e.rules.world import LIMIT_S, Person, World, in_s, reaching

_REPOSITORY = Path(__file__).parents[2]
_PEOPLE = 24

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    options = Options(folder=tmp_path_factory.mktemp("outage") / "dev", jars=_REPOSITORY / ".tocsin" / "kafka")
    async with DevSystem(options) as system, reaching(system) as world:
        yield world


async def _faults(world: World, method: str, fault: dict[str, Any] | None = None) -> None:
    url = f"{world.system.state.sandbox_url}/faults"
    async with aiohttp.ClientSession() as session, session.request(method, url, json=fault) as response:
        assert response.status < 300, await response.text()


async def _receipt(world: World, replay_id: str) -> dict[str, Any]:
    """As any moment shows it; asked again while the gateway is away."""
    found: dict[str, Any] = {}

    async def is_answered() -> bool:
        try:
            status, answer = await world.call("GET", f"/v1/replays/{replay_id}")
        except aiohttp.ClientError:
            return False
        if status == 200:
            found.update(answer)
        return status == 200

    await eventually(is_answered, LIMIT_S)
    assert sum(found["dry_run"].values()) == sum(found["outcomes"].values()) == found["candidates"]
    return found


async def test_what_an_outage_left_is_replayed_once_whoever_dies(world: World) -> None:
    await _faults(world, "POST", {"provider": "fcm", "action": "error", "code": "UNAVAILABLE"})
    since = in_s(-1)
    people = [await world.awake("android") for _ in range(_PEOPLE)]
    asked = {
        person.user_id: await world.ask(person, "order.shipped", channels=["push"], expires_at=in_s(20))
        for person in people
    }
    for name in asked.values():
        assert (await world.end_of(name, "push"))["status"] in ("expired", "failed")
    until = in_s(0)
    refuser: Person = people[0]
    await world.prefer(refuser, channels={"push": False})
    await _faults(world, "DELETE")
    chosen = ("--from", since, "--to", until, "--provider", "fcm", "--expires-after", "1h", "--json")

    dry = json.loads(await world.tocsin("replay", "push", *chosen, "--dry-run"))
    assert (dry["candidates"], dry["dry_run"]["opted_out"], dry["outcomes"]["not_begun"]) == (_PEOPLE, 1, _PEOPLE)
    assert dry["dry_run"]["would_send"] + dry["dry_run"]["would_wait"] == _PEOPLE - 1
    assert not [call for name in asked.values() for call in await world.in_sandbox("accepted", notification_id=name)]

    body: dict[str, Any] = {"channel": "push", "from": since, "to": until, "expires_after": "1h", "rate": "3/s"}
    replay_id = (await world.api("POST", "/v1/replays", **body))["replay_id"]

    async def some_are_sent() -> bool:
        return bool((await _receipt(world, replay_id))["outcomes"]["sent"] >= 3)

    await eventually(some_are_sent, LIMIT_S)
    restarts = world.system.processes["gateway"].restarts
    world.system.kill("gateway")

    async def is_done() -> bool:
        return bool((await _receipt(world, replay_id))["status"] == "done")

    await eventually(is_done, LIMIT_S)
    assert world.system.processes["gateway"].restarts > restarts
    receipt = await _receipt(world, replay_id)
    assert (receipt["outcomes"]["sent"], receipt["outcomes"]["opted_out"]) == (_PEOPLE - 1, 1)
    for user_id, name in asked.items():
        accepted = await world.in_sandbox("accepted", notification_id=name)
        assert len(accepted) == (0 if user_id == refuser.user_id else 1), user_id

    again = json.loads(await world.tocsin("replay", "push", *chosen))
    assert again["outcomes"]["replayed_before"] + again["outcomes"]["already_sent"] == _PEOPLE - 1
    assert again["outcomes"]["sent"] == 0
    listed = json.loads(await world.tocsin("replay", "show", replay_id, "--candidates", "--json"))["listed"]
    assert len({each["send_id"] for each in listed}) == _PEOPLE
    assert len({each["new_send_id"] for each in listed if each["outcome"] == "sent"}) == _PEOPLE - 1
