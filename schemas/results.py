"""Results: how a send ended, or that nobody knows, as its channel's role reports it on Tocsin's own topic."""

from typing import Literal

import msgspec
from msgspec import Struct

from schemas.decode import Reader, RecordId, UserId, Version
from schemas.words import Channel, Provider

#: How a send ended, that it is in doubt, or how an item of the inbox was marked.
ResultStatus = Literal["sent", "failed", "suppressed", "expired", "cancelled", "unknown", "in_doubt", "seen", "read"]


class CalledAddress(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An address that the provider refused for good. Times are Unix milliseconds."""

    #: In hex, see ``app.domain.addresses.address_hash``.
    address_hash: str
    called_at: int
    #: Since when the provider knows the token to be dead, where it says so.
    invalid_since: int | None = None
    #: The recipient told the provider to stop.
    opted_out: bool = False


class SendResult(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """``at``: Unix milliseconds."""

    id: RecordId
    at: int
    status: ResultStatus
    user_id: UserId
    notification_id: str
    send_id: str
    channel: Channel
    reason: str | None = None
    provider: Provider | None = None
    provider_message_id: str | None = None
    address: CalledAddress | None = None
    #: Of the template that was rendered; of one that was never called, as it was queued.
    template_version: Version | None = None
    variant: str | None = None


read_result: Reader[SendResult] = Reader(SendResult, own=True)
encode_result = msgspec.json.Encoder().encode
