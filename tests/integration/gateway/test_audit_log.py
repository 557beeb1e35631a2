"""The audit log on a real broker: entered before the change, read back in pages."""

import asyncio
from typing import Any

from app.config import Settings
from schemas.topics import AUDIT_LOG, CONFIG
from tests.integration.gateway.conftest import Caller, OwnBroker, watched

SMS = {"sms": {"en": {"body": "Hello"}}}


async def pages(gateway: Caller, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        reply = await gateway.key("ops")("GET", "/v1/audit-log", query={**query, **cursor})
        assert reply.status == 200, reply.document
        found += reply.document["entries"]
        if reply.document["next_cursor"] is None:
            return found
        cursor = {"cursor": reply.document["next_cursor"]}


async def test_what_was_changed_is_read_back_page_by_page(gateway: Caller) -> None:
    ops = gateway.key("ops")
    for template_id in ("one", "two", "three"):
        await ops("PUT", f"/v1/templates/{template_id}", {"channels": SMS})
    await ops("DELETE", "/v1/templates/two")
    await ops("DELETE", "/v1/users/nobody-in-particular")

    entries = await pages(gateway, limit="2")
    deleted = await pages(gateway, action="template.delete", key_id="ops", limit="1")

    told = [(entry["action"], entry["what"].split(",")[0].split()[:2]) for entry in entries]
    assert [action for action, _ in told[:5]] == ["user.erase", "template.delete", *["template.put"] * 3]
    assert [what for _, what in told[1:5]] == [["template", name] for name in ("two", "three", "two", "one")]
    assert [entry["what"] for entry in deleted] == ["template two, after version 1"]
    assert {entry["key_id"] for entry in entries} == {"ops"}
    assert await pages(gateway, to="2020-01-01T00:00:00Z") == []
    assert await pages(gateway, **{"from": "2100-01-01T00:00:00Z"}) == []
    assert await pages(gateway, **{"from": entries[-1]["at"]}) == entries


async def test_the_entry_is_in_the_log_before_the_change(gateway: Caller, settings: Settings) -> None:
    async with watched(settings, AUDIT_LOG, CONFIG) as records:
        await gateway.key("ops")("PUT", "/v1/templates/ordered", {"channels": SMS})
        written = await records(3)

    [entered] = [record.timestamp for record in written if record.topic == AUDIT_LOG]
    assert all(entered <= record.timestamp for record in written if record.topic == CONFIG)


async def test_while_the_log_does_not_answer_a_change_is_refused(gateway: Caller, broker: OwnBroker) -> None:
    with broker.frozen():
        asked = asyncio.create_task(gateway.key("ops")("PUT", "/v1/templates/frozen", {"channels": SMS}))
        reply = await asked
    shown = await gateway.key("ops")("GET", "/v1/templates/frozen")

    assert (reply.status, shown.status) == (503, 404)
    assert "audit log" in reply.document["detail"]
