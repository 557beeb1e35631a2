"""Notifications over HTTP, as they lie in the log afterwards."""

import json
from typing import Any

import pytest

from app.config import Settings
from app.domain.ids import keyed_notification_id
from app.domain.partition import partition_of
from schemas.commands import NotificationCancel, read_command
from schemas.topics import COMMANDS, EVENT_TOPICS, EVENTS, EVENTS_BULK, EVENTS_CRITICAL
from tests.conftest import eventually
from tests.integration.gateway.conftest import PARTITIONS, Caller, OwnBroker, watched

CONTENT = {"title": "Hello", "body": "World"}


def request(**fields: Any) -> dict[str, Any]:
    return {"user_id": "ada", "event_type": "order.shipped", "content": CONTENT, **fields}


async def test_an_accepted_notification_is_in_the_log_once_for_each_recipient(
    gateway: Caller, settings: Settings
) -> None:
    async with watched(settings, *EVENT_TOPICS) as records:
        body = {**request(user_ids=["ada", "bob", "ada"]), "user_id": None}
        reply = await gateway.key("shop")("POST", "/v1/notifications", body, Idempotency_Key="order-7")
        read = await records(2)

    expected_id = keyed_notification_id("shop", "order-7")
    assert (reply.status, reply.document) == (
        202,
        {"notification_id": expected_id, "status": "accepted", "recipients": 2},
    )
    assert sorted(record.key for record in read) == [b"ada", b"bob"]
    for record in read:
        assert record.topic == EVENTS
        assert record.partition == partition_of(record.key, PARTITIONS)
        assert json.loads(record.value)["source"] == "shop"


async def test_the_same_key_again_has_the_same_answer(gateway: Caller) -> None:
    first = await gateway.key("shop")("POST", "/v1/notifications", request(idempotency_key="k"))
    second = await gateway.key("shop")("POST", "/v1/notifications", request(idempotency_key="k"))

    assert (first.status, first.document) == (second.status, second.document)


async def test_the_same_key_of_another_source_is_another_notification(gateway: Caller) -> None:
    replies = [
        await gateway.key(name)("POST", "/v1/notifications", request(idempotency_key="k")) for name in ("shop", "auth")
    ]

    assert len({reply.document["notification_id"] for reply in replies}) == 2


async def test_lanes_keep_urgent_and_bulk_apart(gateway: Caller, settings: Settings) -> None:
    async with watched(settings, *EVENT_TOPICS) as records:
        for priority in ("critical", "low"):
            await gateway.key("auth")("POST", "/v1/notifications", request(priority=priority))
        read = await records(2)

    assert {record.topic for record in read} == {EVENTS_CRITICAL, EVENTS_BULK}


async def test_bulk_answers_in_order_and_refuses_one_by_one(gateway: Caller, settings: Settings) -> None:
    wanted = [request(idempotency_key="a"), {"event_type": "x"}, request(template_id="nonsense", content=None)]
    async with watched(settings, *EVENT_TOPICS) as records:
        reply = await gateway.key("shop")("POST", "/v1/notifications/bulk", {"requests": [*wanted, request()]})
        read = await records(2)

    assert reply.status == 202
    results = reply.document["results"]
    assert [result["status"] for result in results] == ["accepted", 400, 422, "accepted"]
    assert [result.get("field") for result in results] == [None, "user_id", "template_id", None]
    assert len(read) == 2


@pytest.mark.parametrize("requests", [[], [request()] * 1001, "x", None])
async def test_bulk_takes_one_to_a_thousand_requests(gateway: Caller, requests: Any) -> None:
    reply = await gateway.key("shop")("POST", "/v1/notifications/bulk", {"requests": requests})

    assert (reply.status, reply.document["field"]) == (400, "requests")


async def test_a_body_beyond_the_limit_is_413(gateway: Caller) -> None:
    reply = await gateway.key("shop")("POST", "/v1/notifications", b" " * ((1 << 20) + 1))

    assert reply.status == 413
    assert reply.headers["Content-Type"].startswith("application/problem+json")


async def test_problems_say_type_title_status_detail_and_field(gateway: Caller) -> None:
    reply = await gateway.key("shop")("POST", "/v1/notifications", request(event_type="not one"))

    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert reply.document.pop("detail")
    assert reply.document == {"type": "about:blank", "title": "Bad Request", "status": 400, "field": "event_type"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/v1/notifications", 405)])
async def test_what_is_not_served_is_a_problem_too(gateway: Caller, method: str, path: str, status: int) -> None:
    reply = await gateway.key("shop")(method, path)

    assert (reply.status, reply.document["status"]) == (status, status)


async def test_cancelling_goes_to_every_partition_as_one_command_of_this_source(
    gateway: Caller, settings: Settings
) -> None:
    notification_id = "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"
    async with watched(settings, COMMANDS) as records:
        reply = await gateway.key("shop")("DELETE", f"/v1/notifications/{notification_id}")
        read = await records(PARTITIONS)

    assert reply.status == 202
    assert sorted(record.partition for record in read) == list(range(PARTITIONS))
    assert {record.key for record in read} == {None}
    [value] = {record.value for record in read}
    command = read_command(value)
    assert isinstance(command, NotificationCancel)
    assert (command.notification_id, command.source, command.user_id) == (notification_id, "shop", None)


async def test_an_origin_that_is_allowed_may_call_from_a_browser(gateway: Caller) -> None:
    asked = await gateway(
        "OPTIONS", "/v1/notifications", Origin="https://shop.example", Access_Control_Request_Method="POST"
    )
    stranger = await gateway.key("shop")("GET", "/openapi.json", Origin="https://evil.example")

    assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (204, "https://shop.example")
    assert "Access-Control-Allow-Origin" not in stranger.headers


async def test_nothing_is_accepted_while_the_log_does_not_acknowledge(gateway: Caller, broker: OwnBroker) -> None:
    shop = gateway.key("shop")
    assert (await shop("POST", "/v1/notifications", request())).status == 202

    with broker.frozen():
        refused = await shop("POST", "/v1/notifications", request(idempotency_key="while away"))

    async def is_accepted() -> bool:
        return (await shop("POST", "/v1/notifications", request(idempotency_key="while away"))).status == 202

    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    await eventually(is_accepted)
