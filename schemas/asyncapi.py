"""The public topics as an AsyncAPI 3.0 document: what lies on each, under which key, and who writes it."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from schemas import topics
from schemas.published import RECORDS, Published, parts_of
from schemas.sizes import limit_of
from schemas.traces import TRACEPARENT, TRACESTATE

#: Of the topics, not of the program.
_VERSION = "1.0.0"
_BINDING = "0.5.0"
_DAY_MS = 86_400_000
_SCHEMAS = "#/components/schemas/{name}"
_USER_KEY = {"type": "string", "minLength": 1, "maxLength": 128, "description": "The user id, in UTF-8"}
_CONFIG_KEY = {
    "type": "string",
    "description": "policy, or template:ID: the current version; with @N: that version, for ever",
}
_ORIGIN: Mapping[str, Any] = {
    "tocsin-origin": {
        "type": "string",
        "description": "The record's original position, topic:partition:offset:signature; Tocsin sets it",
    },
    "tocsin-first-letter": {
        "type": "string",
        "description": "Of a record that was put back: the first dead letter's id; Tocsin sets it",
    },
}


@dataclass(frozen=True, slots=True)
class Message:
    """A form in which a record comes. ``headers``: JSON Schemas by name."""

    name: str
    record: str
    key: Mapping[str, Any]
    headers: Mapping[str, Any]
    summary: str
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic. ``action``: what Tocsin does with it; services do the other."""

    topic: str
    messages: tuple[str, ...]
    action: Literal["receive", "send"]
    about: str


_STRUCTURED = {"content-type": {"type": "string", "pattern": "^application/cloudevents\\+json"}}
_BINARY = {
    f"ce_{name}": {"type": "string"}
    for name in ("specversion", "id", "source", "type", "subject", "time", "priority", "channels", "templateid")
} | {
    f"ce_{name}": {"type": "string"}
    for name in ("sendat", "expiresat", "collapsekey", "campaignid", "locale", TRACEPARENT, TRACESTATE)
}

MESSAGES: Mapping[str, Message] = {
    each.name: each
    for each in (
        Message("request", "request", _USER_KEY, _ORIGIN, "A request, as docs/records.md#requests has it"),
        Message(
            "cloudevent",
            "cloudevent",
            _USER_KEY,
            {**_STRUCTURED, **_ORIGIN},
            "A CloudEvent 1.0, structured",
            "application/cloudevents+json",
        ),
        Message(
            "cloudeventBinary",
            "data",
            _USER_KEY,
            {**_BINARY, **_ORIGIN},
            "A CloudEvent 1.0, binary: attributes in headers, the data as the value",
        ),
        Message("command", "command", _USER_KEY, _ORIGIN, "A command, as docs/records.md#commands has it"),
        Message("receipt", "receipt", _USER_KEY, _ORIGIN, "A receipt, as docs/records.md#receipts has it"),
        Message("send", "send", _USER_KEY, {}, "A send to make, or to withdraw"),
        Message("lifecycle", "lifecycle", _USER_KEY, {}, "An event, as docs/records.md#lifecycle-events has it"),
        Message(
            "deadLetter",
            "dead-letter",
            {"type": "string", "description": "The key of its record; may be missing"},
            {},
            "A dead letter, as docs/records.md#dead-letters has it",
        ),
        Message("config", "config", _CONFIG_KEY, {}, "A version of the policy or of a template"),
    )
}
_EVENT_MESSAGES = ("request", "cloudevent", "cloudeventBinary")
_LANES = {
    topics.EVENTS_CRITICAL: "The critical lane: processed first",
    topics.EVENTS: "The lane for requests that are neither critical nor in bulk",
    topics.EVENTS_BULK: "The lane for campaigns and low-priority requests",
}

CHANNELS: Mapping[str, Channel] = {
    each.topic: each
    for each in (
        *(Channel(topic, _EVENT_MESSAGES, "receive", _LANES[topic]) for topic in topics.EVENT_TOPICS),
        Channel(topics.COMMANDS, ("command",), "receive", "Changes to what is known about a user"),
        Channel(topics.RECEIPTS, ("receipt",), "receive", "Reports about sends"),
        *(
            Channel(topic, ("send",), "send", f"Sends to make by {channel}; only Tocsin writes it")
            for channel, lanes in topics.SEND_TOPICS.items()
            for topic in lanes
        ),
        Channel(
            topics.LIFECYCLE, ("lifecycle",), "send", "Everything that happens to notifications; only Tocsin writes it"
        ),
        Channel(topics.DEAD, ("deadLetter",), "send", "Records that were refused; only Tocsin writes it"),
        Channel(topics.CONFIG, ("config",), "send", "Policy and templates; only Tocsin writes it"),
    )
}


