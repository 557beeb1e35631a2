"""Which clients a channel gets, and what that costs."""

import subprocess
import sys

import pytest

from app.config import Settings
from app.providers.registry import CLIENTS, clients_for
from schemas.words import Channel

TWILIO = {
    "TOCSIN_PROVIDERS__TWILIO__ACCOUNT_SID": "AC1",
    "TOCSIN_PROVIDERS__TWILIO__AUTH_TOKEN": "secret",
    "TOCSIN_PROVIDERS__TWILIO__FROM": "+15005550006",
    "TOCSIN_PROVIDERS__TWILIO__RATE": "10/s",
}
SES = {"TOCSIN_PROVIDERS__SES__REGION": "eu-west-1", "TOCSIN_PROVIDERS__SES__FROM": "a@b.example"}


def test_only_providers_with_settings_are_used() -> None:
    settings = Settings.load(TWILIO)

    assert set(clients_for("sms", settings)) == {"twilio"}
    assert clients_for("email", settings) == {}


@pytest.mark.parametrize("channel", ["push", "email", "sms", "in_app"])
def test_a_channel_gets_its_own_providers_only(channel: Channel) -> None:
    clients = clients_for(channel, Settings.load(TWILIO | SES))

    assert {client.channel for client in clients.values()} <= {channel}
    assert [client.name for client in clients.values()] == list(clients)


def test_a_client_is_the_provider_that_the_registry_says() -> None:
    for provider, (channel, module, name) in CLIENTS.items():
        client = getattr(__import__(module, fromlist=[name]), name)

        assert (client.name, client.channel) == (provider, channel)


def test_a_role_does_not_pay_for_vendors_that_it_does_not_use() -> None:
    program = f"""
import sys
from app.config import Settings
from app.providers.registry import clients_for
clients_for("sms", Settings.load({TWILIO!r}))
print([name for name in ("firebase_admin", "aioapns", "aiobotocore", "twilio") if name in sys.modules])
"""

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "['twilio']"
