"""Dead letters on a real broker: found, put back as they were, and taken once by the roles."""

import json
from base64 import b64encode
from typing import Any
from uuid import uuid4

import pytest

from app.config import Settings
from app.domain.ids import positioned_notification_id
from app.domain.partition import partition_of
from app.store.publisher import KafkaPublisher
from schemas import topics
from tests.conftest import eventually
from tests.integration.gateway.conftest import PARTITIONS, Caller, watched

pytestmark = pytest.mark.usefixtures("workers")


async def letters_of(gateway: Caller, key: bytes, count: int) -> list[dict[str, Any]]:
    """The letters of a record's key, newest first, once there are so many."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found.clear()
        reply = await gateway.key("ops")("GET", "/v1/dead", query={"topic": topics.EVENTS, "limit": "500"})
        found.extend(each for each in reply.document["letters"] if each["key"] == b64encode(key).decode())
        return len(found) >= count

    await eventually(there, 60)
    return found


async def events_of(gateway: Caller, notification_id: str) -> list[str]:
    reply = await gateway.key("ops")("GET", f"/v1/notifications/{notification_id}/events")
    return [event["status"] for event in reply.document["events"]] if reply.status == 200 else []


async def test_letters_go_back_as_they_were_and_are_taken_once(
    gateway: Caller, producer: KafkaPublisher, settings: Settings
) -> None:
    user = f"redriven-{uuid4()}".encode()
    # Refused for want of a template, until there is one.
    said = {"user_id": user.decode(), "event_type": "nothing.known", "template_id": "later", "channels": ["in_app"]}
    value = json.dumps({**said, "template_id": None}).encode()
    home = partition_of(user, PARTITIONS)
    _, offset = await producer.publish(topics.EVENTS, user, value, headers=[("trace", b"1")])
    [letter] = await letters_of(gateway, user, 1)
    ops = gateway.key("ops")
    dry = await ops("POST", "/v1/dead/redrive", {"ids": [letter["id"]], "dry_run": True})
    async with watched(settings, topics.EVENTS) as records:
        first = await ops("POST", "/v1/dead/redrive", {"ids": [letter["id"]]})
        [record] = await records(1)
    two = await letters_of(gateway, user, 2)

    assert (dry.status, dry.document["would"]) == (200, {"accepted": 0, "expired": 0, "dead": 1})
    assert (first.status, first.document["redriven"]) == (202, 1)
    assert (record.key, record.value, record.partition) == (user, value, home)
    assert record.timestamp == letter["timestamp"]
    assert record.headers[0] == ("trace", b"1")
    assert two[0]["first"] == letter["id"]
    assert two[1]["redriven"]["to"] == f"{topics.EVENTS}:{home}:{record.offset}"
    assert "redriven" not in two[0]

    # Corrected, put back twice more, and once by hand: one notification, under the id of its first place.
    corrected = json.dumps({**said, "template_id": None, "content": {"title": "t", "body": "b"}}).encode()
    edited = {"key": b64encode(user).decode(), "value": b64encode(corrected).decode()}
    async with watched(settings, topics.EVENTS) as records:
        done = await ops("POST", "/v1/dead/redrive", {"ids": [two[0]["id"]], "edited": edited})
        [again] = await records(1)
    assert done.status == 202, done.document
    for _ in range(2):
        await producer.publish(
            topics.EVENTS,
            again.key,
            again.value,
            partition=again.partition,
            headers=again.headers,
            timestamp_ms=again.timestamp,
        )
    notification_id = positioned_notification_id(topics.EVENTS, home, offset)

    async def is_sent() -> bool:
        return "sent" in await events_of(gateway, notification_id)

    await eventually(is_sent, 60)
    last = await producer.publish(topics.EVENTS, user, value)  # (what is behind it has been read, too)
    await letters_of(gateway, user, 3)
    assert last[0] == home
    assert (await events_of(gateway, notification_id)).count("accepted") == 1
    refused = await ops("POST", "/v1/dead/redrive", {"ids": [letter["id"], two[0]["id"], "0-99999999"]})
    assert (refused.document["redriven"], len(refused.document["refused"])) == (0, 2)  # (two letters of one place)


async def test_letters_are_found_by_what_they_are(gateway: Caller, producer: KafkaPublisher) -> None:
    user = f"found-{uuid4()}".encode()
    for number in range(5):
        await producer.publish(topics.EVENTS, user, json.dumps({"user_id": user.decode(), "n": number}).encode())
    letters = await letters_of(gateway, user, 5)
    ops = gateway.key("ops")
    first, last = letters[-1]["at"], letters[0]["at"]
    asked = {"field": "event_type", "from": first, "to": "2199-01-01T00:00:00Z", "topic": topics.EVENTS}
    pages: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await ops("GET", "/v1/dead", query={**asked, "limit": "2", **cursor})).document
        pages += [each["id"] for each in page["letters"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    dry = await ops("POST", "/v1/dead/redrive", {**asked, "dry_run": True})
    none = await ops("POST", "/v1/dead/redrive", {**asked, "reason": "of nobody's"})

    assert first <= last
    assert set(pages) >= {each["id"] for each in letters}
    assert len(set(pages)) == len(pages)
    assert dry.document["would"]["dead"] >= 5
    assert none.document == {"matched": 0, "redriven": 0, "refused": [], "left_out": 0}
