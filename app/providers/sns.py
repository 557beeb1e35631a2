"""SMS by Amazon SNS through aiobotocore, with its hidden retries turned off: one request for each send.

SNS tells nobody what became of a message, and the phone shows a second one like the first: what is in doubt here is
never sent again.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from botocore import exceptions as boto

from app.config.providers import Sns as Settings
from app.domain.outcome import Outcome, OutcomeKind
from app.domain.sms import E164
from app.ports import Address, Handle, Message
from app.providers import aws
from app.providers.wire import Answer, answered, dropped, leaves, lost, unusable
from schemas.words import Channel, Provider

#: The error codes of Publish in our words (the service model of sns).
CODES: dict[str, OutcomeKind] = aws.COMMON_CODES | {
    "Throttled": "throttle",
    "KMSThrottling": "throttle",
    "InvalidParameter": "drop",
    "ParameterValueInvalid": "drop",
    "OptedOut": "drop",
    "AuthorizationError": "config",
    "AccessDenied": "config",
    "InvalidSecurity": "config",
    "KMSAccessDenied": "config",
    "KMSDisabled": "config",
    "KMSInvalidState": "config",
    "KMSNotFound": "config",
    "KMSOptInRequired": "config",
    "NotFound": "config",
    "InternalError": "in_doubt",
}
#: Milliseconds to wait where SNS names none: its rate for SMS is so many messages a second.
RATE_WAIT_MS = 1000

MAX_BODY = 1600


class _Answer(Answer):
    """Of SNS' XML only the message's id and the error."""

    async def read(self) -> bytes:
        body = await super().read()
        try:
            root = ElementTree.fromstring(body)
        except (ElementTree.ParseError, ValueError, LookupError, RecursionError):
            root = ElementTree.Element("Unreadable")
        message_id, code, text = (
            escape(root.findtext(f".//{{*}}{name}") or "") for name in ("MessageId", "Code", "Message")
        )
        if code:
            return (
                f"<ErrorResponse><Error><Code>{code}</Code><Message>{text}</Message></Error></ErrorResponse>".encode()
            )
        shown = f"<PublishResult><MessageId>{message_id}</MessageId></PublishResult>"
        return f"<PublishResponse>{shown}</PublishResponse>".encode()


class Sns:
    """One AWS account and region; credentials are found the AWS way (environment, files, instance)."""

    name: Provider = "sns"
    channel: Channel = "sms"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._resources = AsyncExitStack()
        self._client: Any = None

    async def start(self) -> None:
        """Builds the client; nothing is called yet.

        Raises:
            ValueError: the authorities can't be read.
        """
        self._client = await self._resources.enter_async_context(aws.client("sns", self._settings, _Answer))

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """Makes one request: see ``ProviderClient.send``."""
        assert self._client is not None, "start() first"
        body = message.body or ""
        if not E164.fullmatch(to.value):
            return unusable("not_e164")
        if len(body) > MAX_BODY:
            return dropped("InvalidParameter", "too_large")
        try:
            async with asyncio.timeout(timeout_s):
                leaves()
                answer = await self._client.publish(
                    PhoneNumber=to.value, Message=body, MessageAttributes=attributes(handle)
                )
        except Exception as error:
            return outcome_of(error, time.time())
        if message_id := answer.get("MessageId"):
            return Outcome("ok", provider_message_id=message_id)
        return lost("connection_lost", "no_message_id")  # 200, but not from SNS

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        """SNS offers no way to ask."""
        return None

    async def close(self) -> None:
        await self._resources.aclose()


def attributes(handle: Handle) -> dict[str, Any]:
    """The message's own: what is urgent goes by the more reliable and dearer route. The send's names SNS ignores, but
    they stand in the request, as with every provider."""
    kind = "Transactional" if handle.priority in ("critical", "high") else "Promotional"
    named = {
        "AWS.SNS.SMS.SMSType": kind,
        "send_id": handle.send_id,
        "notification_id": handle.notification_id,
        "attempt": str(handle.attempt),
    }
    return {name: {"DataType": "String", "StringValue": value} for name, value in named.items()}


def outcome_of(error: Exception, now_s: float) -> Outcome:
    """What a failed call means. Raises what is neither the network's nor AWS'."""
    return _refused(error, now_s) if isinstance(error, boto.ClientError) else aws.outcome_without_answer(error)


def _refused(error: boto.ClientError, now_s: float) -> Outcome:
    told = aws.refusal_of(error, CODES, now_s)
    if told.code == "OptedOut" or (told.kind == "drop" and "opted out" in told.text):
        return dropped(told.code, "opted_out")
    if told.kind == "drop" and "phonenumber" in told.text:
        return Outcome("bad_token", code=told.code)
    return answered(
        told.kind, told.code, RATE_WAIT_MS if told.wait_ms is None and told.kind == "throttle" else told.wait_ms
    )
