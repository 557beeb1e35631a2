"""Receipts: what came back of a send, told and acted upon: suppression, opting out, dead tokens, the next step."""

from typing import Any

import msgspec
from msgspec.structs import replace

from agents.announcing import announce
from agents.broadcasting import command, to_all
from agents.case import Case
from agents.desk import Desk
from agents.fallback import send_ended
from agents.moving import moved, moved_to
from agents.places import give_places_back
from app.domain.ids import derived_id, partition_of_send
from app.domain.merge import merge_diff
from app.domain.preferences import unsubscribed
from app.ports import LogRecord
from schemas.commands import DeviceRemove, PreferencesPatch, SuppressionAdd
from schemas.decode import Invalid, Misplaced
from schemas.instants import FIRST_MS, LAST_MS, rfc3339
from schemas.receipts import IMPLIES, Receipt, happened_ms, read_receipt
from schemas.words import Channel, Status
from tables.notifications import TOLD, Sent, notification_key
from tables.routed import routed_key

#: Ends after which no provider has accepted the send.
_UNSENT: frozenset[str] = frozenset(("failed", "suppressed", "expired", "cancelled"))

_MARKED = ("seen", "read")


def take_receipt(desk: Desk, record: LogRecord) -> None:
    """Takes one record of notify_receipts. Raises Invalid with the field."""
    assert record.value is not None
    receipt = read_receipt(record.value)
    if receipt.settled == "sending" or _lies_elsewhere(desk, record, receipt):
        return
    receipt, claimed_at = _in_time(receipt, record.timestamp)
    found = _find(desk, receipt)
    if found is None:
        if receipt.settled in _MARKED:
            return  # items lie in the inbox longer than sends are remembered here
        raise Invalid("is not known (any more)", "send_id" if receipt.send_id is not None else "notification_id")
    case, index, at = found
    if case.is_forgotten:
        return
    if receipt.settled in _MARKED:
        _marked(case, index, at, receipt.settled)
    elif receipt.settled is not None:
        _settled(case, index, at, receipt)
    else:
        _came_back(case, index, at, receipt, claimed_at)


def _in_time(receipt: Receipt, recorded_ms: int) -> tuple[Receipt, str | None]:
    """The receipt with the time that counts, and what it said itself where that couldn't be."""
    ms = happened_ms(receipt, recorded_ms)
    counts = replace(receipt, occurred_at=rfc3339(recorded_ms if ms is None else ms))
    return counts, receipt.occurred_at if ms is None else None


def _lies_elsewhere(desk: Desk, record: LogRecord, receipt: Receipt) -> bool:
    """Moves a receipt to its user's partition: by its key, or by its send id where it lacks key or user."""
    if receipt.user_id is not None and (record.key is not None or receipt.send_id is None):
        if record.key != receipt.user_id.encode():
            raise Misplaced("is not the user_id", "key")
        if desk.state.known.profile(receipt.user_id) is None:
            return moved(desk, record, receipt.user_id.encode())
        return False
    partition = partition_of_send(receipt.send_id or "")
    if partition is None:
        raise Invalid("is not a send's id", "send_id")
    return moved_to(desk, record, partition)


_Found = tuple[Case, int | None, int | None]


def _find(desk: Desk, receipt: Receipt) -> _Found | None:
    """The notification, and the indexes of the part and of the send in it, as far as the receipt names them."""
    case: Case | None = None
    if receipt.user_id is not None and receipt.notification_id is not None:
        key = notification_key(receipt.user_id, receipt.notification_id.lower())
        case = Case.load(desk, key, receipt.id)
    if case is not None and (at := _place(case, receipt)) is not None:
        return case, *at
    routed = desk.state.routed.get(routed_key(receipt.send_id.lower())) if receipt.send_id is not None else None
    if routed is not None and receipt.user_id not in (None, routed.user_id):
        return None  # somebody else's
    if routed is not None and (case := Case.load(desk, routed.notification, receipt.id)) is not None:
        at = _place(case, receipt)
        return (case, *at) if at is not None else None
    return None


def _place(case: Case, receipt: Receipt) -> tuple[int | None, int | None] | None:
    places = [(index, at) for index, part in enumerate(case.parts) for at in range(len(part.sends))]
    if receipt.send_id is not None:
        name = receipt.send_id.lower()
        return next(((index, at) for index, at in places if case.parts[index].sends[at].send_id == name), None)
    if receipt.channel is not None:
        places = [(index, at) for index, at in places if case.parts[index].channel == receipt.channel]
        return places[0] if places else (None, None)
    return places[0] if len(places) == 1 else (None, None)  # of several it may be any


# --- what the channels' roles say ---


def _settled(case: Case, index: int | None, at: int | None, receipt: Receipt) -> None:
    """A send ended: its places, its address and its chain learn of it."""
    if index is None or at is None or receipt.settled is None:
        return
    part = case.parts[index]
    sent = part.sends[at]
    if sent.end:
        return
    _note(case, index, at, replace(sent, end=receipt.settled))
    if receipt.settled in _UNSENT:
        kept_by = frozenset(other.channel for other in case.parts if any(s.end not in _UNSENT for s in other.sends))
        give_places_back(case.desk, case.facts.user_id, case.own_id, part.channel, kept_by)
    _retire_address(case, part.channel, sent, receipt)
    send_ended(case, sent.send_id, receipt.settled)


