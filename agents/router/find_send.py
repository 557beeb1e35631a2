"""Finds the send that a receipt or a result is about, and updates its record."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from agents.router.broadcasts import to_all
from agents.router.context import RouterContext
from agents.router.notification_record import NotificationRecord
from schemas.broadcasts import AddressSuppressed
from schemas.words import Channel
from tables.notifications import Part, Sent, notification_key
from tables.routed import routed_key
from tables.router import RouterState

#: The notification, and the indexes of the part and of the send in it, as far as they are named.
Found = tuple[NotificationRecord, int | None, int | None]


class Named(Protocol):
    """What names a send."""

    @property
    def user_id(self) -> str | None: ...
    @property
    def notification_id(self) -> str | None: ...
    @property
    def send_id(self) -> str | None: ...
    @property
    def channel(self) -> Channel | None: ...


class Returned(Named, Protocol):
    """A receipt or a result, as far as it names its send."""

    @property
    def id(self) -> str: ...


def find(context: RouterContext, returned: Returned) -> Found | None:
    for key in _rows_of(context.state, returned):
        notification = NotificationRecord.load(context, key, returned.id)
        if notification is not None and (at := _place(notification.parts, returned)) is not None:
            return notification, *at
    return None


#: Whose a send is: the user's who names it, another user's, or of nobody whom this partition knows.
Whose = Literal["own", "other", "unknown"]


class _Asked(Struct, frozen=True):
    user_id: str
    notification_id: str | None
    send_id: str | None
    channel: Channel | None


def whose(state: RouterState, user_id: str, params: Mapping[str, Any]) -> dict[str, Whose]:
    """A view: whose the send is that a receipt of this user names. ``params``: the receipt's ``notification_id``,
    ``send_id`` and ``channel``. A receipt is ``own`` only if ``take_receipt`` would find its send."""
    asked = _Asked(user_id, params.get("notification_id"), params.get("send_id"), params.get("channel"))
    for key in _rows_of(state, asked):
        row = state.notifications.get(key)
        if row is not None and _place(row.parts, asked) is not None:
            is_forgotten = row.is_forgotten or state.known.forgets(user_id, row.after_erasure)
            return {"whose": "unknown" if is_forgotten else "own"}
    routed = state.routed.get(routed_key(asked.send_id.lower())) if asked.send_id is not None else None
    return {"whose": "other" if routed is not None and routed.user_id != user_id else "unknown"}


def _rows_of(state: RouterState, named: Named) -> Iterator[bytes]:
    """The keys of the notifications that it may be of, in the order in which they are looked at; never those of a
    user other than the one that it names."""
    if named.user_id is not None and named.notification_id is not None:
        yield notification_key(named.user_id, named.notification_id.lower())
    routed = state.routed.get(routed_key(named.send_id.lower())) if named.send_id is not None else None
    if routed is not None and named.user_id in (None, routed.user_id):
        yield routed.notification


def note(notification: NotificationRecord, index: int, at: int, sent: Sent) -> None:
    part = notification.parts[index]
    notification.parts[index] = replace(part, sends=(*part.sends[:at], sent, *part.sends[at + 1 :]))


def suppress(context: RouterContext, channel: Channel, address_hash: str, reason: str, at: int) -> None:
    """Puts the address on the suppression list, for whoever has it, in every partition. ``at``: when that was recorded
    (Unix ms); the same where it is read again."""
    if address_hash:  # (an inbox has none)
        to_all(context, AddressSuppressed(channel=channel, address_hash=address_hash, reason=reason, at=at))


def _place(parts: Sequence[Part], named: Named) -> tuple[int | None, int | None] | None:
    places = [(index, at) for index, part in enumerate(parts) for at in range(len(part.sends))]
    if named.send_id is not None:
        name = named.send_id.lower()
        return next(((index, at) for index, at in places if parts[index].sends[at].send_id == name), None)
    if named.channel is not None:
        places = [(index, at) for index, at in places if parts[index].channel == named.channel]
        return places[0] if places else (None, None)
    return places[0] if len(places) == 1 else (None, None)  # of several it may be any
