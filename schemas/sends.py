"""A send to make: one recipient on one channel, on push one device (what the router hands to the channel roles)."""

from contextlib import suppress
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from schemas.decode import Invalid, Reader, Version
from schemas.requests import Content, InboxOptions, PushOptions
from schemas.traces import Trace
from schemas.words import Channel, Priority, Provider


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One notification that a digest took in."""

    notification_id: str
    event_type: str
    #: RFC 3339, UTC.
    at: str
    data: Raw = Raw(b"{}")
    #: Its data didn't fit: ``data`` is ``{}`` for that.
    truncated: bool = False


class Send(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="send", tag_field="kind"):
    """Addresses are not in it: the channel's role knows them itself, as fresh as the last look needs.

    Times are Unix milliseconds.
    """

    send_id: str
    notification_id: str
    user_id: str
    channel: Channel
    device_id: str | None = None
    event_type: str
    category: str
    priority: Priority
    #: Requested on the bulk lane.
    bulk: bool = False
    source: str = ""
    campaign_id: str | None = None
    template_id: str | None = None
    template_version: Version | None = None
    variant: str | None = None
    policy_version: Version
    content: Content | None = None
    data: Raw = Raw(b"{}")
    items: list[Item] | None = None
    locale: str | None = None
    collapse_key: str | None = None
    created_at: int
    accepted_at: int
    expires_at: int
    #: The step of a fallback chain, from 0.
    step: int = 0
    replay_id: str | None = None
    #: When its last wait before it was queued ended (schedule, hold, digest, fallback); None: it had none.
    waited_until: int | None = None
    #: It carries the code that verifies an address: which one it is for, as ``app.domain.codes.mark_of`` names it.
    verifies: str | None = None
    #: The first in the policy's order that could carry it when it was queued; None in sends of earlier versions.
    provider: Provider | None = None
    #: Of a replayed one: when the notification was first accepted, by which it is older or newer than another.
    first_accepted_at: int | None = None
    #: The template's version that its calls render; None: the one in force at the first.
    renders: int | None = None
    #: Only providers behind it in the policy's order carry it: it made a send of which nothing came back.
    after: Provider | None = None
    #: The first of the sends that this one makes once more.
    of: str | None = None
    #: The span that queued it, where its trace is sampled.
    trace: Trace | None = None
    #: in_app: what the request says of its item.
    inbox: InboxOptions | None = None
    #: push: how the request would have it shown.
    push: PushOptions | None = None


class Withdraw(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="withdraw", tag_field="kind"):
    """What the router takes back of a queued send, if no call for it has begun."""

    send_id: str
    user_id: str
    status: Literal["cancelled", "suppressed"]
    reason: str | None = None
    by: str | None = None


def named_send(value: bytes, recorded_ms: int) -> Send | None:
    """The send that a record names which can't be read: with those fields that can be, for its end to tell. None where
    it names none, or withdraws one. ``recorded_ms``: when it was written, Unix ms."""
    try:
        members = _read_members(value)
        if _READ_KIND(members.get("kind", b"null")) != "send":
            return None
    except (Invalid, msgspec.DecodeError):
        return None
    known: dict[str, Any] = dict.fromkeys(("event_type", "category"), "")
    known |= {"priority": "normal", "policy_version": 0}
    known |= dict.fromkeys(("created_at", "accepted_at", "expires_at"), recorded_ms)
    for name, read in _FIELDS.items():
        if name in members:
            with suppress(msgspec.DecodeError):
                known[name] = read(members[name])
    return Send(**known) if known.keys() >= _NAMES else None


#: What an end tells of its send, each by its own reader; and what must be known of any.
_CONTENT = frozenset(("content", "data", "items", "verifies", "inbox", "push"))
_FIELDS = {
    field.encode_name: msgspec.json.Decoder(field.type).decode
    for field in msgspec.structs.fields(Send)
    if field.name not in _CONTENT
}
_NAMES = frozenset(("send_id", "notification_id", "user_id", "channel"))
_READ_KIND = msgspec.json.Decoder(str).decode
_read_members: Reader[dict[str, Raw]] = Reader(dict[str, Raw], own=True)

read_send: Reader[Send | Withdraw] = Reader(Send | Withdraw, own=True)
encode_send = msgspec.json.Encoder().encode
