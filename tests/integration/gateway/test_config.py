"""Templates and the policy: written, in force, and gone back to."""

import asyncio
from typing import Any

import pytest
import yaml

from tests.conftest import eventually
from tests.integration.gateway.conftest import Caller

pytestmark = pytest.mark.usefixtures("workers")

SMS = {"sms": {"en": {"body": "Hello {{ name }}"}}}
POLICY = """
categories:
  other: {channels: [in_app]}
event_types:
  greeting: {template: %s}
"""


async def made(gateway: Caller, template_id: str, channels: Any = SMS) -> None:
    reply = await gateway.key("ops")("POST", "/v1/templates", {"id": template_id, "channels": channels})
    assert reply.status == 201, reply.document


async def test_a_template_is_made_changed_shown_and_gone_back_to(gateway: Caller) -> None:
    ops, path = gateway.key("ops"), "/v1/templates/hello"
    await made(gateway, "hello")
    changed = await ops("PUT", path, {"channels": {"sms": {"en": {"body": "Hi {{ name }}"}}}})
    shown = await ops("POST", f"{path}/preview", {"data": {"name": "Ada"}})
    back = await ops("POST", f"{path}/rollback", {"version": 1})
    versions = (await ops("GET", f"{path}/versions")).document["versions"]

    assert (changed.status, changed.document["version"]) == (200, 2)
    assert shown.document == {"version": 2, "channels": {"sms": {"body": "Hi Ada"}}, "segments": 1}
    assert (back.status, back.document["version"], back.document["channels"]) == (200, 3, SMS)
    assert [version["version"] for version in versions] == [1, 2, 3]
    assert (await ops("GET", path)).document == back.document


async def test_a_template_that_is_gone_is_unknown_and_can_be_made_again(gateway: Caller) -> None:
    ops = gateway.key("ops")
    await made(gateway, "gone")
    deleted = await ops("DELETE", "/v1/templates/gone")
    read = await ops("GET", "/v1/templates/gone")
    refused = await gateway.key("shop")(
        "POST", "/v1/notifications", {"user_id": "ada", "event_type": "x", "template_id": "gone"}
    )
    again = await ops("PUT", "/v1/templates/gone", {"channels": SMS})

    assert (deleted.status, read.status) == (204, 404)
    assert (refused.status, refused.document["field"]) == (422, "template_id")
    assert (again.status, again.document["version"]) == (201, 3)


async def test_a_template_is_made_once(gateway: Caller) -> None:
    await made(gateway, "once")
    reply = await gateway.key("ops")("POST", "/v1/templates", {"id": "once", "channels": SMS})

    assert (reply.status, reply.document["field"]) == (409, "id")


@pytest.mark.parametrize(
    ("template", "status", "field"),
    [
        ({"id": "t"}, 400, "channels"),
        ({"id": "t", "channels": {}}, 422, "channels"),
        ({"id": "t", "channels": {"pigeon": {}}}, 400, "channels"),
        ({"id": "t", "channels": {"sms": {"en": {}}}}, 422, "channels.sms.en.body"),
        ({"id": "t", "channels": {"sms": {"en": {"body": "{{ unclosed"}}}}, 422, "channels.sms.en.body"),
    ],
)
async def test_a_template_that_can_not_be_names_its_part(
    gateway: Caller, template: dict[str, Any], status: int, field: str
) -> None:
    reply = await gateway.key("ops")("POST", "/v1/templates", template)

    assert (reply.status, reply.document.get("field")) == (status, field)


async def test_templates_are_for_admins(gateway: Caller) -> None:
    assert (await gateway.key("shop")("GET", "/v1/templates")).status == 403
    assert (await gateway.user("ada")("PUT", "/v1/policy", {})).status == 403


@pytest.mark.usefixtures("policy_changes")
async def test_a_policy_is_in_force_when_every_running_router_has_it(gateway: Caller) -> None:
    ops = gateway.key("ops")
    await made(gateway, "greeting_text")
    text = POLICY % "greeting_text"
    before = (await ops("GET", "/v1/policy")).document["version"]
    written = await ops("PUT", "/v1/policy", text.encode(), Content_Type="application/yaml")

    async def is_in_force() -> bool:
        return bool((await ops("GET", "/v1/policy")).document["in_force"])

    await eventually(is_in_force)
    document = (await ops("GET", "/v1/policy")).document
    named = await ops("DELETE", "/v1/templates/greeting_text")

    assert (written.status, written.document["version"]) == (200, before + 1)
    assert document == {
        "version": before + 1,
        "in_force": True,
        "waiting_for": [],
        "policy": yaml.safe_load(text),
    }
    assert (named.status, named.document["field"]) == (422, "id")


