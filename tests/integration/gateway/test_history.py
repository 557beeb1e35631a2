"""What became of a notification, from the gateway to the router, the inbox, ClickHouse and back."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import eventually
from tests.integration.gateway.conftest import Caller

pytestmark = pytest.mark.usefixtures("workers")


async def told(gateway: Caller, user_id: str, key: str = "shop", **fields: Any) -> str:
    """Sends something to the user's inbox; its id, once all of it has ended."""
    request = {
        "user_id": user_id,
        "event_type": "note.made",
        "content": {"title": "Hello", "body": "World"},
        "channels": ["in_app"],
        **fields,
    }
    reply = await gateway.key(key)("POST", "/v1/notifications", request)
    assert reply.status == 202, reply.document
    notification_id: str = reply.document["notification_id"]

    async def is_done() -> bool:
        status = await gateway.key(key)("GET", f"/v1/notifications/{notification_id}")
        return status.status == 200 and status.document["status"] == "done"

    await eventually(is_done)
    return notification_id


async def test_a_notification_is_known_by_its_counts_its_events_and_its_reasons(gateway: Caller) -> None:
    notification_id = await told(gateway, "hana")
    shop = gateway.key("shop")
    status = (await shop("GET", f"/v1/notifications/{notification_id}")).document
    events = (await shop("GET", f"/v1/notifications/{notification_id}/events?user_id=hana")).document
    why = (await shop("GET", f"/v1/notifications/{notification_id}/why?user_id=hana")).document

    assert (status["notification_id"], status["recipients"]) == (notification_id, 1)
    assert (status["delivery"]["in_app"]["sent"], status["delivery"]["in_app"]["pending"]) == (1, 0)
    assert [event["status"] for event in events["events"]] == ["accepted", "queued", "sending", "sent"]
    assert events["next_cursor"] is None
    assert why["summary"] == "Sent by in_app."
    assert why["channels"]["in_app"]["outcome"] == "sent"
    assert {"rule", "input", "answer", "words"} == set(why["channels"]["in_app"]["trail"][0])


async def test_events_come_in_pages(gateway: Caller) -> None:
    notification_id = await told(gateway, "page")
    shop = gateway.key("shop")
    seen: list[str] = []
    path = f"/v1/notifications/{notification_id}/events?limit=3"
    first = (await shop("GET", path)).document
    second = (await shop("GET", f"{path}&cursor={first['next_cursor']}")).document
    seen = [event["status"] for event in first["events"] + second["events"]]

    assert seen == ["accepted", "queued", "sending", "sent"]
    assert second["next_cursor"] is None


async def test_why_tells_who_switched_it_off(gateway: Caller) -> None:
    await gateway.user("wim")("PUT", "/v1/users/wim/preferences", {"channels": {"in_app": False}})
    notification_id = await told(gateway, "wim")
    why = await gateway.key("ops")("GET", f"/v1/notifications/{notification_id}/why?user_id=wim")

    assert why.document["channels"]["in_app"]["reason"] == "opted_out"
    assert why.document["summary"].startswith("Not sent by in_app: the user turned it off")


async def test_the_same_again_without_a_key_is_a_duplicate(gateway: Caller) -> None:
    first, second = await told(gateway, "dora"), await told(gateway, "dora")
    events = (await gateway.key("shop")("GET", f"/v1/notifications/{second}/events")).document["events"]

    assert first != second
    assert [(event["status"], event["reason"]) for event in events] == [
        ("accepted", None),
        ("suppressed", "duplicate"),
    ]
    assert events[-1]["detail"]["of"] == first


@pytest.mark.parametrize("view", ["", "/events", "/why?user_id=sam"])
async def test_a_service_sees_only_what_it_has_sent(gateway: Caller, view: str) -> None:
    notification_id = await told(gateway, "sam")
    path = f"/v1/notifications/{notification_id}{view}"

    assert (await gateway.key("shop")("GET", path)).status == 200
    assert (await gateway.key("auth")("GET", path)).status == 403
    assert (await gateway.key("ops")("GET", path)).status == 200


@pytest.mark.parametrize("name", ["0f8fad5b-d9cb-469f-a165-70867728950e", "nonsense"])
async def test_what_nobody_sent_is_404(gateway: Caller, name: str) -> None:
    assert (await gateway.key("shop")("GET", f"/v1/notifications/{name}")).status == 404


@pytest.mark.parametrize(
    ("query", "field"), [("cursor=x", "cursor"), ("limit=0", "limit"), ("limit=x", "limit"), ("limit=1001", "limit")]
)
async def test_parameters_that_can_not_be_name_themselves(gateway: Caller, query: str, field: str) -> None:
    notification_id = await told(gateway, "param")
    reply = await gateway.key("shop")("GET", f"/v1/notifications/{notification_id}/events?{query}")

    assert (reply.status, reply.document["field"]) == (400, field)


