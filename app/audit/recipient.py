"""Whether one recipient's events balance: every channel that was begun has one end, or a wait with its time.

Pure: events in the order in which they lie in the log, and a moment, to what is wrong.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from schemas.instants import parse_ms
from schemas.lifecycle import LifecycleEvent
from schemas.words import CAME_BACK, ENDS

#: Where a wait says how long it lasts.
_STATED = {"held": ("until", "due"), "scheduled": ("due", "until"), "retrying": ("retry_at",)}
#: What a send's own role writes of it, as long as it hasn't ended.
_BEFORE_END = frozenset(("sending", "in_doubt", "retrying", "held"))
#: What a call came to, or may have.
_CALLED = frozenset(("sent", "in_doubt", "unknown"))
#: Waits that end with what else happens: a free place under a cap, a provider's recovery.
_UNTIMED = frozenset(("rate_cap", "provider_outage"))


class BalanceEvent(Struct, frozen=True, array_like=True, gc=False):
    """What the balance needs of an event. Times are Unix ms; ``until_ms``: of a wait, 0 where none is stated."""

    event_id: str
    status: str
    reason: str | None
    channel: str | None
    send_id: str | None
    at_ms: int
    until_ms: int
    offset: int


@dataclass(slots=True)
class Balance:
    """``problems``: (offset of the last event that shows it, what is wrong)."""

    accepted_ms: list[int] = field(default_factory=list)
    ended: int = 0
    waiting: int = 0
    under_way: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)


def is_counted(event: LifecycleEvent) -> bool:
    """Whether the event has a part in the balance: receipts and reports about a device have none."""
    return event.status not in CAME_BACK and event.status not in ("repeated", "device_retired")


def balance_event(event: LifecycleEvent, offset: int) -> BalanceEvent:
    """Raises ValueError for a time that isn't one."""
    detail = event.detail or {}
    stated = next((text for name in _STATED.get(event.status, ()) if isinstance(text := detail.get(name), str)), None)
    until_ms = 0 if stated is None else parse_ms(stated)
    at_ms = parse_ms(event.occurred_at)
    return BalanceEvent(
        event.event_id, event.status, event.reason, event.channel, event.send_id, at_ms, until_ms, offset
    )


def balance_of(events: Sequence[BalanceEvent], now_ms: int, open_ms: int) -> Balance:
    """The balance of one (notification, user, replay). An event that was written twice counts once.

    ``open_ms``: what has neither an end nor a stated wait is under way as long as its latest event is younger.
    """
    result = Balance()
    once = {event.event_id: event for event in reversed(events)}
    ordered = sorted(once.values(), key=lambda event: event.offset)
    result.accepted_ms = [event.at_ms for event in ordered if event.status == "accepted"]
    if not result.accepted_ms:
        return result
    for name, its in _groups(ordered):
        _check(name, its, now_ms, open_ms, result)
    return result


def _groups(events: Sequence[BalanceEvent]) -> Iterator[tuple[str, list[BalanceEvent]]]:
    """Events by send; of channels without a send, by acceptance: an id whose time is over may be accepted anew."""
    sends: dict[str, list[BalanceEvent]] = defaultdict(list)
    begins = [event for event in events if event.status == "accepted"]
    rounds: list[dict[str, list[BalanceEvent]]] = [defaultdict(list) for _ in begins]
    number = -1
    for event in events:
        if event.status == "accepted":
            number += 1
        elif event.send_id is not None:
            sends[event.send_id].append(event)
        else:
            rounds[max(number, 0)][event.channel or ""].append(event)
    channels = {its[0].channel for its in sends.values()}
    for send_id, its in sends.items():
        yield f"{its[0].channel} {send_id}", its
    for accepted, parts in zip(begins, rounds, strict=True):
        begun = len(parts) > 1 or any(channel for channel in parts) or bool(channels)
        if accepted.send_id is not None:  # a replay's
            if accepted.send_id not in sends:
                yield f"{accepted.channel} {accepted.send_id}", [accepted]
        elif not parts and not begun:
            yield "all channels", [accepted]
        for channel, its in parts.items():
            became = channel in channels or (channel == "" and begun)
            if not (became and not _ends(its)):
                yield channel or "all channels", its


def _check(name: str, events: Sequence[BalanceEvent], now_ms: int, open_ms: int, result: Balance) -> None:
    ends = _ends(events)
    _check_claims(name, events, result)
    # The router writes `queued` and another role what follows: between the two, the log's order says little.
    latest = max(events, key=lambda event: (event.status not in ("queued", "accepted"), event.offset))
    if len(ends) > 1:
        words = ", ".join(f"{end.status} at {end.offset}" for end in ends)
        result.problems.append((ends[-1].offset, f"{name}: {len(ends)} ends ({words})"))
    elif ends:
        result.ended += 1
        _check_after_end(name, events, ends[0], result)
    elif latest.until_ms or latest.reason in _UNTIMED:
        _check_wait(name, latest, now_ms, open_ms, result)
    elif latest.at_ms + open_ms >= now_ms:
        result.under_way += 1
    else:
        result.problems.append((latest.offset, f"{name}: {latest.status}, then neither an end nor a stated wait"))


def _check_after_end(name: str, events: Sequence[BalanceEvent], end: BalanceEvent, result: Balance) -> None:
    """A send's role writes nothing of it behind its end. (Of a channel without a send, another step may.)"""
    late = [event for event in events if event.status in _BEFORE_END and event.offset > end.offset]
    if late and end.send_id is not None:
        result.problems.append((late[0].offset, f"{name}: {late[0].status} after it was {end.status}"))


def _check_claims(name: str, events: Sequence[BalanceEvent], result: Balance) -> None:
    """A call's claim, and so its ``sending``, is durable before the call begins: without one, nothing comes of it."""
    claimed = next((event.offset for event in events if event.status == "sending"), None)
    for event in events:
        if event.send_id is not None and event.status in _CALLED and (claimed is None or event.offset < claimed):
            result.problems.append((event.offset, f"{name}: {event.status}, and no call was claimed before"))
            return


def _check_wait(name: str, latest: BalanceEvent, now_ms: int, open_ms: int, result: Balance) -> None:
    if not latest.until_ms or latest.until_ms + open_ms >= now_ms:
        result.waiting += 1
    else:
        result.problems.append((latest.offset, f"{name}: {latest.status}, and its time was over long ago"))


def _ends(events: Sequence[BalanceEvent]) -> list[BalanceEvent]:
    return [event for event in events if event.status in ENDS]
