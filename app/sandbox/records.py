"""The lines that the sandbox writes down: each call received, each message accepted."""

from typing import Any, Literal

import msgspec

#: ``hung`` and ``reset`` (the connection or its stream) were neither accepted nor answered.
Verdict = Literal["accepted", "answered", "refused", "hung", "reset"]


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request received."""

    seq: int
    at_ms: int
    provider: str
    operation: str
    outcome: Verdict
    #: The provider's error code that was given.
    code: str | None = None
    #: The fault that befell it.
    fault_id: str | None = None
    #: The action of that fault (``accept_and_hang`` …).
    fault: str | None = None
    #: The answer comes so much later.
    delay_ms: int | None = None
    #: Other requests that lose their answers with the connection.
    swept: int | None = None
    address: str | None = None
    send_id: str | None = None
    attempt: int | None = None


class Shown(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the phone or the mailbox would show, and what the provider would keep beside it."""

    title: str | None = None
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    url: str | None = None
    image: str | None = None
    sender: str | None = None
    #: A later message with the same one replaces this one on the device.
    collapse_id: str | None = None
    #: Unix seconds after which the provider no longer delivers.
    expiration: int | None = None
    tags: dict[str, str] = {}
    headers: dict[str, str] = {}
    data: dict[str, Any] = {}


class Accepted(Shown, frozen=True, kw_only=True, gc=False):
    """One message accepted."""

    seq: int
    at_ms: int
    provider: str
    provider_message_id: str
    send_id: str | None
    notification_id: str | None
    address: str
    attempt: int | None = None
