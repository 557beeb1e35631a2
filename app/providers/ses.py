"""E-mail by Amazon SES v2 through aiobotocore, with its hidden retries turned off: one recipient and one request for
each send."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

from botocore import exceptions as boto

from app.config.providers import Ses as Settings
from app.domain.outcome import Outcome, OutcomeKind
from app.ports import Address, Handle, Message
from app.providers import aws
from app.providers.mail import refusal_of
from app.providers.wire import Answer, answered, leaves, lost
from schemas.words import Channel, Provider

#: SES's error codes in our words (the service model of sesv2, and AWS' common errors).
CODES: dict[str, OutcomeKind] = aws.COMMON_CODES | {
    "TooManyRequestsException": "throttle",
    "LimitExceededException": "throttle",
    "MessageRejected": "drop",
    "BadRequestException": "drop",
    "MailFromDomainNotVerifiedException": "config",
    "AccountSuspendedException": "config",
    "SendingPausedException": "config",
    "NotFoundException": "config",
}
#: Milliseconds to wait where SES names none: a sending rate is per second, a daily quota is over for hours.
RATE_WAIT_MS, DAILY_WAIT_MS = 1000, 3_600_000

MAX_BYTES = 40 * 1024 * 1024


class _Answer(Answer):
    """Of SES' JSON only members that are texts: on whatever else may stand there botocore raises any kind of error."""

    async def read(self) -> bytes:
        body = await super().read()
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            said = None
        members = said if isinstance(said, dict) else {}
        return json.dumps({name: text for name, text in members.items() if isinstance(text, str)}).encode()


class Ses:
    """One SES account and region; credentials are found the AWS way (environment, files, instance)."""

    name: Provider = "ses"
    channel: Channel = "email"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._resources = AsyncExitStack()
        self._client: Any = None

    async def start(self) -> None:
        """Builds the client; nothing is called yet.

        Raises:
            ValueError: the authorities can't be read.
        """
        self._client = await self._resources.enter_async_context(aws.client("sesv2", self._settings, _Answer))

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """Makes one request: see ``ProviderClient.send``."""
        assert self._client is not None, "start() first"
        if refusal := refusal_of(message, to, MAX_BYTES):
            return refusal
        request = self._request(message, to, handle)
        try:
            async with asyncio.timeout(timeout_s):
                leaves()
                answer = await self._client.send_email(**request)
        except Exception as error:
            return outcome_of(error, time.time())
        if message_id := answer.get("MessageId"):
            return Outcome("ok", provider_message_id=message_id)
        return lost("connection_lost", "no_message_id")  # 200, but not from SES

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        """SES offers no way to ask; its events come by webhook, with our tags."""
        return None

    async def close(self) -> None:
        await self._resources.aclose()

    def _request(self, message: Message, to: Address, handle: Handle) -> dict[str, Any]:
        parts = {"Text": message.text if message.text is not None else message.body, "Html": message.html}
        simple: dict[str, Any] = {
            "Subject": _utf8(message.subject or message.title or ""),
            "Body": {name: _utf8(part) for name, part in parts.items() if part is not None},
        }
        if message.headers:
            simple["Headers"] = [{"Name": name, "Value": value} for name, value in message.headers.items()]
        names = {
            "send_id": handle.send_id,
            "notification_id": handle.notification_id,
            "attempt": str(handle.attempt),
        }
        request: dict[str, Any] = {
            "FromEmailAddress": self._settings.from_,
            "Destination": {"ToAddresses": [to.value]},
            "Content": {"Simple": simple},
            "EmailTags": [{"Name": name, "Value": value} for name, value in names.items()],
        }
        if message.reply_to:
            request["ReplyToAddresses"] = [message.reply_to]
        if self._settings.configuration_set:
            request["ConfigurationSetName"] = self._settings.configuration_set
        return request


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}


def outcome_of(error: Exception, now_s: float) -> Outcome:
    """What a failed call means. Raises what is neither the network's nor AWS'."""
    return _refused(error, now_s) if isinstance(error, boto.ClientError) else aws.outcome_without_answer(error)


def _refused(error: boto.ClientError, now_s: float) -> Outcome:
    told = aws.refusal_of(error, CODES, now_s)
    if told.code == "MessageRejected" and "not verified" in told.text:
        return Outcome("config", code=told.code)
    wait_ms = told.wait_ms
    if wait_ms is None and told.kind == "throttle":
        wait_ms = DAILY_WAIT_MS if "daily" in told.text else RATE_WAIT_MS
    return answered(told.kind, told.code, wait_ms)
