"""Results: how a send ended, as its channel's role reports it: its places, its address and its chain learn of it."""

from msgspec.structs import replace

from agents.broadcasting import to_owner
from agents.case import Case
from agents.desk import Desk
from agents.fallback import send_ended
from agents.placement import check_place
from agents.places import give_places_back
from agents.returned import find, note, suppress
from app.ports import LogRecord
from schemas.broadcasts import TokenDead
from schemas.receipts import IMPLIES
from schemas.results import SendResult, read_result
from schemas.words import Channel
from tables.notifications import TOLD, Sent

#: Ends after which no provider has accepted the send.
_UNSENT: frozenset[str] = frozenset(("failed", "suppressed", "expired", "cancelled"))


def take_result(desk: Desk, record: LogRecord) -> None:
    """Takes one record of tocsin_results. Raises Invalid with the field."""
    assert record.value is not None
    result = read_result(record.value)
    check_place(record, result.user_id, desk.partitions)
    found = find(desk, result)
    if found is None:
        return  # items lie in the inbox, and doubts last, longer than sends are remembered here
    case, index, at = found
    if case.is_forgotten or index is None or at is None:
        return
    if result.status == "seen" or result.status == "read":
        _marked(case, index, at, result)
    else:
        _ended(case, index, at, result)


def _ended(case: Case, index: int, at: int, result: SendResult) -> None:
    part = case.parts[index]
    sent = part.sends[at]
    if sent.end:
        return
    ended = replace(sent, end=result.status, template_version=result.template_version, variant=result.variant)
    note(case, index, at, ended)
    if result.status in _UNSENT:
        kept_by = frozenset(other.channel for other in case.parts if any(s.end not in _UNSENT for s in other.sends))
        give_places_back(case.desk, case.facts.user_id, case.own_id, part.channel, kept_by)
    _retire_address(case, part.channel, sent, result)
    send_ended(case, sent.send_id, result.status)


def _retire_address(case: Case, channel: Channel, sent: Sent, result: SendResult) -> None:
    """A token that the provider calls dead goes, unless it was registered since; a number that said stop is listed."""
    called = result.address
    hashed = called.address_hash if called is not None else sent.address.hex()
    if result.reason == "invalid_token" and sent.device_id is not None:
        since = result.at if called is None else called.invalid_since or called.called_at
        to_owner(case.desk, TokenDead(token_hash=hashed, user_id=case.facts.user_id, since=since))
    elif called is not None and called.opted_out:
        suppress(case.desk, channel, hashed, "opted_out", result.at)


def _marked(case: Case, index: int, at: int, result: SendResult) -> None:
    """The inbox's item was marked, and that was told: only the chain has yet to learn of it."""
    mark = result.status
    assert mark == "seen" or mark == "read"
    sent = case.parts[index].sends[at]
    told = sum(TOLD[status] for status in {*IMPLIES[mark], mark} if not sent.told & TOLD[status])
    note(case, index, at, replace(sent, told=sent.told + told))
    send_ended(case, sent.send_id, mark)
