"""Firebase Cloud Messaging by firebase-admin's messaging service, over an HTTP client that sends each message once."""

import asyncio
import json
import re
import time
from typing import Any

import firebase_admin
import httpx
from firebase_admin import credentials, exceptions, messaging
from google.auth import exceptions as google_exceptions

from app.config.providers import Fcm as Settings
from app.domain.outcome import Outcome, OutcomeKind
from app.ports import Address, Handle, Message
from app.providers.fcm_http import AccessToken, OneRequest
from app.providers.push import actions_of
from app.providers.wire import (
    answered,
    dropped,
    kind_of_status,
    leaves,
    lost,
    not_sent,
    retry_after_ms,
)
from schemas.requests import PushOptions
from schemas.words import Channel, Provider

#: FCM's error codes in our words (firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode), and the canonical ones
#: that stand alone where the API itself refuses.
CODES: dict[str, OutcomeKind] = {
    "INVALID_ARGUMENT": "drop",
    "UNREGISTERED": "bad_token",
    "SENDER_ID_MISMATCH": "bad_token",
    "QUOTA_EXCEEDED": "throttle",
    "RESOURCE_EXHAUSTED": "throttle",
    "THIRD_PARTY_AUTH_ERROR": "config",
    "APNS_AUTH_ERROR": "config",
    "UNAUTHENTICATED": "config",
    "PERMISSION_DENIED": "config",
    "NOT_FOUND": "config",
    "INTERNAL": "retry",
    "UNAVAILABLE": "retry",
}
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
#: How a quota that is exceeded is one device's, not the project's or a topic's.
_OF_DEVICE = re.compile(r"^device:|\bdevice[ _-]?(message|quota|rate|limit)|\bper[ _-]?device\b", re.I)
#: Google asks for these waits where an answer names none.
WAITS_MS: dict[str, int] = {"QUOTA_EXCEEDED": 60_000, "RESOURCE_EXHAUSTED": 60_000, "INTERNAL": 10_000}

MAX_PAYLOAD = 4096
MAX_TTL_S = 2_419_200
#: Keys of ``data`` that FCM refuses with the whole message.
RESERVED, RESERVED_PREFIXES = frozenset(("from", "message_type", "collapse_key")), ("google.", "gcm.")
_AS_USUAL = PushOptions()


class Fcm:
    """One Firebase project, named by its service account."""

    name: Provider = "fcm"
    channel: Channel = "push"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._token: AccessToken | None = None
        self._service: Any = None

    async def start(self) -> None:
        """Reads the key; nothing is called yet.

        Raises:
            ValueError: a file can't be read or doesn't hold what it should.
        """
        given = self._settings
        try:
            certificate = credentials.Certificate(str(given.service_account_file))
        except (OSError, ValueError) as error:
            told = f"{given.service_account_file}: not a readable service account key"
            raise ValueError(f"providers.fcm.service_account_file: {told}") from error
        self._token = AccessToken(certificate, given.ca_file)
        app = firebase_admin.App("tocsin", certificate, {})
        self._service = messaging._MessagingService(app)
        self._service._fcm_url = f"{given.base_url.rstrip('/')}/v1/projects/{app.project_id}/messages:send"
        self._service._async_client = OneRequest(self._token, given)

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """Makes one request: see ``ProviderClient.send``."""
        assert self._service is not None, "start() first"
        assert self._token is not None
        composed = compose(message, to, handle, time.time())
        if _payload_size(self._service.encode_message(composed)) > MAX_PAYLOAD:
            return dropped("INVALID_ARGUMENT", "too_large")
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                await self._token.ready()
        except (google_exceptions.GoogleAuthError, OSError) as error:
            return outcome_without_token(error)
        try:
            async with asyncio.timeout_at(deadline):
                leaves()
                batch = await self._service.send_each_async([composed], dry_run=False)
        except TimeoutError:
            return lost("timeout")
        except exceptions.FirebaseError as error:  # an answer that the library can't read
            return lost("connection_lost", type(error.cause).__name__)
        answer = batch.responses[0]
        if answer.success:
            return Outcome("ok", provider_message_id=answer.message_id)
        outcome = outcome_of(answer.exception, time.time())
        if outcome.code == "UNAUTHENTICATED":
            self._token.forget()
        return outcome

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        """FCM offers no way to ask."""
        return None

    async def close(self) -> None:
        if self._service is not None:
            await self._service._async_client.aclose()
        if self._token is not None:
            self._token.close()


