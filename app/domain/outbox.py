"""A row of a service's outbox as a record of the event topics, or why it can't be one."""

from typing import Any, NamedTuple

import msgspec

from schemas.decode import Invalid, Malformed, Reader, check_size
from schemas.requests import MAX_RECORD_BYTES, check_request, read_request
from schemas.topics import EVENT_TOPIC_OF_LANE
from schemas.words import Lane

_read_fields: Reader[dict[str, msgspec.Raw]] = Reader(dict[str, msgspec.Raw])
#: What the row's columns and the relay say.
_NOT_TAKEN = ("user_id", "source", "idempotency_key", "notification_id")


class EventRecord(NamedTuple):
    topic: str
    key: bytes
    value: bytes


def event_record(
    user_id: str, request: str, idempotency_key: str, created_at: str | None, source: str, now_ms: int
) -> EventRecord:
    """The request for the user, keyed by the row's own key, so that it is the same notification however often it is
    relayed. It happened when the row was written (``created_at``; None: no instant that counts), unless it says
    otherwise. Raises Invalid."""
    fields: dict[str, Any] = dict(_read_fields(request))
    if (taken := next((name for name in _NOT_TAKEN if name in fields), None)) is not None:
        raise Malformed("is set by the table's columns and the relay, not in request", taken)
    if created_at is None and "created_at" not in fields:
        raise Malformed("must be from 1970 to 2200", "created_at")
    value = msgspec.json.encode(
        {
            "created_at": created_at,
            **fields,
            "user_id": user_id,
            "source": source,
            "idempotency_key": idempotency_key,
        }
    )
    check_size(value, MAX_RECORD_BYTES, len(user_id.encode()))
    read = read_request(value)
    check_request(read, now_ms)
    return EventRecord(EVENT_TOPIC_OF_LANE[_lane(read.priority, bool(read.campaign_id))], user_id.encode(), value)


def _lane(priority: str | None, is_campaign: bool) -> Lane:
    """By what the request says itself: the policy is the routers'."""
    if priority == "critical":
        return "critical"
    return "bulk" if priority == "low" or is_campaign else "normal"


def words(invalid: Invalid) -> str:
    """Why, for the row: without what it holds."""
    return f"{invalid.field}: {invalid.reason}" if invalid.field else invalid.reason
