"""SMS by Twilio's official client, with real time limits and exactly one request for each send.

Evidence of a send: its status callback's URL names it, and the list of messages shows what Twilio took.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
from twilio.base import values
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from app.config.providers import Twilio as Settings
from app.domain.outcome import MAX_MESSAGE_ID, Outcome, OutcomeKind
from app.domain.sms import E164
from app.ports import Address, Handle, Message
from app.providers.wire import (
    CONNECT_S,
    QUESTIONS,
    Answer,
    answered,
    dropped,
    kind_without_redirects,
    leaves,
    lost,
    retry_after_ms,
    tls_context,
    unanswered,
    unusable,
)
from schemas.words import Channel, Provider

#: Twilio's error codes in our words (twilio.com/docs/api/errors).
CODES: dict[int, OutcomeKind] = {
    20003: "config",
    20429: "throttle",
    21211: "bad_token",
    21408: "config",
    21606: "config",
    21610: "drop",
    21611: "throttle",
    21612: "config",
    21614: "bad_token",
    21617: "drop",
    21635: "bad_token",
    30001: "throttle",
    30002: "config",
}
#: Refusals of one destination (no permission for its country, no route), not of our account.
ABOUT_DESTINATION = frozenset((21408, 21612))
OPTED_OUT, TOO_LONG = 21610, 21617

MAX_BODY = 1600
#: Twilio's bounds for the seconds that it may keep a message.
VALIDITY_S = (1, 36_000)
#: Messages looked through when asking after one, and seconds by which Twilio's clock may be behind ours.
LOOK_THROUGH, CLOCK_SKEW_S = 200, 60


class Throttled(Exception):
    """429: raised by the HTTP client because the library's own errors lose the ``Retry-After`` header."""

    def __init__(self, retry_after: str | None) -> None:
        super().__init__("429")
        self.retry_after = retry_after


class OneRequest(AsyncHttpClient):  # type: ignore[misc]  # twilio is not followed by mypy here
    """The library's door for an HTTP client: limits that hold, our authorities, no retries, no logging of numbers."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(logger=None, is_async=True)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.concurrency + QUESTIONS, ssl=tls_context(settings.ca_file)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            response_class=Answer,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def request(
        self,
        method: str,
        uri: str,
        params: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        fields = {**(headers or {}), **({"Authorization": aiohttp.encode_basic_auth(*auth)} if auth else {})}
        leaves()
        async with self._session.request(
            method, uri, params=params, data=data, headers=fields, allow_redirects=False
        ) as response:
            if response.status == 429:
                raise Throttled(response.headers.get("Retry-After"))
            return Response(response.status, await response.text("utf-8", "replace"), response.headers)

    async def close(self) -> None:
        await self._session.close()


class Twilio:
    """One Twilio account, sending from a number of its own or from a messaging service."""

    name: Provider = "twilio"
    channel: Channel = "sms"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._from = settings.from_ or values.unset
        self._service = settings.messaging_service_sid or values.unset
        self._http: OneRequest | None = None
        self._client: Client | None = None

    async def start(self) -> None:
        """Opens the session; nothing is called yet.

        Raises:
            ValueError: the authorities can't be read.
        """
        given = self._settings
        self._http = OneRequest(given)
        # An environment of its own, so that a TWILIO_REGION of the machine doesn't rewrite the address.
        own = {"TWILIO_ACCOUNT_SID": given.account_sid}
        secret = given.auth_token.get_secret_value()
        self._client = Client(given.account_sid, secret, http_client=self._http, environment=own)
        self._client.api.base_url = given.base_url

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """Makes one request: see ``ProviderClient.send``."""
        assert self._client is not None, "start() first"
        body = message.body or ""
        if not E164.fullmatch(to.value):  # would else reach other kinds of address, such as whatsapp:+1…
            return unusable("not_e164")
        if len(body) > MAX_BODY:
            return dropped(str(TOO_LONG), "too_large")
        remaining_s = int(handle.expires_at_ms / 1000 - time.time())
        try:
            async with asyncio.timeout(timeout_s):
                created = await self._client.messages.create_async(
                    to=to.value,
                    from_=self._from,
                    messaging_service_sid=self._service,
                    body=body,
                    status_callback=callback_url(handle),
                    validity_period=min(max(remaining_s, VALIDITY_S[0]), VALIDITY_S[1]),
                )
        except Exception as error:
            return outcome_of(error, time.time())
        return Outcome("ok", provider_message_id=created.sid)

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        """Looks for the message in Twilio's list: ``ok`` found, None not there (yet), ``in_doubt`` couldn't ask.

        The list doesn't say whose a message is: those of the same text may be other sends'.
        """
        found: list[str] = []
        since = datetime.fromtimestamp((handle.first_called_at_ms or 0) / 1000, UTC) - timedelta(seconds=CLOCK_SKEW_S)
        try:
            async with asyncio.timeout(timeout_s), aclosing(self._listed(to)) as listed:
                async for one in listed:
                    if one.date_created < since:
                        break  # newest first: older ones can't be it
                    if isinstance(one.sid, str) and str(one.body or "").strip() == (message.body or "").strip():
                        found.append(one.sid[:MAX_MESSAGE_ID])
        except Exception as error:
            return lost("connection_lost", outcome_of(error, time.time()).code)
        return Outcome("ok", provider_message_id=found[0], found=tuple(found)) if found else None

    async def _listed(self, to: Address) -> AsyncGenerator[Any, None]:
        """Messages to the number, newest first. Without DateSent: that filter hides those still queued."""
        assert self._client is not None, "start() first"
        ours = await self._client.messages.stream_async(
            to=to.value, from_=self._from, limit=LOOK_THROUGH, page_size=LOOK_THROUGH
        )
        async for one in ours:
            if one.date_created is not None and self._service in (values.unset, one.messaging_service_sid):
                yield one

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()


def callback_url(handle: Handle) -> str:
    """Where Twilio reports to, naming the send. Wiring supplies it; without one the name still travels, to nowhere."""
    if handle.callback_url:
        return handle.callback_url
    names = {"notification_id": handle.notification_id, "send_id": handle.send_id}
    return f"https://callbacks.invalid/v1/webhooks/twilio?{urlencode(names)}"


def outcome_of(error: Exception, now_s: float) -> Outcome:
    """What a failed request means. Raises what is neither the network's nor Twilio's."""
    match error:
        case Throttled():
            return answered("throttle", "20429", retry_after_ms(error.retry_after, now_s))
        case TwilioRestException() | TwilioServiceException():
            return _refused(error.code, error.status if isinstance(error.status, int) else 0)
        case TwilioException():  # an answer that the library can't read, or a page of a list refused
            return lost("connection_lost", "unreadable")
        case _:
            return unanswered(error)


def _refused(given: object, status: int) -> Outcome:
    """Twilio's code decides; without a known one the HTTP status (which the library then gives as the code)."""
    code = given if isinstance(given, int) else None
    kind = CODES.get(code or 0) or kind_without_redirects(status)
    told = str(code or status)
    if kind == "config":
        return Outcome("config", code=told, scope="address" if code in ABOUT_DESTINATION else "lane")
    if code == OPTED_OUT:
        return dropped(told, "opted_out")
    if code == TOO_LONG:
        return dropped(told, "too_large")
    return answered(kind, told)
