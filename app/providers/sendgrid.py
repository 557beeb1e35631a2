"""E-mail by SendGrid's v3 mail/send: one recipient and one request for each send, by a connection of our own."""

import time
from email.header import decode_header, make_header
from email.utils import parseaddr
from typing import Any

import orjson

from app.config.providers import SendGrid as Settings
from app.domain.outcome import LONGEST_WAIT_MS, Outcome
from app.ports import Address, Handle, Message
from app.providers.mail import refusal_of
from app.providers.rest import Reply, Rest
from app.providers.wire import answered, dropped, kind_without_redirects, lost, retry_after_ms
from schemas.words import Channel, Provider

#: Of a whole request.
MAX_BYTES = 30 * 1024 * 1024
#: Headers that SendGrid writes itself, and refuses.
RESERVED = frozenset(
    (
        *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
        *("to", "from", "subject", "reply-to", "cc", "bcc"),
    )
)
#: SendGrid takes no empty subject.
NO_SUBJECT = "(no subject)"
#: Links and pixels are ours, or nobody's; so is the way to unsubscribe.
TRACKING = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
}


class SendGrid:
    """One API key, sending from one verified sender."""

    name: Provider = "sendgrid"
    channel: Channel = "email"

    def __init__(self, settings: Settings) -> None:
        self._url = f"{settings.base_url}/v3/mail/send"
        self._headers = {
            "Authorization": f"Bearer {settings.api_key.get_secret_value()}",
            "Content-Type": "application/json",
        }
        self._from = mailbox(settings.from_)
        self._settings = settings
        self._rest: Rest | None = None

    async def start(self) -> None:
        """Opens the session; nothing is called yet.

        Raises:
            ValueError: the authorities can't be read.
        """
        self._rest = Rest(self._settings)

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """Makes one request: see ``ProviderClient.send``."""
        assert self._rest is not None, "start() first"
        if refusal := refusal_of(message, to, MAX_BYTES):
            return refusal
        body = orjson.dumps(self._request(message, to, handle))
        if len(body) > MAX_BYTES:
            return dropped("413", "too_large")
        reply = await self._rest.post(self._url, body, self._headers, timeout_s)
        return reply if isinstance(reply, Outcome) else outcome_of(reply, time.time())

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        """No way to ask that everybody has (the Activity API costs extra, for six questions a minute); its events come
        by webhook, with our arguments."""
        return None

    async def close(self) -> None:
        if self._rest is not None:
            await self._rest.close()

    def _request(self, message: Message, to: Address, handle: Handle) -> dict[str, Any]:
        text = message.text if message.text is not None else message.body
        parts = (("text/plain", text), ("text/html", message.html))
        headers = {name: value for name, value in message.headers.items() if name.lower() not in RESERVED}
        request: dict[str, Any] = {
            "personalizations": [{"to": [{"email": to.value}]}],
            "from": self._from,
            "subject": message.subject or message.title or NO_SUBJECT,
            "content": [{"type": kind, "value": value} for kind, value in parts if value]
            or [{"type": "text/plain", "value": " "}],
            "custom_args": {
                "send_id": handle.send_id,
                "notification_id": handle.notification_id,
                "attempt": str(handle.attempt),
            },
            "tracking_settings": TRACKING,
        }
        if headers:
            request["headers"] = headers
        named = (value for name, value in message.headers.items() if name.lower() == "reply-to")
        reply_to = message.reply_to or next(named, None)
        if reply_to is not None:
            request["reply_to"] = mailbox(reply_to)
        return request


def mailbox(header: str) -> dict[str, str]:
    """``The Shop <shop@example.com>``, encoded words and all, as SendGrid wants it."""
    name, address = parseaddr(header)
    shown = str(make_header(decode_header(name)))
    return {"email": address, "name": shown} if shown else {"email": address}


def outcome_of(reply: Reply, now_s: float) -> Outcome:
    """What an answer means. 202 is SendGrid's word for taken, and needs no other; 200 alone anybody could say."""
    message_id = reply.headers.get("X-Message-Id")
    if reply.status == 202 or (reply.status == 200 and message_id):
        return Outcome("ok", provider_message_id=message_id)
    code = str(reply.status)
    if reply.status == 200:
        return lost("connection_lost", "no_message_id")
    if reply.status == 413:
        return dropped(code, "too_large")
    wait_ms = retry_after_ms(reply.headers.get("Retry-After"), now_s)
    if wait_ms is None and reply.status == 429:
        wait_ms = _until_reset_ms(reply.headers.get("X-RateLimit-Reset"), now_s)
    return answered(kind_without_redirects(reply.status), code, wait_ms)


def _until_reset_ms(header: str | None, now_s: float) -> int | None:
    """``X-RateLimit-Reset`` is in Unix seconds, where it is there."""
    if header is None or not (header.isascii() and header.isdigit() and len(header) <= 12):
        return None
    return min(max(0, round((int(header) - now_s) * 1000)), LONGEST_WAIT_MS)
