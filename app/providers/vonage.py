"""SMS by Vonage's SMS API, by a connection of our own: its own client may send ten times where an answer is lost.

Evidence of a send: receipts and the Reports API name it by ``client-ref``.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp

from app.config.providers import Vonage as Settings
from app.domain.outcome import MAX_MESSAGE_ID, Outcome, OutcomeKind
from app.domain.sms import E164, is_gsm
from app.ports import Address, Handle, Message
from app.providers.rest import Reply, Rest
from app.providers.wire import answered, dropped, kind_without_redirects, lost, retry_after_ms, unusable
from schemas.words import Channel, Provider

#: The statuses of the SMS API in our words (developer.vonage.com, "SMS API errors"); others are a message's fault.
STATUSES: dict[str, OutcomeKind] = {
    "1": "throttle",
    "2": "drop",
    "3": "drop",
    "4": "config",
    "5": "in_doubt",
    "6": "bad_token",
    "7": "bad_token",
    "8": "config",
    "9": "config",
    "10": "throttle",
    "11": "config",
    "12": "drop",
    "14": "config",
    "15": "config",
    "22": "drop",
    "23": "drop",
    "29": "config",
    "32": "config",
    "33": "bad_token",
}
TAKEN, TOO_LONG = "0", "12"
#: A trial account may send to some numbers only.
NOT_WHITELISTED = "29"

MAX_BODY = 1600
MAX_CALLBACK = 100
#: Vonage's bounds for the time that it may keep a message, in milliseconds.
TTL_MS = (20_000, 604_800_000)
#: Seconds by which Vonage's clock may be behind ours; the longest span that one question may be about.
CLOCK_SKEW_S, SPAN = 60, timedelta(hours=24)


class Vonage:
    """One Vonage account, sending from one number or name."""

    name: Provider = "vonage"
    channel: Channel = "sms"

    def __init__(self, settings: Settings) -> None:
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
        body = message.body or ""
        if not E164.fullmatch(to.value):
            return unusable("not_e164")
        if len(body) > MAX_BODY:
            return dropped(TOO_LONG, "too_large")
        form = urlencode(self._form(body, to, handle)).encode("ascii")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = await self._rest.post(f"{self._settings.base_url}/sms/json", form, headers, timeout_s)
        return reply if isinstance(reply, Outcome) else outcome_of(reply, time.time())

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        """Looks for the send in Vonage's reports: ``ok`` found, None not there (yet), ``in_doubt`` couldn't ask."""
        assert self._rest is not None, "start() first"
        given = self._settings
        since = datetime.fromtimestamp((handle.first_called_at_ms or 0) / 1000, UTC) - timedelta(seconds=CLOCK_SKEW_S)
        question = {
            "account_id": given.api_key,
            "product": "SMS",
            "direction": "outbound",
            "to": to.value.removeprefix("+"),
            "date_start": _written(since),
            "date_end": _written(min(datetime.now(UTC) + timedelta(seconds=CLOCK_SKEW_S), since + SPAN)),
        }
        authorization = aiohttp.encode_basic_auth(given.api_key, given.api_secret.get_secret_value())
        reply = await self._rest.get(
            f"{given.reports}/v2/reports/records", question, {"Authorization": authorization}, timeout_s
        )
        if isinstance(reply, Outcome):
            return lost("connection_lost", reply.code)
        if reply.status != 200:
            return lost("connection_lost", str(reply.status))
        ours = (one.get("message_id") for one in _objects(reply, "records") if one.get("client_ref") == handle.send_id)
        message_id = next((name for name in ours if isinstance(name, str)), None)
        return None if message_id is None else Outcome("ok", provider_message_id=message_id[:MAX_MESSAGE_ID])

    async def close(self) -> None:
        if self._rest is not None:
            await self._rest.close()

    def _form(self, body: str, to: Address, handle: Handle) -> dict[str, str]:
        left_ms = handle.expires_at_ms - time.time_ns() // 1_000_000
        form = {
            "api_key": self._settings.api_key,
            "api_secret": self._settings.api_secret.get_secret_value(),
            "from": self._settings.from_,
            "to": to.value.removeprefix("+"),
            "text": body,
            "type": "text" if is_gsm(body) else "unicode",
            "client-ref": handle.send_id,
            "ttl": str(min(max(left_ms, TTL_MS[0]), TTL_MS[1])),
        }
        callback = (handle.callback_url or "").partition("?")[0]  # client-ref names the send already
        if 0 < len(callback) <= MAX_CALLBACK:
            form["callback"] = callback
        return form


def outcome_of(reply: Reply, now_s: float) -> Outcome:
    """What an answer means: that of all the parts that the text was cut into."""
    parts = [(str(one.get("status")), one.get("message-id")) for one in _objects(reply, "messages")]
    statuses = {status for status, _ in parts}
    wait_ms = retry_after_ms(reply.headers.get("Retry-After"), now_s)
    if not parts:
        if 200 <= reply.status < 300:
            return lost("connection_lost", "unreadable")
        return answered(kind_without_redirects(reply.status), str(reply.status), wait_ms)
    if statuses == {TAKEN}:
        names = (name for _, name in parts if isinstance(name, str))
        return Outcome("ok", provider_message_id=next(names, None))
    if TAKEN in statuses:
        return lost("connection_lost", "partly_sent")
    return _refused(parts[0][0], wait_ms)


def _refused(status: str, wait_ms: int | None) -> Outcome:
    if status == NOT_WHITELISTED:
        return Outcome("config", code=status, scope="address")
    if status == TOO_LONG:
        return dropped(status, "too_large")
    return answered(STATUSES.get(status, "drop"), status, wait_ms)


def _objects(reply: Reply, name: str) -> Iterator[dict[str, Any]]:
    found = reply.json().get(name)
    return (one for one in found if isinstance(one, dict)) if isinstance(found, list) else iter(())


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
