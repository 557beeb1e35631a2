"""Faults as the vendors' own clients meet them, and what the sandbox writes down of them."""

import asyncio
import time
from typing import Any

import firebase_admin
import pytest
from botocore.exceptions import ClientError
from firebase_admin import messaging

from tests.conftest import eventually
from tests.contract.sandbox import clients
from tests.contract.sandbox.clients import new_id, push
from tests.contract.sandbox.process import RunningSandbox

_DEVICE = "t" * 40


async def test_the_journal_tells_how_late_an_answer_is(sandbox: RunningSandbox) -> None:
    await sandbox.fault(provider="apns", action="latency", ms=120)
    send_id = new_id()
    started = time.monotonic()
    async with clients.apns(sandbox) as client:
        result = await client.send_notification(push(send_id))

    assert result.is_successful
    assert time.monotonic() - started >= 0.12
    assert (await sandbox.calls(send_id=send_id))[0]["delay_ms"] == 120


async def test_the_journal_tells_how_many_answers_went_with_a_connection(sandbox: RunningSandbox) -> None:
    hanging, resetting = "ab" * 32, "cd" * 32
    sends = [new_id() for _ in range(3)]
    async with clients.apns(sandbox) as client:
        await client.send_notification(push(new_id()))
        await sandbox.fault(provider="apns", action="hang", address=hanging)
        await sandbox.fault(provider="apns", action="reset", address=resetting, times=1)
        waiting = [asyncio.ensure_future(client.send_notification(push(each, hanging))) for each in sends[:2]]
        for send_id in sends[:2]:
            await sandbox.until_called(send_id=send_id)
        await client.send_notification(push(sends[2], resetting))
        first, *_ = await sandbox.calls(send_id=sends[2])
        for each in waiting:
            each.cancel()

    assert (first["outcome"], first["swept"]) == ("reset", 2)


@pytest.mark.parametrize("action", ["hang", "accept_and_hang"])
async def test_a_call_that_is_never_answered_is_written_down_at_once(sandbox: RunningSandbox, action: str) -> None:
    await sandbox.fault(provider="apns", action=action, times=1)
    send_id = new_id()

    async def is_written() -> bool:
        return send_id in (sandbox.dir / "calls.jsonl").read_text()

    async with clients.apns(sandbox) as client:
        waiting = asyncio.ensure_future(client.send_notification(push(send_id)))
        await eventually(is_written)
        waiting.cancel()

    assert (send_id in (sandbox.dir / "accepted.jsonl").read_text()) == (action == "accept_and_hang")


async def test_a_client_that_is_sent_away_comes_back_by_another_connection(sandbox: RunningSandbox) -> None:
    await sandbox.fault(provider="apns", action="goaway", every=2)
    async with clients.apns(sandbox) as client:
        results = [await client.send_notification(push(new_id())) for _ in range(6)]

    assert all(result.is_successful for result in results)


async def test_fewer_streams_are_kept_to(sandbox: RunningSandbox) -> None:
    await sandbox.fault(provider="apns", action="max_streams", streams=1, times=1)
    async with clients.apns(sandbox) as client:
        await client.send_notification(push(new_id()))
        results = await asyncio.gather(*(client.send_notification(push(new_id())) for _ in range(20)))

    assert all(result.is_successful for result in results)


async def test_an_answer_drips(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    async with clients.fcm(sandbox, monkeypatch) as app:
        await _send(app)
        await sandbox.fault(provider="fcm", action="drip", bytes_per_s=100)
        started = time.monotonic()
        answer = await _send(app)

    assert answer.success
    assert time.monotonic() - started >= len(answer.message_id) / 100


async def test_an_answer_drips_over_http_1(sandbox: RunningSandbox) -> None:
    await sandbox.fault(provider="ses", action="drip", bytes_per_s=100)
    async with clients.ses(sandbox) as client:
        started = time.monotonic()
        answer = await _mail(client)

    assert time.monotonic() - started >= len(answer["MessageId"]) / 100


async def test_a_made_up_answer_is_given_as_it_stands(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = {"status": 429, "headers": {"Retry-After": "1" * 50}, "body": "x", "repeat": 100_000}
    await sandbox.fault(provider="fcm", action="answer", answer=made_up)
    async with clients.fcm(sandbox, monkeypatch) as app:
        answer = await _send(app)

    assert not answer.success
    response = answer.exception.http_response
    assert (response.status_code, response.headers["Retry-After"], response.text) == (429, "1" * 50, "x" * 100_000)
    assert [(call["outcome"], call["code"]) for call in await sandbox.calls()][-1:] == [("refused", "429")]


async def test_a_made_up_answer_is_given_as_it_stands_over_http_1(sandbox: RunningSandbox) -> None:
    await sandbox.fault(provider="ses", action="answer", answer={"status": 418, "body": "no {json}"}, bytes_per_s=100)
    async with clients.ses(sandbox) as client:
        with pytest.raises(ClientError) as refused:
            await _mail(client)

    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 418


async def _send(app: firebase_admin.App) -> messaging.SendResponse:
    message = messaging.Message(fid=_DEVICE, notification=messaging.Notification("Gate 7", "Boarding"))
    return await clients.send_fcm(app, message)


async def _mail(client: Any) -> Any:
    return await client.send_email(
        FromEmailAddress="tocsin@example.com",
        Destination={"ToAddresses": ["ada@example.org"]},
        Content={"Simple": {"Subject": {"Data": "Gate 7"}, "Body": {"Text": {"Data": "Boarding"}}}},
    )
