"""The records of the public topics as JSON Schemas (draft 2020-12), made of the structs that read and write them.

A schema takes whatever the reader takes. docs/records.md has what it can't say: that a template and content exclude
each other, what makes a time or a size.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from schemas.cloudevents import CloudEvent
from schemas.commands import AnyCommand
from schemas.config import ConfigRecord
from schemas.dead import DeadLetter
from schemas.lifecycle import LifecycleEvent
from schemas.receipts import Receipt
from schemas.requests import Request
from schemas.sends import Item, Send, Withdraw

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{name}"


@dataclass(frozen=True, slots=True)
class Published:
    """A kind of record. ``all_given``: whoever writes it gives every field, with null for what doesn't apply.
    ``examples``: real ones."""

    name: str
    title: str
    kind: Any
    examples: tuple[Mapping[str, Any], ...]
    all_given: bool = False


def _described(kind: type[Struct], **types: Any) -> Any:
    """The same with other types for what is kept as the bytes that came."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for each in msgspec.structs.fields(kind):
        if each.name in types:
            fields.append((each.name, types[each.name], None))
        elif each.required:
            fields.append((each.name, each.type))
        else:
            fields.append((each.name, each.type, each.default))
    config = kind.__struct_config__
    namespace = {"__doc__": kind.__doc__}
    return msgspec.defstruct(
        kind.__name__, fields, kw_only=True, tag=config.tag, tag_field=config.tag_field, namespace=namespace
    )


_Data = dict[str, Any] | None
_AS_THEY_COME = {"data": _Data, "traceparent": str | None, "tracestate": str | None}
_REQUEST, _CLOUD_EVENT = _described(Request, **_AS_THEY_COME), _described(CloudEvent, **_AS_THEY_COME)
_SEND_KIND = _described(Send, data=_Data, items=list[_described(Item, data=_Data)] | None)  # type: ignore[misc]

_ADA = {"user_id": "ada"}
_AT = "2026-11-21T09:30:00Z"
_NOTIFICATION = "63a82c39-78a2-5b32-bbc5-bff671aac091"
_SEND = "dbff0e5d-deaa-8488-9294-fb3748ca0005"

