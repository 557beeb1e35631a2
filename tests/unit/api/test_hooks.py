"""The routes of outbound webhooks: whose they are, what is refused, and that a secret is shown once."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.test_hostile_calls import KEY, NEW_ID, gateway

AUTHORIZATION = {"Authorization": f"Bearer {KEY}"}
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


async def post(client: Any, body: dict[str, Any]) -> tuple[int, Any]:
    response = await client.post("/v1/hooks", headers=AUTHORIZATION, json=body)
    return response.status, await response.json()


async def test_a_hook_is_made_listed_without_its_secret_and_deleted() -> None:
    async with gateway() as (client, _):
        asked = {"url": "https://example.com/hooks", "statuses": ["sent", "failed", "sent"], "secret": SECRET}
        status, made = await post(client, asked)
        assert status == 201
        assert made == {"id": NEW_ID, "url": asked["url"], "statuses": ["sent", "failed"], "secret": SECRET}

        listed = await (await client.get("/v1/hooks", headers=AUTHORIZATION)).json()
        [hook] = listed["hooks"]
        assert hook["id"] == NEW_ID
        assert (hook["source"], hook["disabled"], hook["replay"]) == ("shop", None, None)
        assert SECRET not in str(listed)

        assert (await client.delete(f"/v1/hooks/{NEW_ID}", headers=AUTHORIZATION)).status == 204
        assert (await (await client.get("/v1/hooks", headers=AUTHORIZATION)).json()) == {"hooks": []}
        assert (await client.delete(f"/v1/hooks/{NEW_ID}", headers=AUTHORIZATION)).status == 404


async def test_the_pages_call_makes_a_hook_once_its_host_is_allowed() -> None:
    page = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text()
    [command] = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "/v1/hooks -H" in block]
    body, shown = (json.loads(text) for text in re.findall(r"-d '({.*?})'\n# ({.*?})\n", command)[0])
    [hosts] = re.findall(r"TOCSIN_HOOKS__ALLOW_HOSTS='(\[.*?\])'", page)

    async with gateway() as (client, _):
        assert (await post(client, body))[0] == 422
    async with gateway(hook_hosts=frozenset(json.loads(hosts))) as (client, _):
        status, made = await post(client, body)

    assert status == 201
    assert made.keys() == shown.keys()
    assert (made["url"], made["statuses"]) == (shown["url"], shown["statuses"])


async def test_what_is_left_out_is_all_statuses_and_a_secret_of_ours() -> None:
    async with gateway() as (client, _):
        status, made = await post(client, {"url": "https://example.com/hooks"})
        assert status == 201
        assert made["secret"].startswith("whsec_")
        assert len(base64.b64decode(made["secret"].removeprefix("whsec_"))) >= 24
        assert "sent" in made["statuses"]
        assert "device_retired" not in made["statuses"]


@pytest.mark.parametrize(
    ("given", "expected", "field"),
    [
        ({"url": "https://127.0.0.1/x"}, 422, "url"),
        ({"url": "http://example.com/x"}, 422, "url"),
        ({"url": "x"}, 400, "url"),
        ({"url": None}, 400, "url"),
        ({"statuses": []}, 400, "statuses"),
        ({"statuses": ["delivered", "lost"]}, 400, "statuses"),
        ({"statuses": ["device_retired"]}, 422, "statuses"),
        ({"secret": "secret"}, 400, "secret"),
        ({"secret": "whsec_" + base64.b64encode(b"k" * 8).decode()}, 400, "secret"),
    ],
)
async def test_what_is_refused_names_its_field(given: dict[str, Any], expected: int, field: str) -> None:
    async with gateway() as (client, log):
        status, problem = await post(client, {"url": "https://example.com/hooks", **given})

        assert (status, problem["field"]) == (expected, field)
        assert log.audit.entries == []


@pytest.mark.parametrize(
    ("span", "expected", "field"),
    [
        ({"from": "2026-03-04T11:00:00Z", "to": "2026-03-04T11:00:00Z"}, 422, "to"),
        ({"from": "2199-03-04T11:00:00Z", "to": "2199-03-04T12:00:00Z"}, 422, "from"),
        ({"from": "yesterday", "to": "2026-03-04T11:00:00Z"}, 400, "from"),
        ({"from": "2026-03-04T11:00:00Z"}, 400, "to"),
    ],
)
async def test_a_replay_needs_a_time_that_was(span: dict[str, str], expected: int, field: str) -> None:
    async with gateway() as (client, _):
        response = await client.post(f"/v1/hooks/{NEW_ID}/replay", headers=AUTHORIZATION, json=span)

        assert (response.status, (await response.json())["field"]) == (expected, field)
