"""The providers' official clients as their vendors ship them, pointed at a sandbox."""

import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aioapns
import aiohttp
import firebase_admin
import pytest
from aioapns.connection import APNsDevelopmentClientProtocol
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from firebase_admin import credentials, messaging
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

from tests.contract.sandbox.process import RunningSandbox

#: Twilio's client still uses what its HTTP library is about to drop.
TWILIO_WARNINGS = pytest.mark.filterwarnings(
    "ignore:BasicAuth is deprecated:DeprecationWarning",
    "ignore:The 'auth' parameter is deprecated:DeprecationWarning",
)


def new_id() -> str:
    return str(uuid.uuid4())


def trust(settings: dict[str, Any]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings["ca_file"])


@asynccontextmanager
async def apns(sandbox: RunningSandbox, **changes: Any) -> AsyncIterator[aioapns.APNs]:
    settings = {**sandbox.providers["apns"], **changes}
    protocol = type(
        "SandboxProtocol",
        (APNsDevelopmentClientProtocol,),
        {"APNS_SERVER": settings["host"], "APNS_PORT": settings["port"]},
    )
    client = aioapns.APNs(
        key=Path(settings["key_file"]).read_text(),
        key_id=settings["key_id"],
        team_id=settings["team_id"],
        topic=settings["topic"],
        ssl_context=trust(settings),
        max_connections=1,
    )
    client.pool.protocol_class = protocol
    try:
        yield client
    finally:
        client.pool.close()


def push(send_id: str, device: str = "ab" * 32, **own: Any) -> aioapns.NotificationRequest:
    return aioapns.NotificationRequest(
        device,
        {"aps": {"alert": {"title": "Gate 7", "body": "Boarding"}}, "send_id": send_id, **own},
        notification_id=send_id,
        collapse_key=send_id,
        push_type=aioapns.PushType.ALERT,
    )


@asynccontextmanager
async def fcm(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, account_file: str | None = None
) -> AsyncIterator[firebase_admin.App]:
    settings = sandbox.providers["fcm"]
    monkeypatch.setenv("SSL_CERT_FILE", settings["ca_file"])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", settings["ca_file"])
    certificate = credentials.Certificate(account_file or settings["service_account_file"])
    app = firebase_admin.initialize_app(certificate, name=new_id())
    service = messaging._get_messaging_service(app)
    service._fcm_url = f"{settings['base_url']}/v1/projects/{app.project_id}/messages:send"
    yield app
    await service._async_client.aclose()  # delete_app would start a second event loop for this


async def send_fcm(app: firebase_admin.App, message: messaging.Message) -> messaging.SendResponse:
    batch = await messaging.send_each_async([message], app=app)
    return batch.responses[0]


@asynccontextmanager
async def ses(sandbox: RunningSandbox, **changes: str) -> AsyncIterator[Any]:
    settings = sandbox.providers["ses"]
    env = {**sandbox.env, **changes}
    async with get_session().create_client(
        "sesv2",
        region_name=settings["region"],
        endpoint_url=settings["endpoint_url"],
        verify=settings["ca_file"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        config=AioConfig(retries={"mode": "standard", "total_max_attempts": 1}),
    ) as client:
        yield client


@asynccontextmanager
async def twilio(sandbox: RunningSandbox, **changes: str) -> AsyncIterator[Client]:
    settings = {**sandbox.providers["twilio"], **changes}
    http = AsyncTwilioHttpClient()
    await http.session.close()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust(settings))) as session:
        http.session = session
        client = Client(settings["account_sid"], settings["auth_token"], http_client=http)
        client.api.base_url = settings["base_url"]
        yield client