def asyncapi(partitions: int = 8) -> dict[str, Any]:
    """The whole document. ``partitions``: of every topic but ``notify_config``."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tocsin's topics",
            "version": _VERSION,
            "description": "What services write to Tocsin by Kafka and what they read of it. Records are UTF-8 JSON; "
            "unknown fields are ignored, null is an absent field. A topic's key decides its partition, by Kafka's "
            "default partitioner (murmur2; librdkafka: murmur2_random).",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "`kafka.bootstrap` of the settings",
                "variables": {"bootstrap": {"default": "127.0.0.1:9092"}},
            }
        },
        "channels": {name: _channel(channel, partitions) for name, channel in CHANNELS.items()},
        "operations": {
            f"{channel.action}_{name}": {
                "action": channel.action,
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": channel.about,
            }
            for name, channel in CHANNELS.items()
        },
        "components": {
            "messages": {name: _message(message) for name, message in MESSAGES.items()},
            "schemas": _schemas(),
        },
    }


def _channel(channel: Channel, partitions: int) -> dict[str, Any]:
    kept = topics.KEPT_DAYS.get(channel.topic)
    how: dict[str, Any] = {"cleanup.policy": ["compact" if kept is None else "delete"]}
    if kept is not None:
        how["retention.ms"] = kept * _DAY_MS
    how["max.message.bytes"] = limit_of(channel.topic)
    return {
        "address": channel.topic,
        "description": channel.about,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in channel.messages},
        "bindings": {
            "kafka": {
                "topic": channel.topic,
                "partitions": 1 if channel.topic in topics.SINGLE else partitions,
                "topicConfiguration": how,
                "bindingVersion": _BINDING,
            }
        },
    }


def _message(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": message.name,
        "title": message.summary,
        "contentType": message.media,
        "payload": {"$ref": _SCHEMAS.format(name=message.record)},
        "bindings": {"kafka": {"key": dict(message.key), "bindingVersion": _BINDING}},
    }
    if message.headers:
        made["headers"] = {"type": "object", "properties": deepcopy(dict(message.headers))}
    if examples := list(_examples(message)):
        made["examples"] = examples
    return made


def _examples(message: Message) -> Iterator[dict[str, Any]]:
    if message.name == "cloudeventBinary":
        headers = {"ce_specversion": "1.0", "ce_id": "order-4711-shipped", "ce_source": "shop"}
        headers |= {"ce_type": "order.shipped", "ce_subject": "ada"}
        yield {"name": "binary", "headers": headers, "payload": {"order_id": 4711}}
        return
    given = {"content-type": message.media} if "content-type" in message.headers else {}
    for number, example in enumerate(RECORDS[message.record].examples, 1):
        yield {
            "name": f"{message.name}{number}",
            **({"headers": given} if given else {}),
            "payload": deepcopy(dict(example)),
        }


def _schemas() -> dict[str, Any]:
    """Of all records, and of what they are made of."""
    made: dict[str, Any] = {"data": {"type": "object", "description": "A request's data"}}
    for name in dict.fromkeys(message.record for message in MESSAGES.values() if message.record in RECORDS):
        root, parts = parts_of(RECORDS[name], _SCHEMAS)
        for part, schema in parts.items():
            older = made.setdefault(part, _older(schema))
            assert older == _older(schema), f"two parts of the name {part}"
        made[name] = _titled(RECORDS[name], _older(root))
    return made


def _titled(published: Published, root: dict[str, Any]) -> dict[str, Any]:
    whole = {"allOf": [root]} if "$ref" in root else root
    return {"title": published.title, **whole}


def _older(schema: Any) -> Any:
    """AsyncAPI's schemas are draft 7: tuples are ``items``; and a discriminator is the property's name."""
    match schema:
        case {"prefixItems": list(parts)}:
            rest = {name: _older(each) for name, each in schema.items() if name not in ("prefixItems", "items")}
            return rest | {"items": [_older(part) for part in parts], "additionalItems": False}
        case {"discriminator": {"propertyName": str(name)}}:
            rest = {key: _older(each) for key, each in schema.items() if key != "discriminator"}
            return rest | {"discriminator": name}
        case dict():
            return {name: _older(each) for name, each in schema.items()}
        case list():
            return [_older(each) for each in schema]
        case _:
            return schema
