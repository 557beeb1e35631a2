"""E-mail by Amazon SES v2 through aiobotocore, with its hidden retries turned off: one recipient and one request for
each send."""

import asyncio
import json
import re
import socket
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from botocore import exceptions as boto

from app.config.providers import Ses as Settings
from app.domain.outcome import Outcome, OutcomeKind
from app.ports import Address, Handle, Message
from app.providers.wire import (
    CONNECT_S,
    Answer,
    answered,
    dropped,
    kind_of_status,
    leaves,
    lost,
    not_sent,
    retry_after_ms,
    tls_context,
)
from schemas.words import Channel, Provider

#: SES's error codes in our words (the service model of sesv2, and AWS' common errors).
CODES: dict[str, OutcomeKind] = {
    "TooManyRequestsException": "throttle",
    "Throttling": "throttle",
    "ThrottlingException": "throttle",
    "LimitExceededException": "throttle",
    "MessageRejected": "drop",
    "BadRequestException": "drop",
    "ValidationException": "drop",
    "MailFromDomainNotVerifiedException": "config",
    "AccountSuspendedException": "config",
    "SendingPausedException": "config",
    "NotFoundException": "config",
    "AccessDeniedException": "config",
    "ExpiredTokenException": "config",
    "IncompleteSignature": "config",
    "InvalidClientTokenId": "config",
    "InvalidSignatureException": "config",
    "MissingAuthenticationTokenException": "config",
    "RequestExpired": "config",
    "SignatureDoesNotMatch": "config",
    "UnrecognizedClientException": "config",
}
#: Milliseconds to wait where SES names none: a sending rate is per second, a daily quota is over for hours.
RATE_WAIT_MS, DAILY_WAIT_MS = 1000, 3_600_000

MAX_BYTES = 40 * 1024 * 1024

_ADDRESS = re.compile(r"[^\s,;:<>()\"\\@\x00-\x1f\x7f]+@[^\s,;:<>()\"\\@\x00-\x1f\x7f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[!-9;-~]{1,126}")
_HEADER_VALUE = re.compile(r"[ -~]{1,870}")


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


class _Session(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore is not followed by mypy here
    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        session._response_class = _Answer
        return session


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
        given = self._settings
        tls_context(given.ca_file)
        config = AioConfig(
            http_session_cls=_Session,
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=CONNECT_S,
            read_timeout=given.timeout,
            max_pool_connections=given.concurrency,
            proxies={},
        )
        self._client = await self._resources.enter_async_context(
            get_session().create_client(
                "sesv2",
                region_name=given.region,
                endpoint_url=given.endpoint_url,
                verify=str(given.ca_file) if given.ca_file else None,
                config=config,
            )
        )

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """Makes one request: see ``ProviderClient.send``."""
        assert self._client is not None, "start() first"
        if refusal := refusal_of(message, to):
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
        if self._settings.configuration_set:
            request["ConfigurationSetName"] = self._settings.configuration_set
        return request


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}


def refusal_of(message: Message, to: Address) -> Outcome | None:
    """What must not reach SES: header injection, several recipients in one, more bytes than it takes."""
    if not _ADDRESS.fullmatch(to.value):
        return dropped("invalid_address")
    if _CONTROL.search(message.subject or message.title or ""):
        return dropped("invalid_subject")
    for name, value in message.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return dropped("invalid_header")
    parts = (message.subject, message.text, message.body, message.html)
    if sum(len(part.encode("utf-8", "replace")) for part in parts if part) > MAX_BYTES:
        return dropped("too_large", "too_large")
    return None


def outcome_of(error: Exception, now_s: float) -> Outcome:
    """What a failed call means. Raises what is neither the network's nor AWS'."""
    match error:
        case boto.ClientError():
            return _refused(error, now_s)
        case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.CredentialRetrievalError():
            return Outcome("config", code=type(error).__name__)
        case boto.ParamValidationError():
            return dropped("ParamValidationError")
        case boto.ConnectTimeoutError() | boto.SSLError() | boto.ProxyConnectionError():
            return not_sent(type(error).__name__)
        case boto.EndpointConnectionError():
            # botocore's word for any broken connection; only aiohttp's own error says whether one ever stood.
            inner = error.kwargs.get("error")
            if isinstance(inner, aiohttp.ClientConnectorError | socket.gaierror):
                return not_sent(type(inner).__name__)
            return lost("connection_lost", type(inner).__name__)
        case boto.ReadTimeoutError() | TimeoutError():
            return lost("timeout")
        case boto.HTTPClientError() | boto.ConnectionError() | boto.BotoCoreError():
            return lost("connection_lost", type(error).__name__)
        case _:
            raise error


def _refused(error: boto.ClientError, now_s: float) -> Outcome:
    told, answer = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    status = answer.get("HTTPStatusCode", 0)
    code, text = str(told.get("Code") or status), str(told.get("Message", "")).lower()
    kind = CODES.get(code) or kind_of_status(status)
    if code == "MessageRejected" and "not verified" in text:
        return Outcome("config", code=code)
    wait_ms = retry_after_ms(answer.get("HTTPHeaders", {}).get("retry-after"), now_s)
    if wait_ms is None and kind == "throttle":
        wait_ms = DAILY_WAIT_MS if "daily" in text else RATE_WAIT_MS
    return answered(kind, code, wait_ms)
