"""CloudEvents 1.0 on the event topics, structured or binary, read as the requests they are.

See docs/records.md#cloudevents.
"""

import re
from collections.abc import Sequence, Set

import msgspec
from msgspec import Raw, Struct

from schemas.decode import Invalid, Reader, check_size
from schemas.links import SCHEMES
from schemas.requests import MAX_RECORD_BYTES, Request, check_request, read_request
from schemas.traces import TRACEPARENT, TRACESTATE

_STRUCTURED = b"application/cloudevents+json"
_JSON_TYPE = re.compile(rb"[^/;\s]+/(?:[^/;\s]+\+)?json\s*(?:;|$)")


class CloudEvent(Struct, frozen=True, kw_only=True):
    """The attributes that a request can come from; others are ignored. Extension attributes are strings."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str | None = None
    datacontenttype: str | None = None
    data: Raw = Raw(b"")
    data_base64: str | None = None
    priority: str | None = None
    channels: str | None = None
    templateid: str | None = None
    sendat: str | None = None
    expiresat: str | None = None
    collapsekey: str | None = None
    campaignid: str | None = None
    locale: str | None = None
    traceparent: Raw = Raw(b"")
    tracestate: Raw = Raw(b"")


_read_structured: Reader[CloudEvent] = Reader(CloudEvent)

#: Where an attribute's value ends up; also how a refusal is named after the attribute.
_FIELDS = {
    "subject": "user_id",
    "type": "event_type",
    "source": "source",
    "id": "idempotency_key",
    "time": "created_at",
    "priority": "priority",
    "templateid": "template_id",
    "sendat": "send_at",
    "expiresat": "expires_at",
    "collapsekey": "collapse_key",
    "campaignid": "campaign_id",
    "locale": "locale",
}
_ATTRIBUTES = {field: attribute for attribute, field in _FIELDS.items()}


def read_event(
    value: bytes,
    headers: Sequence[tuple[str, bytes | None]],
    recorded_ms: int,
    schemes: Set[str] = SCHEMES,
    key: bytes | None = None,
) -> tuple[Request, bytes]:
    """A valid request and its JSON, whichever of the three forms the record has. ``recorded_ms`` and ``schemes`` as in
    ``check_request``; ``key`` counts in the size. Raises Invalid with the field's (or the attribute's) name."""
    beside = len(key or b"")
    if headers:
        beside += sum(len(name.encode(errors="surrogateescape")) + len(text or b"") for name, text in headers)
    check_size(value, MAX_RECORD_BYTES, beside)
    if headers:
        named = {name.lower(): text for name, text in headers if text is not None}
        if named.get("content-type", b"").lower().startswith(_STRUCTURED):
            return _request(_read_structured(value), recorded_ms, schemes)
        if "ce_specversion" in named:
            return _request(_binary(value, named), recorded_ms, schemes)
    try:
        request = read_request(value)
    except Invalid:
        if b'"specversion"' not in value:
            raise
        return _request(_read_structured(value), recorded_ms, schemes)
    check_request(request, recorded_ms, schemes)
    return request, value


def _binary(value: bytes, headers: dict[str, bytes]) -> CloudEvent:
    """Attributes in headers ``ce_NAME``, data in the value."""
    content_type = headers.get("content-type", b"application/json").lower()
    if value and not _JSON_TYPE.match(content_type):
        raise Invalid("is not JSON", "datacontenttype")
    try:
        attributes = {name[3:]: text.decode() for name, text in headers.items() if name.startswith("ce_")}
    except UnicodeDecodeError as error:
        raise Invalid("is not UTF-8", "headers") from error
    envelope = _read_structured(msgspec.json.encode(attributes))
    return msgspec.structs.replace(envelope, data=Raw(value))


def _request(event: CloudEvent, recorded_ms: int, schemes: Set[str]) -> tuple[Request, bytes]:
    if event.specversion != "1.0":
        raise Invalid("is not 1.0", "specversion")
    if event.data_base64 is not None:
        raise Invalid("is binary: data must be JSON", "data_base64")
    if event.datacontenttype is not None and not _JSON_TYPE.match(event.datacontenttype.lower().encode()):
        raise Invalid("is not JSON", "datacontenttype")
    fields: dict[str, object] = {
        field: value for attribute, field in _FIELDS.items() if (value := getattr(event, attribute)) is not None
    }
    if event.channels is not None:
        fields["channels"] = [name.strip() for name in event.channels.split(",") if name.strip()]
    given = {"data": event.data, TRACEPARENT: event.traceparent, TRACESTATE: event.tracestate}
    fields |= {field: raw for field, raw in given.items() if bytes(raw)}
    try:
        encoded = msgspec.json.encode(fields)
        request = read_request(encoded)
        check_request(request, recorded_ms, schemes)
    except Invalid as invalid:
        raise type(invalid)(invalid.reason, _ATTRIBUTES.get(invalid.field or "", invalid.field)) from invalid
    return request, encoded
