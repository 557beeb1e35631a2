"""FCM as firebase-admin, and a plain HTTP client, find it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from firebase_admin import credentials, exceptions, messaging
from google.auth.transport import requests as google_requests

from tests.conftest import eventually
from tests.contract.sandbox import clients
from tests.contract.sandbox.clients import new_id
from tests.contract.sandbox.process import RunningSandbox

pytestmark = pytest.mark.filterwarnings(
    "ignore:Message.token is deprecated:DeprecationWarning"  # still the address that apps register
)

TOKEN = "t" * 140


def message(send_id: str, **more: Any) -> messaging.Message:
    return messaging.Message(
        token=more.pop("token", TOKEN),
        notification=messaging.Notification(title="Gate 7", body="Boarding"),
        data={"send_id": send_id, **more},
        android=messaging.AndroidConfig(
            ttl=60, priority="high", notification=messaging.AndroidNotification(tag=send_id, channel_id="flights")
        ),
    )


async def test_an_accepted_message_is_shown(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    send_id, notification_id = new_id(), new_id()
    async with clients.fcm(sandbox, monkeypatch) as app:
        result = await clients.send_fcm(app, message(send_id, notification_id=notification_id))

    assert result.exception is None
    (shown,) = await sandbox.accepted(notification_id=notification_id)
    assert (shown["provider_message_id"], shown["send_id"]) == (result.message_id, send_id)
    assert (shown["address"], shown["title"], shown["collapse_id"]) == (TOKEN, "Gate 7", send_id)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("UNREGISTERED", messaging.UnregisteredError),
        ("SENDER_ID_MISMATCH", messaging.SenderIdMismatchError),
        ("QUOTA_EXCEEDED", messaging.QuotaExceededError),
        ("THIRD_PARTY_AUTH_ERROR", messaging.ThirdPartyAuthError),
        ("INVALID_ARGUMENT", exceptions.InvalidArgumentError),
        ("PERMISSION_DENIED", exceptions.PermissionDeniedError),
    ],
)
async def test_the_official_client_understands_our_errors(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, code: str, error: type[Exception]
) -> None:
    await sandbox.fault(provider="fcm", action="error", code=code)
    async with clients.fcm(sandbox, monkeypatch) as app:
        result = await clients.send_fcm(app, message(new_id()))

    assert type(result.exception) is error


async def test_an_account_with_another_key_gets_no_access_token(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    account = json.loads(Path(sandbox.providers["fcm"]["service_account_file"]).read_text())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account["private_key"] = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    (tmp_path / "account.json").write_text(json.dumps(account))
    async with clients.fcm(sandbox, monkeypatch, str(tmp_path / "account.json")) as app:
        with pytest.raises(exceptions.UnknownError, match="Invalid JWT Signature"):
            await clients.send_fcm(app, message(new_id()))


async def test_what_is_accepted_but_never_answered_is_written_down(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_id = new_id()
    await sandbox.fault(provider="fcm", action="accept_and_hang")

    async def is_accepted() -> bool:
        return bool(await sandbox.accepted(send_id=send_id))

    async with clients.fcm(sandbox, monkeypatch) as app:
        waiting = asyncio.ensure_future(clients.send_fcm(app, message(send_id)))
        await eventually(is_accepted)

        assert not waiting.done()
        waiting.cancel()


def access_token(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> str:
    settings = sandbox.providers["fcm"]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", settings["ca_file"])
    certificate = credentials.Certificate(settings["service_account_file"]).get_credential()
    certificate.refresh(google_requests.Request())
    return str(certificate.token)


@pytest.mark.parametrize(("http2", "version"), [(True, "HTTP/2"), (False, "HTTP/1.1")])
async def test_an_unknown_field_is_refused_over_either_protocol(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, http2: bool, version: str
) -> None:
    headers = {"authorization": f"Bearer {access_token(sandbox, monkeypatch)}"}
    settings = sandbox.providers["fcm"]
    url = f"{settings['base_url']}/v1/projects/tocsin-sandbox/messages:send"
    async with httpx.AsyncClient(http2=http2, verify=clients.trust(settings)) as client:
        answer = await client.post(url, headers=headers, json={"message": {"token": TOKEN, "colour": "red"}})

    assert (answer.http_version, answer.status_code) == (version, 400)
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert "Unknown name \"colour\" at 'message'" in answer.json()["error"]["message"]


async def test_without_an_access_token_nothing_is_taken(sandbox: RunningSandbox) -> None:
    settings = sandbox.providers["fcm"]
    async with httpx.AsyncClient(verify=clients.trust(settings)) as client:
        url = f"{settings['base_url']}/v1/projects/tocsin-sandbox/messages:send"
        answer = await client.post(url, json={"message": {"token": TOKEN}})

    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


async def test_the_token_endpoint_can_fail_by_itself(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    await sandbox.fault(provider="fcm", operation="token", action="error", code="INTERNAL", times=1)

    assert access_token(sandbox, monkeypatch)  # the client asks again
    calls = await sandbox.calls(provider="fcm", operation="token")
    assert [call["outcome"] for call in calls[-2:]] == ["refused", "answered"]
