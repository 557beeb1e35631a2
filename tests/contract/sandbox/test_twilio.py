"""Twilio as its official asynchronous client finds it."""

import asyncio
import json
from typing import Any

import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from tests.conftest import eventually
from tests.contract.sandbox import clients
from tests.contract.sandbox.clients import new_id
from tests.contract.sandbox.process import RunningSandbox

pytestmark = clients.TWILIO_WARNINGS

FROM = "+15005550006"


def sms(send_id: str, to: str = "+14155550123", body: str = "Boarding", **more: Any) -> dict[str, Any]:
    callback = f"https://tocsin.example/cb?send_id={send_id}&notification_id=n-1&attempt=2"
    return {"to": to, "from_": FROM, "body": body, "status_callback": callback, **more}


async def refusal(client: Client, **changes: Any) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as refused:
        await client.messages.create_async(**sms(new_id(), **changes))
    return refused.value


async def test_an_accepted_message_is_shown(sandbox: RunningSandbox) -> None:
    send_id = new_id()
    async with clients.twilio(sandbox) as client:
        message = await client.messages.create_async(**sms(send_id))

    assert (message.status, message.num_segments, message.date_sent) == ("queued", "1", None)
    (shown,) = await sandbox.accepted(send_id=send_id)
    assert (shown["provider_message_id"], shown["notification_id"]) == (message.sid, "n-1")
    assert (shown["address"], shown["body"], shown["attempt"]) == ("+14155550123", "Boarding", 2)


async def test_a_message_is_found_by_its_numbers_newest_first(sandbox: RunningSandbox) -> None:
    to = "+14155550177"
    async with clients.twilio(sandbox) as client:
        created = [await client.messages.create_async(**sms(new_id(), to, body=f"{n}")) for n in range(5)]
        found = await client.messages.list_async(to=to, from_=FROM, page_size=2)
        elsewhere = await client.messages.list_async(to="+14155550178", from_=FROM)

    assert [message.sid for message in found] == [message.sid for message in reversed(created)]
    assert [message.body for message in found] == ["4", "3", "2", "1", "0"]
    assert found[0].date_created == created[4].date_created
    assert elsewhere == []


async def test_a_message_is_fetched_by_its_sid(sandbox: RunningSandbox) -> None:
    async with clients.twilio(sandbox) as client:
        created = await client.messages.create_async(**sms(new_id()))
        fetched = await client.messages(created.sid).fetch_async()
        with pytest.raises(TwilioRestException) as unknown:
            await client.messages("SM" + "0" * 32).fetch_async()

    assert (fetched.sid, fetched.body, fetched.status) == (created.sid, "Boarding", "delivered")
    assert (unknown.value.status, unknown.value.code) == (404, 20404)


async def test_a_wrong_token_is_refused(sandbox: RunningSandbox) -> None:
    async with clients.twilio(sandbox, auth_token="wrong") as client:
        error = await refusal(client)

    assert (error.status, error.code) == (401, 20003)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (21211, {"to": "+15005550001"}),
        (21610, {"to": "+15005550004"}),
        (21606, {"from_": "+14155550100"}),
        (21617, {"body": "x" * 1601}),
        (21602, {"body": ""}),
    ],
)
async def test_a_wrong_message_gets_twilios_code(sandbox: RunningSandbox, code: int, changes: dict[str, Any]) -> None:
    async with clients.twilio(sandbox) as client:
        error = await refusal(client, **changes)

    assert (error.status, error.code) == (400, code)


async def test_an_unknown_parameter_is_refused(sandbox: RunningSandbox) -> None:
    settings = sandbox.providers["twilio"]
    async with clients.twilio(sandbox) as client:
        url = f"{settings['base_url']}/2010-04-01/Accounts/{settings['account_sid']}/Messages.json"
        form = {"To": "+14155550123", "From": FROM, "Body": "hello", "Colour": "red"}
        answer = await client.request_async("POST", url, data=form)

    assert (answer.status_code, json.loads(answer.text)["code"]) == (400, 20001)


async def test_asking_can_fail_while_sending_works(sandbox: RunningSandbox) -> None:
    await sandbox.fault(provider="twilio", operation="list", action="error", code="20429")
    async with clients.twilio(sandbox) as client:
        await client.messages.create_async(**sms(new_id()))
        with pytest.raises(TwilioException, match=r'HTTP 429 \{"code":20429'):
            await client.messages.list_async(to="+14155550123")


async def test_what_is_accepted_but_never_answered_is_found_by_asking(sandbox: RunningSandbox) -> None:
    send_id, to = new_id(), "+14155550199"
    await sandbox.fault(provider="twilio", action="accept_and_hang")

    async def is_accepted() -> bool:
        return bool(await sandbox.accepted(send_id=send_id))

    async with clients.twilio(sandbox) as client:
        waiting = asyncio.ensure_future(client.messages.create_async(**sms(send_id, to)))
        await eventually(is_accepted)
        (found,) = await client.messages.list_async(to=to, from_=FROM)

        assert not waiting.done()
        waiting.cancel()

    assert found.body == "Boarding"


async def test_a_late_answer_is_an_answer(sandbox: RunningSandbox) -> None:
    send_id = new_id()
    await sandbox.fault(provider="twilio", action="latency", ms=50)
    async with clients.twilio(sandbox) as client:
        message = await client.messages.create_async(**sms(send_id))

    (call,) = await sandbox.calls(send_id=send_id)
    assert (message.status, call["outcome"], call["fault"]) == ("queued", "accepted", None)
