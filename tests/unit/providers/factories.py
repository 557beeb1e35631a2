"""Messages, addresses and handles with every field filled, to be varied by tests."""

import dataclasses
import time
import uuid
from typing import Any

from app.ports import Address, Handle, Message


def a_handle(**changes: Any) -> Handle:
    send_id = str(uuid.uuid4())
    handle = Handle(
        send_id=send_id,
        notification_id=str(uuid.uuid4()),
        attempt=1,
        priority="normal",
        category="orders",
        expires_at_ms=int(time.time() * 1000) + 3_600_000,
        collapse_id=send_id,
        first_called_at_ms=int(time.time() * 1000),
        callback_url=f"http://127.0.0.1:8080/v1/webhooks/twilio?send_id={send_id}",
    )
    return dataclasses.replace(handle, **changes)


def a_message(**changes: Any) -> Message:
    message = Message(
        title="Your order",
        body="It has left.",
        subject="Your order",
        html="<p>It has left.</p>",
        text="It has left.",
        url="https://shop.example/orders/7",
        data={"order": "7"},
        headers={"List-Unsubscribe": "<https://shop.example/u/1>"},
    )
    return dataclasses.replace(message, **changes)


def a_device(value: str = "ab" * 32, **changes: Any) -> Address:
    return dataclasses.replace(Address(channel="push", value=value, platform="ios"), **changes)
