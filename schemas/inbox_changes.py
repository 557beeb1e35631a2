"""What changed in a user's inbox: as the in_app role says it on ``tocsin_inbox_changes``, and keeps it for a day.

It holds no content: gateways read that from the inbox's owner. On the same topic gateways claim tickets, so that the
log's order says whose a ticket is.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.decode import Reader, RecordId, UserId

#: ``added``: an item came. ``marked``: one was marked or snoozed. ``all``: all that were there were marked.
#: ``removed``: one left. ``erased``: all left, and the user is forgotten.
Kind = Literal["added", "marked", "all", "removed", "erased"]

#: A change's number; the next one of a user is one higher. 0: before the first.
Version = Annotated[int, Meta(ge=0, lt=2**62)]
#: More items than an inbox ever holds.
_MOST_IDS = 10_000


class InboxChange(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="change"):
    """Counts are those after it, and those before it."""

    user_id: UserId
    version: Version
    #: The version of the change before; 0: this is the first since the user is known.
    previous: Version
    kind: Kind
    unread: int
    unseen: int
    unread_before: int
    unseen_before: int
    #: The item's; and where it lies, of one that was added.
    notification_id: str | None = None
    number: int | None = None
    #: How it is marked now; of ``all`` only what that mark says.
    seen: bool | None = None
    read: bool | None = None
    archived: bool | None = None
    #: Until when the item is put off, Unix ms; ``snoozes``: this change put it off, or ended that.
    snoozed_until: int | None = None
    snoozes: bool = False
    #: Of ``erased``: the items that were there.
    ids: Annotated[list[str], Meta(max_length=_MOST_IDS)] = []


class TicketClaim(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="claim"):
    """A gateway wants to open a stream with a ticket: it is the first claim's in the log."""

    user_id: UserId
    ticket: RecordId
    #: Names this claim, and no other.
    claim: RecordId
    #: From when on the ticket is good for nothing, Unix ms.
    expires: int


read_inbox_record: Reader[InboxChange | TicketClaim] = Reader(InboxChange | TicketClaim, own=True)
encode_inbox_record = msgspec.json.Encoder().encode
