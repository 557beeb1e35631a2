"""The balance: every recipient accepted once, every channel that was begun ended once or waiting with a stated time;
and every send of a replay the same.

Reads what anyone can read, the lifecycle events, and shares nothing with the code that writes them.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Event = Mapping[str, Any]
#: A recipient of a notification: (notification_id, user_id).
Recipient = tuple[str, str]

#: Digests are the system's own notifications (and so are codes, which somebody asks for).
SOURCE_OF_DIGESTS = "tocsin"

_ENDS = frozenset(("sent", "suppressed", "failed", "expired", "cancelled", "aggregated", "unknown"))
_STATED = {"held": ("until", "due"), "scheduled": ("due", "until"), "retrying": ("retry_at",)}
#: A deferral by a cap waits for a place, whose time depends on what else happens.
_UNTIMED_HOLDS = frozenset(("rate_cap",))


@dataclass(slots=True)
class Balance:
    """``problems``: what can't be right any more; ``open``: what is on its way and has to end yet."""

    problems: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    #: (channel, outcome, reason) of every send, or of a recipient's channel that has none.
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        return not self.problems and not self.open


def balance(expected: Collection[Recipient], events: Iterable[Event]) -> Balance:
    """Checks the recipients that were asked for, and the digests that they became part of, by the events that were
    written. An event_id read twice counts once."""
    result = Balance()
    by_recipient: dict[Recipient, list[Event]] = defaultdict(list)
    for event in {event["event_id"]: event for event in events}.values():
        by_recipient[event["notification_id"], event["user_id"]].append(event)
    digests = digests_of(event for its in by_recipient.values() for event in its)
    known = {*expected, *digests}
    for recipient in known:
        _check(recipient, by_recipient.get(recipient, []), result)
    for recipient, its in by_recipient.items():
        if its[0]["source"] == SOURCE_OF_DIGESTS and recipient not in known:
            result.problems.append(f"{recipient}: a digest of nothing")
    return result


def digests_of(events: Iterable[Event]) -> Counter[Recipient]:
    """The notifications that others became part of, with how many did."""
    items = {event["event_id"]: event for event in events if event["status"] == "aggregated"}.values()
    return Counter((event["detail"]["into"], event["user_id"]) for event in items)


def _check(recipient: Recipient, events: list[Event], result: Balance) -> None:
    _check_replays(recipient, events, result)
    accepted = sum(event["status"] == "accepted" and not event.get("replay_id") for event in events)
    if accepted != 1:
        where = result.open if accepted == 0 else result.problems
        where.append(f"{recipient}: accepted {accepted} times")
        return
    sends: dict[tuple[str, str | None], list[Event]] = defaultdict(list)
    for event in events:
        if event["channel"] is not None:
            sends[event["channel"], event["send_id"]].append(event)
    sent_channels = {channel for channel, send_id in sends if send_id is not None}
    for (channel, send_id), its in sends.items():
        if send_id is None and channel in sent_channels and not _ended(its):
            continue  # the channel waited, and then became its sends
        _check_one(f"{recipient} {channel} {send_id or ''}", channel, its, result)
    if not sends:
        _check_one(f"{recipient}", "-", [e for e in events if e["status"] not in ("accepted", "repeated")], result)


def _check_replays(recipient: Recipient, events: list[Event], result: Balance) -> None:
    """A replayed send is accepted by itself. (Its end is asked for as every send's is.)"""
    accepted = Counter[str]()
    for event in events:
        if event.get("replay_id"):
            accepted[event["send_id"]] += event["status"] == "accepted"
    for send_id, times in accepted.items():
        if times != 1:
            where = result.problems if times else result.open
            where.append(f"{recipient} {send_id}: accepted {times} times by a replay")


def _check_one(name: str, channel: str, events: list[Event], result: Balance) -> None:
    ends = [event for event in events if event["status"] in _ENDS]
    if len(ends) > 1:
        result.problems.append(f"{name}: ended {len(ends)} times: {[e['status'] for e in ends]}")
    if ends:
        result.outcomes[channel, ends[0]["status"], ends[0]["reason"] or ""] += 1
        return
    waiting = max(events, key=lambda event: event["occurred_at"], default=None)
    if waiting is None or not _is_stated_wait(waiting):
        result.open.append(f"{name}: {waiting['status'] if waiting else 'nothing'}")
        return
    result.outcomes[channel, waiting["status"], waiting["reason"] or ""] += 1


def _ended(events: list[Event]) -> bool:
    return any(event["status"] in _ENDS for event in events)


def _is_stated_wait(event: Event) -> bool:
    names = _STATED.get(event["status"])
    if names is None:
        return False
    detail = event["detail"] or {}
    return event["reason"] in _UNTIMED_HOLDS or any(detail.get(name) for name in names)
