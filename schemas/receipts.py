"""Receipts: what came back from a provider or an app (docs/records.md#receipts)."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.decode import AnyId, Invalid, Malformed, Reader, Reason, RecordId, UserId, check_size
from schemas.instants import FIRST_MS, LAST_MS, Instant, parse_ms
from schemas.words import Channel, Provider, Status

ReceiptStatus = Literal[
    "delivered", "opened", "clicked", "seen", "read", "bounced", "complained", "unsubscribed", "failed"
]

#: What a receipt says besides itself.
IMPLIES: dict[Status, tuple[Status, ...]] = {
    "clicked": ("opened", "delivered"),
    "read": ("opened", "delivered"),
    "opened": ("delivered",),
    "seen": ("delivered",),
}


MAX_RECEIPT_BYTES = 64 * 1024


class Receipt(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    id: RecordId
    occurred_at: Instant
    status: ReceiptStatus
    user_id: UserId | None = None
    notification_id: AnyId | None = None
    send_id: AnyId | None = None
    reason: Reason | None = None
    channel: Channel | None = None
    provider: Provider | None = None
    provider_message_id: Annotated[str, Meta(max_length=1000)] | None = None
    detail: dict[str, Any] | None = None


_read: Reader[Receipt] = Reader(Receipt)


def read_receipt(value: bytes) -> Receipt:
    """A valid receipt; raises Invalid with the field."""
    check_size(value, MAX_RECEIPT_BYTES)
    receipt: Receipt = _read(value)
    try:
        parse_ms(receipt.occurred_at)
    except ValueError as error:
        raise Malformed("is not an RFC 3339 date-time, such as 2026-11-29T10:00:00Z", "occurred_at") from error
    if receipt.send_id is None and receipt.notification_id is None:
        raise Invalid("give send_id or notification_id", "send_id")
    if receipt.user_id is None and receipt.send_id is None:
        raise Invalid("is required where there is no send_id", "user_id")
    return receipt


#: How long after its record a receipt may say that it happened, and how long before.
_MAX_AHEAD_MS = 5 * 60_000
_MAX_BEFORE_MS = 30 * 24 * 3_600_000


def happened_ms(receipt: Receipt, recorded_ms: int) -> int | None:
    """When it happened, by its own word, Unix ms; None where that can't be: a phone's clock may be wrong by years.

    ``recorded_ms``: the record's timestamp.
    """
    ms = parse_ms(receipt.occurred_at)
    possible = FIRST_MS <= ms <= LAST_MS and recorded_ms - _MAX_BEFORE_MS <= ms <= recorded_ms + _MAX_AHEAD_MS
    return ms if possible else None


#: What may be a machine's doing: a prefetch, or a scan of links.
_FETCHED = frozenset(("opened", "clicked"))


def is_machine(receipt: Receipt) -> bool:
    """Whether it says of itself that a mail program's prefetch or a link scanner caused it."""
    return receipt.status in _FETCHED and receipt.detail is not None and receipt.detail.get("machine") is True


encode_receipt = msgspec.json.Encoder().encode
