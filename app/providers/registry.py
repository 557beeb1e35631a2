"""From settings to clients: what a channel can be sent by, each provider behind its own gate."""

import importlib
import logging
from typing import cast

from app.config import ProviderSettings, Settings
from app.ports import ProviderClient
from app.providers.gate import Gate, GatedClient, OnChange
from schemas.words import Channel, Provider

#: A provider's channel and its client's class. The module is imported only where the provider is used: the vendors'
#: libraries cost 35 to 60 MB each.
CLIENTS: dict[Provider, tuple[Channel, str, str]] = {
    "apns": ("push", "app.providers.apns", "Apns"),
    "fcm": ("push", "app.providers.fcm", "Fcm"),
    "webpush": ("push", "app.providers.webpush", "WebPush"),
    "ses": ("email", "app.providers.ses", "Ses"),
    "sendgrid": ("email", "app.providers.sendgrid", "SendGrid"),
    "twilio": ("sms", "app.providers.twilio", "Twilio"),
    "vonage": ("sms", "app.providers.vonage", "Vonage"),
    "sns": ("sms", "app.providers.sns", "Sns"),
}

#: The vendors' loggers that show addresses, tokens or contents below WARNING.
TALKATIVE = ("aiobotocore", "aioapns", "botocore", "google", "h2", "hpack", "httpcore", "httpx", "twilio", "urllib3")


def clients_for(channel: Channel, settings: Settings, on_change: OnChange | None = None) -> dict[Provider, GatedClient]:
    """The clients of a channel's providers that have settings, not yet started.

    Args:
        on_change: told when a provider's breaker opens (and why) and closes.
    """
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    configured = settings.providers.configured()
    return {
        provider: _gated(provider, configured[provider], on_change)
        for provider, (its_channel, _, _) in CLIENTS.items()
        if its_channel == channel and provider in configured
    }


def _gated(provider: Provider, section: ProviderSettings, on_change: OnChange | None) -> GatedClient:
    _, module, client = CLIENTS[provider]
    made = cast(ProviderClient, getattr(importlib.import_module(module), client)(section))
    return GatedClient(made, Gate(provider, concurrency=section.concurrency, rate=section.rate, on_change=on_change))