@pytest.mark.usefixtures("policy_changes")
async def test_every_policy_that_was_applied_is_kept_with_its_version(gateway: Caller) -> None:
    ops, path = gateway.key("ops"), "/v1/policy/versions"
    texts = [f"categories: {{of_version_{number}: {{channels: [in_app]}}}}" for number in range(3)]
    written = [
        (await ops("PUT", "/v1/policy", text.encode(), Content_Type="application/yaml")).document["version"]
        for text in texts
    ]
    first = (await ops("GET", f"{path}?limit=2")).document
    rest = (await ops("GET", f"{path}?cursor={first['next_cursor']}")).document
    shown = [(await ops("GET", f"{path}/{number}")).document for number in written]
    as_yaml = await ops("GET", f"{path}/{written[0]}", Accept="application/yaml")
    log = (await ops("GET", "/v1/audit-log?action=policy.put&limit=1")).document["entries"]

    assert [each["version"] for each in first["versions"]] == written[:0:-1]
    assert [each["version"] for each in rest["versions"]] == list(range(written[0], -1, -1))
    assert rest["next_cursor"] is None
    assert [each["policy"] for each in shown] == [yaml.safe_load(text) for text in texts]
    assert yaml.safe_load(as_yaml.document)["policy"] == shown[0]["policy"]
    assert shown[-1]["sha256"] == first["versions"][0]["sha256"]
    assert log[0]["what"].endswith(shown[-1]["sha256"])


@pytest.mark.parametrize("number", ["x", "-1", "00", "1e3", "9" * 400, "99999"])
async def test_a_version_of_the_policy_that_is_none_is_unknown(gateway: Caller, number: str) -> None:
    ops = gateway.key("ops")

    assert (await ops("GET", f"/v1/policy/versions/{number}")).status == 404
    reply = await ops("GET", f"/v1/policy/versions?cursor={number}x")
    assert (reply.status, reply.document["field"]) == (400, "cursor")


async def test_a_policy_is_read_as_yaml_by_whoever_asks_for_it(gateway: Caller) -> None:
    reply = await gateway.key("ops")("GET", "/v1/policy", Accept="application/yaml")

    assert reply.headers["Content-Type"].startswith("application/yaml")
    assert yaml.safe_load(reply.document)["policy"]


@pytest.mark.parametrize(
    ("text", "status", "field"),
    [
        ("categories: [", 400, "body"),
        ("categories: {other: {channels: [pigeon]}}", 422, "categories.other.channels[0]"),
        (POLICY % "nonsense", 422, "event_types.greeting.template"),
    ],
)
async def test_a_policy_that_can_not_be_names_line_path_and_remedy(
    gateway: Caller, text: str, status: int, field: str | None
) -> None:
    ops = gateway.key("ops")
    before = (await ops("GET", "/v1/policy")).document["version"]
    checked = await ops("POST", "/v1/policy/validate", text.encode(), Content_Type="application/yaml")
    written = await ops("PUT", "/v1/policy", text.encode(), Content_Type="application/yaml")

    assert [(reply.status, reply.document.get("field")) for reply in (checked, written)] == [(status, field)] * 2
    assert (await ops("GET", "/v1/policy")).document["version"] == before
    if status == 422:
        assert {"line", "path", "message", "remedy"} == set(checked.document["errors"][0])


async def test_a_policy_is_checked_without_being_written(gateway: Caller) -> None:
    ops = gateway.key("ops")
    before = (await ops("GET", "/v1/policy")).document["version"]
    reply = await ops("POST", "/v1/policy/validate", {"categories": {"other": {"channels": ["in_app"]}}})

    assert (reply.status, reply.document) == (200, {"valid": True})
    assert (await ops("GET", "/v1/policy")).document["version"] == before


#: The loop's while a call comes and goes whose work blocks it.
_TURNS_OF_A_CALL = 20


async def test_a_large_policy_is_checked_while_others_are_served(gateway: Caller) -> None:
    event_types = {f"shop.{n:05d}.{'x' * 30}": {"category": "other", "priority": "low"} for n in range(2_500)}
    policy = yaml.safe_dump({"categories": {"other": {"channels": ["in_app"]}}, "event_types": event_types}).encode()
    ops, turns = gateway.key("ops"), 0
    checking = asyncio.create_task(ops("POST", "/v1/policy/validate", policy, Content_Type="application/yaml"))
    while not checking.done():  # the gateway runs in this very loop
        await asyncio.sleep(0.001)
        turns += 1

    assert checking.result().status == 200, checking.result().document
    assert turns > _TURNS_OF_A_CALL