def compose(message: Message, to: Address, handle: Handle, now_s: float) -> messaging.Message:
    """The message as firebase-admin's object: names in ``data``, replacement on screen by tag and collapse id."""
    links = {name: link for name, link in (("url", message.url), ("image", message.image)) if link}
    extra = {
        name: value
        for name, value in message.data.items()
        if name not in RESERVED and not name.startswith(RESERVED_PREFIXES)
    }
    options = message.push or _AS_USUAL
    said = {"category": options.category} if options.category else {}
    if options.actions:
        said["actions"] = json.dumps(actions_of(options), ensure_ascii=False, separators=(",", ":"))
    names = {"send_id": handle.send_id, "notification_id": handle.notification_id}
    shown = messaging.Notification(title=message.title, body=message.body, image=message.image)
    composed = messaging.Message(
        data={**extra, **links, **said, **names},
        notification=None if options.silent else shown,
        android=_android(options, handle, now_s),
        apns=messaging.APNSConfig(
            headers={
                "apns-collapse-id": handle.collapse_id,
                "apns-expiration": str(handle.expires_at_ms // 1000),
                "apns-priority": "5" if handle.priority == "low" else "10",
            }
        ),
    )
    composed.token = to.value  # the constructor warns of it, in favour of an id that devices don't report yet
    return composed


def _android(options: PushOptions, handle: Handle, now_s: float) -> messaging.AndroidConfig:
    usual = "high" if handle.priority in ("critical", "high") else "normal"
    shown = messaging.AndroidNotification(
        tag=handle.collapse_id,
        channel_id=options.android_channel_id,
        sound=options.sound or None,
        notification_count=options.badge,
    )
    return messaging.AndroidConfig(
        ttl=min(max(0, int(handle.expires_at_ms / 1000 - now_s)), MAX_TTL_S),
        priority=options.android_priority or usual,
        notification=None if options.silent else shown,
    )


def _payload_size(encoded: dict[str, Any]) -> int:
    counted = {name: encoded[name] for name in ("notification", "data") if name in encoded}
    return len(json.dumps(counted, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def outcome_without_token(error: Exception) -> Outcome:
    """What it means that no access token could be had: nothing was sent."""
    if isinstance(error, google_exceptions.RefreshError) and not error.retryable:
        told = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], dict) else {}
        return Outcome("config", code=str(told.get("error") or "RefreshError"))
    return not_sent(type(error).__name__)


def outcome_of(error: exceptions.FirebaseError | None, now_s: float) -> Outcome:
    """What a failed request means."""
    if error is None:
        return lost("connection_lost", "no_name")  # 200 without a message's name
    response = error.http_response
    if response is None:
        match error.cause:
            case httpx.ConnectError():
                return not_sent("ConnectError")
            case cause:
                return lost("connection_lost", type(cause).__name__)
    told = _told(response)
    code = _code(told) or str(response.status_code)
    kind = CODES.get(code) or kind_of_status(response.status_code)
    if code == "INVALID_ARGUMENT" and _names_token(told):
        return Outcome("bad_token", code=code)
    wait_ms = retry_after_ms(response.headers.get("Retry-After"), now_s)
    if wait_ms is None:
        wait_ms = WAITS_MS.get(code)
    return answered(kind, code, wait_ms, "address" if kind == "throttle" and _is_of_device(told) else "lane")


def _told(response: Any) -> dict[str, Any]:
    try:
        told = response.json()["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _details(told: dict[str, Any]) -> list[dict[str, Any]]:
    details = told.get("details")
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def _code(told: dict[str, Any]) -> str | None:
    """FCM's own code; without one the canonical status."""
    own = next((one.get("errorCode") for one in _details(told) if one.get("@type") == FCM_ERROR), None)
    code = own or told.get("status")
    return code if isinstance(code, str) else None


def _names_token(told: dict[str, Any]) -> bool:
    return any(each.get("field") == "message.token" for each in _violations(told, "fieldViolations"))


def _is_of_device(told: dict[str, Any]) -> bool:
    """Whether the quota is one device's. An answer that doesn't say is of all that is sent."""
    named = [f"{each.get('subject')} {each.get('description')}" for each in _violations(told, "violations")]
    return bool(named) and all(_OF_DEVICE.search(one) for one in named)


def _violations(told: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Those of all details; anything else that stands there is passed over."""
    listed = [each for one in _details(told) if isinstance(found := one.get(name), list) for each in found]
    return [each for each in listed if isinstance(each, dict)]