async def test_the_inbox_shows_what_came_and_forgets_nothing_of_how_it_was_marked(gateway: Caller) -> None:
    ida = gateway.user("ida")
    older, newer = await told(gateway, "ida"), await told(gateway, "ida", data={"n": 1})
    inbox = (await ida("GET", "/v1/users/ida/inbox")).document
    read = await ida("POST", f"/v1/users/ida/inbox/{newer}/read")
    count = (await ida("GET", "/v1/users/ida/inbox/count")).document
    unread = (await ida("GET", "/v1/users/ida/inbox?unread=true")).document
    everything = await ida("POST", "/v1/users/ida/inbox/read-all")
    left = (await ida("GET", "/v1/users/ida/inbox/count")).document

    assert [item["id"] for item in inbox["notifications"]] == [newer, older]
    assert (inbox["unread_count"], inbox["notifications"][0]["data"]) == (2, {"n": 1})
    assert (read.status, count) == (204, {"unread": 1, "unseen": 1})
    assert [item["id"] for item in unread["notifications"]] == [older]
    assert (everything.status, left) == (204, {"unread": 0, "unseen": 0})


async def test_the_inbox_comes_in_pages(gateway: Caller) -> None:
    pia = gateway.user("pia")
    sent = [await told(gateway, "pia", data={"n": n}) for n in range(3)]
    first = (await pia("GET", "/v1/users/pia/inbox?limit=2")).document
    second = (await pia("GET", f"/v1/users/pia/inbox?limit=2&cursor={first['next_cursor']}")).document

    assert [item["id"] for item in first["notifications"] + second["notifications"]] == sent[::-1]
    assert second["next_cursor"] is None


async def test_an_empty_inbox_is_an_answer(gateway: Caller) -> None:
    reply = await gateway.user("nobody")("GET", "/v1/users/nobody/inbox")

    empty = {"notifications": [], "unread_count": 0, "next_cursor": None, "last_event_id": "0"}
    assert (reply.status, reply.document) == (200, empty)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "cursor=x", "unread=perhaps"])
async def test_an_inbox_page_that_can_not_be_names_the_parameter(gateway: Caller, query: str) -> None:
    reply = await gateway.user("ida")("GET", f"/v1/users/ida/inbox?{query}")

    assert (reply.status, reply.document["field"]) == (400, query.split("=")[0])


async def test_unknown_marks_are_404(gateway: Caller) -> None:
    assert (await gateway.user("ida")("POST", f"/v1/users/ida/inbox/{uuid4()}/burnt")).status == 404


async def test_a_query_reads_and_only_reads(gateway: Caller) -> None:
    notification_id = await told(gateway, "quentin")
    ops = gateway.key("ops")
    sql = f"SELECT status FROM notifications WHERE notification_id = '{notification_id}'"
    rows = await ops("GET", "/v1/query", query={"sql": sql})
    bound_sql = "SELECT status FROM notifications WHERE notification_id = {id:String}"
    bound = await ops("GET", "/v1/query", query={"sql": bound_sql, "param_id": notification_id})
    unbound = await ops("GET", "/v1/query", query={"sql": bound_sql})
    written = await ops("GET", "/v1/query", query={"sql": "DROP TABLE lifecycle"})
    wrong = await ops("GET", "/v1/query", query={"sql": "SELECT nonsense FROM notifications"})
    none = await ops("GET", "/v1/query")

    assert (rows.status, rows.document["columns"], rows.document["rows"]) == (200, ["status"], [["sent"]])
    assert bound.document == rows.document
    assert [(reply.status, reply.document["field"]) for reply in (written, wrong, unbound, none)] == [
        (422, "sql"),
        (422, "sql"),
        (422, "sql"),
        (400, "sql"),
    ]
    assert (await gateway.key("shop")("GET", "/v1/query", query={"sql": sql})).status == 403


async def test_a_record_that_can_not_be_taken_is_among_the_dead_letters(gateway: Caller, producer: Any) -> None:
    value = json.dumps({"user_id": "dede", "event_type": "not one"}).encode()
    await producer.publish("notify_events", b"dede", value)

    async def is_told() -> bool:
        letters = (await gateway.key("ops")("GET", "/v1/dead?limit=10")).document["letters"]
        return any(letter["field"] == "event_type" and letter["topic"] == "notify_events" for letter in letters)

    await eventually(is_told)
    assert (await gateway.key("shop")("GET", "/v1/dead")).status == 403
