"""The control port: looking things up, and making the sandbox misbehave."""

import aiohttp
import pytest

from tests.contract.sandbox import clients
from tests.contract.sandbox.clients import new_id, push
from tests.contract.sandbox.process import RunningSandbox


async def test_messages_are_found_by_what_names_them_and_page_by_page(sandbox: RunningSandbox) -> None:
    sends = [new_id() for _ in range(5)]
    async with clients.apns(sandbox) as client:
        for send_id in sends:
            await client.send_notification(push(send_id, "ef" * 32, notification_id="n-5"))

    of_notification = await sandbox.accepted(notification_id="n-5", provider="apns", address="ef" * 32)
    assert [message["send_id"] for message in of_notification] == sends
    _, first = await sandbox.request("GET", "/accepted", params={"notification_id": "n-5", "limit": 3})
    _, rest = await sandbox.request("GET", "/accepted", params={"notification_id": "n-5", "after": first["next_after"]})
    assert [message["send_id"] for message in first["accepted"] + rest["accepted"]] == sends
    assert rest["next_after"] is None
    newest = await sandbox.accepted(notification_id="n-5", order="newest", limit=2)
    assert [message["send_id"] for message in newest] == [sends[4], sends[3]]


@pytest.mark.parametrize(
    ("field", "query"), [("limit", "limit=0"), ("after", "after=x"), ("order", "order=up"), ("colour", "colour=red")]
)
async def test_a_wrong_question_is_refused_with_the_fields_name(
    sandbox: RunningSandbox, field: str, query: str
) -> None:
    status, body = await sandbox.request("GET", f"/accepted?{query}")

    assert (status, body["field"]) == (400, field)


async def test_faults_are_listed_and_taken_back(sandbox: RunningSandbox) -> None:
    first = await sandbox.fault(provider="apns", action="error", code="Shutdown", times=2)
    second = await sandbox.fault(provider="ses", action="hang")
    async with clients.apns(sandbox) as client:
        result = await client.send_notification(push(new_id()))
    _, listed = await sandbox.request("GET", "/faults")

    assert (result.status, result.description) == ("503", "Shutdown")
    assert [(f["fault_id"], f["hits"]) for f in listed["faults"]] == [(first, 1), (second, 0)]
    assert await sandbox.request("DELETE", f"/faults/{first}") == (200, {"removed": 1})
    assert (await sandbox.request("DELETE", f"/faults/{first}"))[0] == 404
    assert await sandbox.request("DELETE", "/faults") == (200, {"removed": 1})


async def test_a_wrong_fault_is_refused_with_the_fields_name(sandbox: RunningSandbox) -> None:
    status, body = await sandbox.request(
        "POST", "/faults", json={"provider": "apns", "action": "error", "code": "Oops"}
    )

    assert (status, body["field"]) == (400, "code")
    assert "Unregistered" in body["error"]


async def test_counts_tell_calls_refusals_and_acceptances(sandbox: RunningSandbox) -> None:
    _, before = await sandbox.request("GET", "/stats")
    await sandbox.fault(provider="apns", action="error", code="IdleTimeout", times=1)
    async with clients.apns(sandbox) as client:
        await client.send_notification(push(new_id()))
        await client.send_notification(push(new_id()))
    _, after = await sandbox.request("GET", "/stats")

    nothing = {"calls": 0, "accepted": 0, "refused": {}}
    was, now = before["providers"].get("apns", nothing), after["providers"]["apns"]
    assert (now["calls"] - was["calls"], now["accepted"] - was["accepted"]) == (2, 1)
    assert now["refused"]["IdleTimeout"] - was["refused"].get("IdleTimeout", 0) == 1
    assert after["duplicates"] == before["duplicates"]


async def test_the_page_and_the_health_answer(sandbox: RunningSandbox) -> None:
    assert await sandbox.request("GET", "/health") == (
        200,
        {"status": "ok", "providers": ["apns", "fcm", "sendgrid", "ses", "sns", "twilio", "vonage", "webpush"]},
    )
    async with aiohttp.ClientSession() as session, session.get(sandbox.control_url) as answer:
        page = await answer.text()
    assert answer.content_type == "text/html"
    assert "Provider sandbox" in page