def _retire_address(case: Case, channel: Channel, sent: Sent, receipt: Receipt) -> None:
    """A token that the provider calls dead goes, unless it was registered since; a number that said stop is listed."""
    known: dict[str, Any] = receipt.detail or {}
    hashed = known.get("address_hash") or sent.address.hex()
    if receipt.reason == "invalid_token" and sent.device_id is not None:
        since = known.get("invalid_since") or known.get("called_at")
        removal = DeviceRemove(
            id=derived_id("invalid token", receipt.id),
            at=rfc3339(since) if isinstance(since, int) and FIRST_MS <= since <= LAST_MS else receipt.occurred_at,
            user_id=case.facts.user_id,
            device_id=sent.device_id,
            token_hash=hashed,
        )
        command(case.desk, removal)
    elif known.get("opted_out"):
        _suppress(case.desk, channel, receipt, hashed, "opted_out")


def _marked(case: Case, index: int | None, at: int | None, mark: Status) -> None:
    """The inbox's item was marked, and that was told: only the chain has yet to learn of it."""
    if index is None or at is None:
        return
    sent = case.parts[index].sends[at]
    told = sum(TOLD[status] for status in {*IMPLIES[mark], mark} if not sent.told & TOLD[status])
    _note(case, index, at, replace(sent, told=sent.told + told))
    send_ended(case, sent.send_id, mark)


# --- what providers and apps say ---


def _came_back(case: Case, index: int | None, at: int | None, receipt: Receipt, claimed_at: str | None) -> None:
    assert receipt.status is not None
    status: Status = "bounced" if receipt.status == "failed" else receipt.status
    reason = receipt.reason
    if status == "bounced" and reason not in ("hard", "soft"):
        reason = "soft" if receipt.status == "failed" else "hard"
    sent = case.parts[index].sends[at] if index is not None and at is not None else None
    implied = [s for s in reversed(IMPLIES.get(status, ())) if sent is None or not sent.told & TOLD[s]]
    for told in (*implied, status):
        _tell(case, index, sent, told, receipt, reason if told == status else None, claimed_at)
    if sent is None or index is None or at is None:
        send_ended(case, "", status)  # of no send in particular: it reached the user
        return
    told_now = sum(TOLD[told] for told in {*implied, status})
    _note(case, index, at, replace(sent, told=sent.told | told_now))
    if status == "complained" or (status == "bounced" and reason == "hard"):
        why = "complaint" if status == "complained" else "hard_bounce"
        _suppress(case.desk, case.parts[index].channel, receipt, sent.address.hex(), why)
    if status == "unsubscribed":
        _unsubscribe(case, index, sent, receipt)
    for told in (*implied, status):
        send_ended(case, sent.send_id, told)


def _tell(
    case: Case,
    index: int | None,
    sent: Sent | None,
    status: Status,
    receipt: Receipt,
    reason: str | None,
    claimed_at: str | None,
) -> None:
    known = {"device_id": sent.device_id if sent is not None else None, "claimed_at": claimed_at}
    announce(
        case.desk,
        case.facts,
        status,
        receipt.id,
        channel=case.parts[index].channel if index is not None else receipt.channel,
        send_id=sent.send_id if sent is not None else None,
        reason=reason,
        provider=receipt.provider,
        provider_message_id=receipt.provider_message_id,
        happened=receipt.occurred_at,
        detail={name: value for name, value in known.items() if value is not None} or None,
    )


def _unsubscribe(case: Case, index: int, sent: Sent, receipt: Receipt) -> None:
    """Opts out of the category on the channel, by a command that every role sees; an SMS STOP lists the number."""
    desk, facts, channel = case.desk, case.facts, case.parts[index].channel
    if channel == "sms" and (receipt.reason or "").lower() == "stop":
        _suppress(desk, channel, receipt, sent.address.hex(), "stop")
        return
    before = msgspec.json.decode(desk.state.known.wishes(facts.user_id).document)
    patch = merge_diff(before, unsubscribed(before, facts.category, channel, desk.policy))
    name = derived_id("unsubscribe", receipt.id)
    command(desk, PreferencesPatch(id=name, at=receipt.occurred_at, user_id=facts.user_id, preferences=patch))


def _suppress(desk: Desk, channel: Channel, receipt: Receipt, address_hash: str, reason: str) -> None:
    """Puts the address on the suppression list, for whoever has it, in every partition."""
    name = derived_id("suppress", receipt.id)
    to_all(
        desk,
        SuppressionAdd(id=name, at=receipt.occurred_at, channel=channel, address_hash=address_hash, reason=reason),
    )


def _note(case: Case, index: int, at: int, sent: Sent) -> None:
    part = case.parts[index]
    case.parts[index] = replace(part, sends=(*part.sends[:at], sent, *part.sends[at + 1 :]))