RECORDS: Mapping[str, Published] = {
    each.name: each
    for each in (
        Published(
            "request",
            "Asks Tocsin to notify one user",
            _REQUEST,
            (
                {
                    **_ADA,
                    "event_type": "order.shipped",
                    "source": "shop",
                    "idempotency_key": "order-4711-shipped",
                    "data": {"order_id": 4711, "carrier": "Post"},
                    "created_at": _AT,
                },
                {
                    **_ADA,
                    "event_type": "chat.message",
                    "source": "chat",
                    "channels": ["push"],
                    "collapse_key": "chat-17",
                    "content": {"title": "Grace", "body": "Shall we?"},
                },
            ),
        ),
        Published(
            "cloudevent",
            "The same as a CloudEvent 1.0, structured",
            _CLOUD_EVENT,
            (
                {
                    "specversion": "1.0",
                    "id": "order-4711-shipped",
                    "source": "shop",
                    "type": "order.shipped",
                    "subject": "ada",
                    "time": _AT,
                    "data": {"order_id": 4711},
                },
            ),
        ),
        Published(
            "command",
            "Changes what is known about a user",
            AnyCommand,
            (
                {**_ADA, "type": "profile.set", "id": "c1", "at": _AT, "email": "ada@example.com", "name": None},
                {
                    **_ADA,
                    "type": "device.add",
                    "id": "c2",
                    "at": _AT,
                    "device_id": "phone",
                    "platform": "android",
                    "token": "t",
                },
                {**_ADA, "type": "notification.cancel", "id": "c3", "at": _AT, "notification_id": _NOTIFICATION},
            ),
        ),
        Published(
            "receipt",
            "A report about a send",
            Receipt,
            (
                {
                    "id": "r1",
                    "status": "bounced",
                    "reason": "hard",
                    "occurred_at": _AT,
                    "provider": "ses",
                    "send_id": _SEND,
                },
                {**_ADA, "id": "r2", "status": "opened", "occurred_at": _AT, "notification_id": _NOTIFICATION},
            ),
        ),
        Published(
            "send",
            "A send to make, or to withdraw",
            _SEND_KIND | Withdraw,
            (
                {
                    **_ADA,
                    "kind": "send",
                    "send_id": _SEND,
                    "notification_id": _NOTIFICATION,
                    "channel": "email",
                    "event_type": "order.shipped",
                    "category": "orders",
                    "priority": "high",
                    "policy_version": 3,
                    "created_at": 1_763_717_400_000,
                    "accepted_at": 1_763_717_400_134,
                    "expires_at": 1_763_890_200_000,
                },
                {**_ADA, "kind": "withdraw", "send_id": _SEND, "status": "cancelled"},
            ),
        ),
        Published(
            "lifecycle",
            "Something that happened to a notification",
            LifecycleEvent,
            (
                {
                    **_ADA,
                    "event_id": "fa9a3d96-2ffe-8d6a-86fe-acca3a35adb1",
                    "notification_id": _NOTIFICATION,
                    "send_id": _SEND,
                    "status": "sent",
                    "reason": None,
                    "channel": "email",
                    "provider": "ses",
                    "attempt": 1,
                    "event_type": "order.shipped",
                    "category": "orders",
                    "priority": "high",
                    "source": "shop",
                    "campaign_id": None,
                    "template_id": "order_shipped",
                    "template_version": 1,
                    "variant": None,
                    "policy_version": 3,
                    "provider_message_id": "0102018f",
                    "replay_id": None,
                    "occurred_at": "2026-11-21T09:30:01.134Z",
                    "detail": {"latency_ms": 1000},
                },
            ),
            all_given=True,
        ),
        Published(
            "dead-letter",
            "A record that was refused",
            DeadLetter,
            (
                {
                    "topic": "notify_events",
                    "partition": 3,
                    "offset": 1204,
                    "timestamp": 1_763_717_400_000,
                    "headers": [["trace", "MQ=="]],
                    "key": "YWRh",
                    "value": "e30=",
                    "reason": "is required",
                    "code": "invalid",
                    "field": "event_type",
                    "role": "router",
                    "at": _AT,
                },
            ),
        ),
        Published(
            "config",
            "A version of the policy or of a template",
            ConfigRecord,
            (
                {"kind": "policy", "version": 3, "text": "timezone: UTC\n", "at": _AT},
                {
                    "kind": "template",
                    "version": 1,
                    "template": {"id": "hello", "channels": {"sms": {"en": {"body": "Hello {{ user.name }}"}}}},
                    "at": _AT,
                    "deleted": False,
                },
            ),
        ),
    )
}


def schema_of(published: Published, base: str | None = None) -> dict[str, Any]:
    """A whole document. ``base``: where it is served, for its ``$id``."""
    [root], parts = msgspec.json.schema_components([published.kind], ref_template=_REF)
    schema: dict[str, Any] = {"$schema": DIALECT}
    if base is not None:
        schema["$id"] = f"{base}/schemas/{published.name}.json"
    schema |= {"title": published.title, **root, "$defs": _finished(published, parts)}
    return schema | {"examples": [deepcopy(dict(each)) for each in published.examples]}


def parts_of(published: Published, ref: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the record's schema, the schemas that it is made of). ``ref``: where these will lie, with ``{name}``."""
    [root], parts = msgspec.json.schema_components([published.kind], ref_template=ref)
    return root, _finished(published, parts)


def _finished(published: Published, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    finished = {name: deepcopy(part) for name, part in parts.items()}
    for part in finished.values():
        if "description" in part:
            part["description"] = " ".join(part["description"].split())
        if published.all_given:
            part["required"] = list(part["properties"])
        for each in _below(part):
            each.pop("default", None)  # null says no more than an absent field
    return finished


def _below(schema: Any) -> Iterator[dict[str, Any]]:
    match schema:
        case dict():
            if "default" in schema and not isinstance(schema["default"], dict):
                yield schema
            for each in schema.values():
                yield from _below(each)
        case list():
            for each in schema:
                yield from _below(each)
