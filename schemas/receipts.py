"""Receipts: what came back from a provider or an app (contract, "Commands and receipts")."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from schemas.decode import Invalid, Reader, RecordId, UserId
from schemas.instants import Instant
from schemas.words import Channel, Provider, Status

ReceiptStatus = Literal[
    "delivered", "opened", "clicked", "seen", "read", "bounced", "complained", "unsubscribed", "failed"
]

#: What a channel's role tells the router of a send (ours): it began to call, the send ended, or the inbox's item was
#: marked (which the inbox has told already).
Settled = Literal["sending", "sent", "failed", "suppressed", "expired", "cancelled", "unknown", "seen", "read"]

#: What a receipt says besides itself.
IMPLIES: dict[Status, tuple[Status, ...]] = {
    "clicked": ("opened", "delivered"),
    "read": ("opened", "delivered"),
    "opened": ("delivered",),
    "seen": ("delivered",),
}


class Receipt(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    id: RecordId
    occurred_at: Instant
    status: ReceiptStatus | None = None
    #: Written by the channels' roles only, in place of ``status``.
    settled: Settled | None = None
    user_id: UserId | None = None
    notification_id: str | None = None
    send_id: str | None = None
    reason: str | None = None
    channel: Channel | None = None
    provider: Provider | None = None
    provider_message_id: str | None = None
    detail: dict[str, Any] | None = None


_read: Reader[Receipt] = Reader(Receipt)


def read_receipt(value: bytes) -> Receipt:
    """A valid receipt; raises Invalid with the field."""
    receipt: Receipt = _read(value)
    if receipt.status is None and receipt.settled is None:
        raise Invalid("is required", "status")
    if receipt.send_id is None and receipt.notification_id is None:
        raise Invalid("give send_id or notification_id", "send_id")
    if receipt.user_id is None and receipt.send_id is None:
        raise Invalid("is required where there is no send_id", "user_id")
    return receipt


encode_receipt = msgspec.json.Encoder().encode
