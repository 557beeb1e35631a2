"""Notifications out of bodies: read, checked against the policy in force, and made into one record a recipient."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.api.problems import Problem, problem_of
from app.domain.catalog import Catalog
from app.domain.ids import keyed_notification_id
from app.store.publisher import Outgoing
from schemas.decode import IdempotencyKey, Invalid, Reader, UserId
from schemas.requests import MAX_DATA_BYTES, PushOptions, Request, check_request
from schemas.topics import EVENT_TOPIC_OF_LANE
from schemas.words import Lane, Priority

MAX_RECIPIENTS = 1000


class NotificationBody(Request, frozen=True, kw_only=True, omit_defaults=True):
    """A request for one user or for several."""

    user_id: UserId | None = None  # type: ignore[assignment]
    user_ids: Annotated[list[UserId], Meta(min_length=1, max_length=MAX_RECIPIENTS)] | None = None


class Taken(msgspec.Struct, frozen=True):
    """A notification that may be published: its id, its recipients, and the request that each record repeats."""

    notification_id: str
    recipients: tuple[str, ...]
    request: dict[str, Any]
    lane: Lane

    def records(self) -> Iterator[Outgoing]:
        topic = EVENT_TOPIC_OF_LANE[self.lane]
        for user_id in self.recipients:
            value = msgspec.json.encode(Request(user_id=user_id, **self.request))
            yield Outgoing(topic, user_id.encode(), value)


_read_body: Reader[NotificationBody] = Reader(NotificationBody)
#: What a service can't say over HTTP.
_NOT_TAKEN = (
    "user_id",
    "user_ids",
    "replay_id",
    "assigned_id",
    "notification_id",
    "source",
    "idempotency_key",
    "local_time",
    "remembered_until",
)
_DESCRIBED = {
    "data": Annotated[dict[str, Any] | None, Meta(description="At most 64 KiB as compact JSON")],
    "traceparent": Annotated[
        str | None, Meta(description="W3C Trace Context; in place of the header. What isn't one counts as absent")
    ],
    "tracestate": Annotated[str | None, Meta(description="W3C Trace Context, beside traceparent")],
}
_COPIED = tuple(name for name in Request.__struct_fields__ if name not in _NOT_TAKEN)


#: The body as it is described to callers.
Notification = msgspec.defstruct(
    "Notification",
    [
        (field.name, field.type) if field.required else (field.name, _DESCRIBED.get(field.name, field.type), None)
        for field in msgspec.structs.fields(NotificationBody)
        if field.name not in _NOT_TAKEN or field.name in ("user_id", "user_ids", "idempotency_key")
    ],
    kw_only=True,
)


def take(
    raw: bytes | msgspec.Raw,
    header_key: str | None,
    source: str,
    catalog: Catalog,
    now_ms: int,
    new_id: str,
    *,
    may_be_critical: bool = True,
    check_event_type: Callable[[str], None] = lambda _: None,
) -> Taken:
    """What a body asks for, as the service of this source. ``header_key``: the Idempotency-Key header;
    ``may_be_critical``: whether the service's key may ask for that; ``check_event_type`` raises Problem for what it may
    not send for.

    Raises Problem with the field.
    """
    body = _read(raw)
    check_event_type(body.event_type)
    if not may_be_critical:
        body = _lowered(body, catalog)
    key = _key_of(body, header_key)
    recipients = _recipients_of(body)
    lane = _check(body, source, catalog, now_ms)
    notification_id = keyed_notification_id(source, key) if key is not None else new_id
    request = {name: getattr(body, name) for name in _COPIED}
    if len(body.data_json) > MAX_DATA_BYTES:  # blanks: what is at most 64 KiB without them would be too large a record
        request["data"] = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(body.data_json)))
    request |= {"source": source, "idempotency_key": key, "assigned_id": None if key is not None else new_id}
    return Taken(notification_id, recipients, request, lane)


def _read(raw: bytes | msgspec.Raw) -> NotificationBody:
    try:
        body = _read_body(raw)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    if body.notification_id is not None:
        raise Problem(400, "is for records on Kafka; over HTTP give idempotency_key", "notification_id")
    return body


def _lowered(body: NotificationBody, catalog: Catalog) -> NotificationBody:
    """Critical no more than high, whether the body asks for it or the event type's rule; and no push that breaks
    through as a critical one does."""
    asked = body.priority or catalog.policy.rule_of(body.event_type).priority
    priority = "high" if asked == "critical" else body.priority
    return msgspec.structs.replace(body, priority=priority, push=_quieter(body.push))


def _quieter(push: PushOptions | None) -> PushOptions | None:
    if push is None:
        return None
    level = "active" if push.interruption_level == "time-sensitive" else push.interruption_level
    android = None if push.android_priority == "high" else push.android_priority
    return msgspec.structs.replace(push, interruption_level=level, android_priority=android)


def _key_of(body: NotificationBody, header_key: str | None) -> str | None:
    if header_key is None:
        return body.idempotency_key
    if body.idempotency_key is not None and body.idempotency_key != header_key:
        raise Problem(400, "differs from the header Idempotency-Key", "idempotency_key")
    try:
        header_key.encode()
        return msgspec.convert(header_key, IdempotencyKey)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise Problem(400, "the header Idempotency-Key has 1 to 255 printable characters", "idempotency_key") from error


def _recipients_of(body: NotificationBody) -> tuple[str, ...]:
    if (body.user_id is None) == (body.user_ids is None):
        raise Problem(400, "give exactly one of user_id and user_ids", "user_id")
    if body.user_ids is not None:
        return tuple(dict.fromkeys(body.user_ids))
    assert body.user_id is not None
    return (body.user_id,)


def _check(body: NotificationBody, source: str, catalog: Catalog, now_ms: int) -> Lane:
    try:
        check_request(body, now_ms, catalog.bounds.link_schemes)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    rule = catalog.policy.rule_of(body.event_type)
    template_id = body.template_id or (rule.template if body.content is None else None)
    if body.content is None and template_id is None:
        raise Problem(422, "give template_id or content: the policy has no template for this event type", "template_id")
    if template_id is not None and catalog.template(template_id) is None:
        raise Problem(422, f"there is no template {template_id}", "template_id")
    return lane_of(catalog.policy.priority_of(rule, body.priority, source), body.campaign_id is not None)


def lane_of(priority: Priority, campaign: bool) -> Lane:
    """Critical goes ahead of everything; campaigns and what is low give way to the rest."""
    if priority == "critical":
        return "critical"
    return "bulk" if campaign or priority == "low" else "normal"
