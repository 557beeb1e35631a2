"""What the vendors' clients are told and how each vendor says the same things in its own words."""

import json
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.config import Settings
from app.domain.addresses import parse_subscription
from app.ports import Address, Handle, Message, ProviderClient
from app.providers.registry import CLIENTS, clients_for
from app.sandbox.webpush import subscription
from schemas.words import Provider

#: Settings in, settings that the provider refuses out.
Spoil = Callable[[dict[str, Any], Path, pytest.MonkeyPatch], dict[str, Any]]


@dataclass(frozen=True)
class Vendor:
    """One vendor: an address that it takes, its words for refusals, and how to make it refuse our settings."""

    name: Provider
    #: A new one, for a provider with such settings.
    address: Callable[[dict[str, Any]], Address]
    throttled: str
    with_wrong_credentials: Spoil
    #: A message that it can't take for its size.
    oversized: Message
    #: The settings' key of its address.
    address_key: str
    #: The kind of a 5xx in its own words.
    outage_kind: str
    #: What ``throttled`` is about.
    throttles: Literal["lane", "address"] = "lane"
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def new_address(self) -> Address:
        return self.address(self.settings)

    def at(self, port: int) -> "Vendor":
        """The same at another port of this machine."""
        elsewhere: dict[str, Any] = {
            "port": port,
            "allow_hosts": [f"127.0.0.1:{port}"],
        }
        return replace(
            self,
            settings=self.settings | {self.address_key: elsewhere.get(self.address_key, f"https://127.0.0.1:{port}")},
        )


def shown(to: Address) -> str:
    """The address as the sandbox writes it down: of a browser, where it is reached."""
    return str(json.loads(to.value)["endpoint"]) if to.platform == "web" else to.value


def _browser(settings: dict[str, Any]) -> Address:
    token = parse_subscription(subscription(f"https://{settings['allow_hosts'][0]}"))
    return Address("push", token, platform="web")


def _number(_: dict[str, Any]) -> Address:
    return Address("sms", f"+1415{uuid.uuid4().int % 10**7:07}")


def _mailbox(_: dict[str, Any]) -> Address:
    return Address("email", f"{uuid.uuid4().hex}@example.org")


def _new_key(settings: dict[str, Any], tmp_path: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    path = tmp_path / "other.p8"
    path.write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
    return settings | {"key_file": str(path)}


def _new_account(settings: dict[str, Any], tmp_path: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    account = json.loads(Path(settings["service_account_file"]).read_text())
    account["private_key"] = _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)).decode()
    path = tmp_path / "other.json"
    path.write_text(json.dumps(account))
    return settings | {"service_account_file": str(path)}


def _new_aws_secret(settings: dict[str, Any], _: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    return settings


def _other(name: str) -> Spoil:
    return lambda settings, _, __: settings | {name: "wrong"}


def _other_vapid_key(settings: dict[str, Any], _: Path, __: pytest.MonkeyPatch) -> dict[str, Any]:
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return settings | {"vapid_private_key": urlsafe_b64encode(number.to_bytes(32)).decode()}


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


MESSAGE = Message(
    title="Gate 7",
    body="Boarding now",
    subject="Gate 7",
    text="Boarding now",
    html="<p>Boarding now</p>",
    url="https://air.example/f/7",
    data={"flight": "7"},
    headers={"List-Unsubscribe": "<https://air.example/u/7>"},
)

VENDORS = (
    Vendor(
        name="apns",
        address=lambda _: Address("push", (uuid.uuid4().hex * 2), platform="ios"),
        throttled="TooManyRequests",
        with_wrong_credentials=_new_key,
        oversized=Message(title="x", body="x" * 4096),
        address_key="port",
        outage_kind="retry",
        throttles="address",
    ),
    Vendor(
        name="fcm",
        address=lambda _: Address("push", (uuid.uuid4().hex * 4), platform="android"),
        throttled="QUOTA_EXCEEDED",
        with_wrong_credentials=_new_account,
        oversized=Message(title="x", body="x" * 4096),
        address_key="base_url",
        outage_kind="retry",
    ),
    Vendor(
        name="webpush",
        address=_browser,
        throttled="429",
        with_wrong_credentials=_other_vapid_key,
        oversized=Message(title="x", body="x" * 4096),
        address_key="allow_hosts",
        outage_kind="retry",
        throttles="address",
    ),
    Vendor(
        name="ses",
        address=_mailbox,
        throttled="TooManyRequestsException",
        with_wrong_credentials=_new_aws_secret,
        oversized=Message(subject="x", text="x" * (40 * 1024 * 1024 + 1)),
        address_key="endpoint_url",
        outage_kind="in_doubt",
    ),
    Vendor(
        name="sendgrid",
        address=_mailbox,
        throttled="429",
        with_wrong_credentials=_other("api_key"),
        oversized=Message(subject="x", text="x" * (30 * 1024 * 1024 + 1)),
        address_key="base_url",
        outage_kind="in_doubt",
    ),
    Vendor(
        name="twilio",
        address=_number,
        throttled="20429",
        with_wrong_credentials=_other("auth_token"),
        oversized=Message(body="x" * 1601),
        address_key="base_url",
        outage_kind="in_doubt",
    ),
    Vendor(
        name="vonage",
        address=_number,
        throttled="1",
        with_wrong_credentials=_other("api_secret"),
        oversized=Message(body="x" * 1601),
        address_key="base_url",
        outage_kind="in_doubt",
    ),
    Vendor(
        name="sns",
        address=_number,
        throttled="Throttled",
        with_wrong_credentials=_new_aws_secret,
        oversized=Message(body="x" * 1601),
        address_key="endpoint_url",
        outage_kind="in_doubt",
    ),
)


def a_handle(send_id: str | None = None, attempt: int = 1) -> Handle:
    send_id = send_id or str(uuid.uuid4())
    now_ms = int(time.time() * 1000)
    return Handle(
        send_id=send_id,
        notification_id=str(uuid.uuid4()),
        attempt=attempt,
        priority="high",
        category="flights",
        expires_at_ms=now_ms + 3_600_000,
        collapse_id=send_id,
        first_called_at_ms=now_ms,
        callback_url=f"http://127.0.0.1:9/v1/webhooks/twilio?send_id={send_id}&attempt={attempt}",
    )


def client_of(name: Provider, settings: dict[str, Any]) -> ProviderClient:
    """The vendor's client without its gate, as the registry makes it."""
    made = Settings.model_validate({"providers": {name: settings}})
    return clients_for(CLIENTS[name][0], made)[name].client
