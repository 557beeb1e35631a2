"""APNs as aioapns, and an HTTP/2 client that knows nothing of Apple, find it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import jwt
import pytest
from aioapns.exceptions import MaxAttemptsExceeded

from app.sandbox.certificates import new_ec_key
from tests.conftest import eventually
from tests.contract.sandbox import clients
from tests.contract.sandbox.clients import new_id, push
from tests.contract.sandbox.process import RunningSandbox
from tests.unit.sandbox.requests import now_s


def in_accepted(sandbox: RunningSandbox, send_id: str) -> Callable[[], Awaitable[bool]]:
    async def question() -> bool:
        return bool(await sandbox.accepted(send_id=send_id))

    return question


async def test_an_accepted_push_is_shown(sandbox: RunningSandbox) -> None:
    send_id, notification_id = new_id(), new_id()
    async with clients.apns(sandbox) as client:
        result = await client.send_notification(push(send_id, notification_id=notification_id, attempt=2))

    assert (result.is_successful, result.notification_id) == (True, send_id)
    (message,) = await sandbox.accepted(notification_id=notification_id)
    assert (message["provider"], message["send_id"], message["address"]) == ("apns", send_id, "ab" * 32)
    assert (message["title"], message["body"], message["collapse_id"]) == ("Gate 7", "Boarding", send_id)
    (call,) = await sandbox.calls(send_id=send_id)
    assert (call["outcome"], call["attempt"]) == ("accepted", 2)


async def test_thousands_of_pushes_and_refusals_pass_one_connection(sandbox: RunningSandbox) -> None:
    dead = "dead" * 16
    await sandbox.fault(provider="apns", action="error", code="Unregistered", address=dead)
    devices = [dead if n % 2 else f"{n:064x}" for n in range(1500)]
    async with clients.apns(sandbox) as client:
        results = await asyncio.gather(*(client.send_notification(push(new_id(), device)) for device in devices))

    assert [result.is_successful for result in results] == [device != dead for device in devices]


async def test_a_token_of_another_key_is_refused(sandbox: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "other.p8").write_bytes(new_ec_key())
    async with clients.apns(sandbox, key_file=str(tmp_path / "other.p8")) as client:
        result = await client.send_notification(push(new_id()))

    assert (result.status, result.description) == ("403", "InvalidProviderToken")


async def test_another_topic_is_refused(sandbox: RunningSandbox) -> None:
    async with clients.apns(sandbox, topic="com.example.other") as client:
        result = await client.send_notification(push(new_id()))

    assert (result.status, result.description) == ("400", "TopicDisallowed")


async def test_unregistered_tells_since_when(sandbox: RunningSandbox) -> None:
    device = "cd" * 32
    await sandbox.fault(provider="apns", action="error", code="Unregistered", address=device)
    _, faults = await sandbox.request("GET", "/faults")
    async with clients.apns(sandbox) as client:
        result = await client.send_notification(push(new_id(), device))

    assert (result.status, result.description) == ("410", "Unregistered")
    assert result.timestamp == faults["faults"][0]["since_ms"]


async def test_what_is_accepted_but_never_answered_is_written_down(sandbox: RunningSandbox) -> None:
    send_id = new_id()
    await sandbox.fault(provider="apns", action="accept_and_hang", times=1)
    async with clients.apns(sandbox) as client:
        waiting = asyncio.ensure_future(client.send_notification(push(send_id)))
        await eventually(in_accepted(sandbox, send_id))
        other = await client.send_notification(push(new_id()))

        assert other.is_successful
        assert not waiting.done()
        waiting.cancel()

    (call,) = await sandbox.calls(send_id=send_id)
    assert (call["outcome"], call["fault"]) == ("accepted", "accept_and_hang")


async def test_what_hangs_is_not_accepted(sandbox: RunningSandbox) -> None:
    send_id = new_id()
    await sandbox.fault(provider="apns", action="hang", times=1)
    async with clients.apns(sandbox) as client:
        waiting = asyncio.ensure_future(client.send_notification(push(send_id)))
        call = await sandbox.until_called(send_id=send_id)

        assert not waiting.done()
        waiting.cancel()

    assert call["outcome"] == "hung"
    assert await sandbox.accepted(send_id=send_id) == []


async def test_a_reset_after_acceptance_shows_the_clients_second_copy(sandbox: RunningSandbox) -> None:
    send_id = new_id()
    await sandbox.fault(provider="apns", action="accept_and_reset", times=1)
    async with clients.apns(sandbox) as client:
        result = await client.send_notification(push(send_id))

    assert result.is_successful
    assert len(await sandbox.accepted(send_id=send_id)) == 2
    _, stats = await sandbox.request("GET", "/stats")
    assert {"send_id": send_id, "copies": 2} in stats["providers"]["apns"]["duplicates"]["send_ids"]


async def test_a_reset_before_acceptance_leaves_nothing(sandbox: RunningSandbox) -> None:
    send_id = new_id()
    await sandbox.fault(provider="apns", action="reset")
    async with clients.apns(sandbox) as client:
        with pytest.raises(MaxAttemptsExceeded):
            await client.send_notification(push(send_id))

    assert await sandbox.accepted(send_id=send_id) == []
    assert {call["outcome"] for call in await sandbox.calls(send_id=send_id)} == {"reset"}


async def test_an_error_says_when_to_come_again(sandbox: RunningSandbox) -> None:
    await sandbox.fault(provider="apns", action="error", code="TooManyRequests", retry_after=17)
    settings = sandbox.providers["apns"]
    claims, kid = {"iss": settings["team_id"], "iat": now_s()}, {"kid": settings["key_id"]}
    token = jwt.encode(claims, Path(settings["key_file"]).read_text(), "ES256", kid)
    headers = {"authorization": f"bearer {token}", "apns-topic": settings["topic"]}
    async with httpx.AsyncClient(http2=True, verify=clients.trust(settings)) as client:
        url = f"https://{settings['host']}:{settings['port']}/3/device/{'ab' * 32}"
        answer = await client.post(url, headers=headers, json={"aps": {"alert": "hello"}})

    assert (answer.http_version, answer.status_code, answer.headers["retry-after"]) == ("HTTP/2", 429, "17")
    assert answer.json() == {"reason": "TooManyRequests"}
