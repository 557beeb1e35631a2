"""Twilio's status callbacks, to the URL that the message named, and messages that come in."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from app.sandbox.callbacks.plans import Kind
from app.sandbox.callbacks.reports import Post, Told

_STATUS: dict[Kind, str] = {"accepted": "sent", "delivered": "delivered", "bounced": "undelivered"}
#: Unknown destination handset.
_GONE = "30005"


class Twilio:
    """Signs with the account's token."""

    def __init__(self, folder: Path, opened: Mapping[str, Any]) -> None:
        self.settings: Mapping[str, Any] = {}
        self._account: str = opened["account_sid"]
        self._token: str = opened["auth_token"]
        self._number: str = opened["from"]

    def report(self, told: Told, now_ms: int) -> Post | None:
        url, status = told.message.tags.get("StatusCallback"), _STATUS.get(told.kind)
        if url is None or status is None:
            return None
        fields = {
            "MessageSid": told.message.provider_message_id,
            "SmsSid": told.message.provider_message_id,
            "MessageStatus": status,
            "SmsStatus": status,
            "To": told.message.address,
            "From": told.message.sender or self._number,
        }
        return self._post(url, fields | ({"ErrorCode": _GONE} if told.kind == "bounced" else {}))

    def inbound(self, sender: str, said: str, name: str, url: str, now_ms: int) -> Post | None:
        fields = {
            "MessageSid": f"SM{name.replace('-', '')}",
            "SmsStatus": "received",
            "From": sender,
            "To": self._number,
            "Body": said,
            "NumMedia": "0",
        }
        return self._post(f"{url}/v1/webhooks/twilio", fields)

    def _post(self, url: str, fields: dict[str, str]) -> Post:
        fields = {"AccountSid": self._account, "ApiVersion": "2010-04-01", **fields}
        signed = url + "".join(f"{name}{fields[name]}" for name in sorted(fields))
        signature = base64.b64encode(hmac.new(self._token.encode(), signed.encode(), hashlib.sha1).digest()).decode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
        return Post(url, headers, urlencode(fields).encode())
