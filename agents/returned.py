"""What came back of a send, from a provider or from its channel's role: which send it is of, and its address."""

from typing import Protocol

from msgspec.structs import replace

from agents.broadcasting import to_all
from agents.case import Case
from agents.desk import Desk
from schemas.broadcasts import AddressSuppressed
from schemas.words import Channel
from tables.notifications import Sent, notification_key
from tables.routed import routed_key

#: The notification, and the indexes of the part and of the send in it, as far as they are named.
Found = tuple[Case, int | None, int | None]


class Returned(Protocol):
    """A receipt or a result, as far as it names its send."""

    @property
    def id(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def notification_id(self) -> str | None: ...
    @property
    def send_id(self) -> str | None: ...
    @property
    def channel(self) -> Channel | None: ...


def find(desk: Desk, returned: Returned) -> Found | None:
    case: Case | None = None
    if returned.user_id is not None and returned.notification_id is not None:
        key = notification_key(returned.user_id, returned.notification_id.lower())
        case = Case.load(desk, key, returned.id)
    if case is not None and (at := _place(case, returned)) is not None:
        return case, *at
    routed = desk.state.routed.get(routed_key(returned.send_id.lower())) if returned.send_id is not None else None
    if routed is not None and returned.user_id not in (None, routed.user_id):
        return None  # somebody else's
    if routed is not None and (case := Case.load(desk, routed.notification, returned.id)) is not None:
        at = _place(case, returned)
        return (case, *at) if at is not None else None
    return None


def note(case: Case, index: int, at: int, sent: Sent) -> None:
    part = case.parts[index]
    case.parts[index] = replace(part, sends=(*part.sends[:at], sent, *part.sends[at + 1 :]))


def suppress(desk: Desk, channel: Channel, address_hash: str, reason: str, at: int) -> None:
    """Puts the address on the suppression list, for whoever has it, in every partition. ``at``: when that was recorded
    (Unix ms); the same where it is read again."""
    if address_hash:  # (an inbox has none)
        to_all(desk, AddressSuppressed(channel=channel, address_hash=address_hash, reason=reason, at=at))


def _place(case: Case, returned: Returned) -> tuple[int | None, int | None] | None:
    places = [(index, at) for index, part in enumerate(case.parts) for at in range(len(part.sends))]
    if returned.send_id is not None:
        name = returned.send_id.lower()
        return next(((index, at) for index, at in places if case.parts[index].sends[at].send_id == name), None)
    if returned.channel is not None:
        places = [(index, at) for index, at in places if case.parts[index].channel == returned.channel]
        return places[0] if places else (None, None)
    return places[0] if len(places) == 1 else (None, None)  # of several it may be any
