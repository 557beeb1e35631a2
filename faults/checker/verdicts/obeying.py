"""Nothing is sent that was forbidden, too late, too early or out of turn."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from faults.checker.facts import Facts
from faults.checker.knowledge import unix_ms
from faults.checker.values import Call, Event, Recipient, Verdict, verdict

#: What was acknowledged so long before a call counts for it.
HEARD_MS = 1_000
#: A stopped process goes on with a call that it had looked at before; it arrives within this.
_WAKING_MS = 1_500
#: What a worker decided just before its clock was set is dated by the new clock within this.
_SETTING_MS = 1_000


def wrong(facts: Facts) -> Verdict:
    broken = []
    for call, event in _calls(facts):
        start = _started_ms(facts, call)
        why = facts.knowledge.forbidden(event, call.address, start - HEARD_MS, call.at_ms)
        if why is not None:
            broken.append(f"{event}: {call.provider} was called at {call.at_ms}, though {why}")
    means = "calls more than 1 s after an opt-out, cancel, erasure or suppression, or to another address"
    return verdict("WRONG", means, broken)


def late(facts: Facts) -> Verdict:
    expiry = _expiries(facts)
    broken = []
    for call, event in _calls(facts):
        start = _started_ms(facts, call)
        expires = expiry.get(event.recipient) if event.replay_id is None else None  # (a replay may give new time)
        if expires is not None and start > expires:
            broken.append(f"{event}: {call.provider} was called at {call.at_ms}, expired at {expires}")
        elif facts.knowledge.is_quiet(event, start - HEARD_MS, call.at_ms):
            broken.append(f"{event}: {call.provider} was called at {call.at_ms}, in quiet hours")
    return verdict("LATE", "calls after the expiry, or in quiet hours", broken)


def early(facts: Facts) -> Verdict:
    """What is judged again because a command came may end its wait before the time that was stated."""
    broken = []
    due = _scheduled(facts)
    for call, event in _calls(facts):
        send_at = due.get(event.recipient)
        if send_at is not None and call.at_ms < send_at:
            broken.append(f"{event}: {call.provider} was called at {call.at_ms}, scheduled for {send_at}")
    for events in facts.by_send.values():
        broken += _before_their_time(facts, events)
    for events in facts.by_recipient.values():
        for channel in {event.channel for event in events}:
            whole = [event for event in events if event.channel == channel and _is_of_channel(event)]
            broken += _before_their_time(facts, sorted(whole, key=lambda event: event.order))
    return verdict("EARLY", "calls before their time: the schedule's, a hold's, a retry's", broken)


def _is_of_channel(event: Event) -> bool:
    """Of the channel as it was judged, before it became sends."""
    return event.send_id is None or event.status == "queued"


def _scheduled(facts: Facts) -> dict[Recipient, int]:
    """When each may go at the earliest. The same asked for twice with two times: the earlier one."""
    due: dict[Recipient, int] = {}
    for asked in facts.run.asked:
        send_at = asked.request.get("send_at")
        if asked.notification_id is not None and send_at:
            recipient = asked.notification_id, asked.user_id
            due[recipient] = min(unix_ms(send_at), due.get(recipient, unix_ms(send_at)))
    return due


def _before_their_time(facts: Facts, events: list[Event]) -> Iterator[str]:
    waiting: Event | None = None
    for event in events:
        if event.status == "retrying" or (event.status == "held" and event.reason == "quiet_hours"):
            waiting = event
        elif waiting is not None and event.status == "held" and event.at_ms >= (waiting.until_ms or 0):
            waiting = None  # its time had come by the worker's clock, and something else held it
        elif event.status in ("queued", "sending") and waiting is not None:
            due, user = waiting.until_ms or 0, event.user_id
            told = waiting.status == "held" and facts.knowledge.commands_between(user, waiting.at_ms, event.at_ms)
            if event.at_ms < due and not told and not _waited_by_the_clock_before(facts, event.at_ms, due):
                yield f"{event}: begun at {event.at_ms}, was to wait until {due}"
            waiting = None


def _waited_by_the_clock_before(facts: Facts, at_ms: int, due: int) -> bool:
    """Whether the wait was over by the clock that a worker had until a moment before: it was set in between."""
    before = 0
    for fault in facts.run.injected:
        if fault.clock_ms is not None:
            since_ms = at_ms - fault.clock_ms - fault.at_ms
            if 0 <= since_ms < _SETTING_MS + facts.run.terms.slack_ms and at_ms - fault.clock_ms + before >= due:
                return True
            before = fault.clock_ms
    return False


def order(facts: Facts) -> Verdict:
    """What a night held is let go in the order of acceptance, for each user and channel."""
    accepted: dict[tuple[str, str], int] = {}
    holds: dict[tuple[str, str | None, int | None], list[tuple[int, int, Event]]] = defaultdict(list)
    for recipient, events in facts.by_recipient.items():
        events = [event for event in events if event.replay_id is None]
        accepted[recipient] = next((event.order for event in events if event.status == "accepted"), 0)
        held = {event.channel: event for event in events if event.status == "held" and event.reason == "quiet_hours"}
        for event in events:
            hold = held.get(event.channel)
            if event.status == "queued" and hold is not None and hold.order < event.order:
                first = accepted[recipient]
                holds[event.user_id, event.channel, hold.until_ms].append((event.order, first, event))
    broken = []
    for released in holds.values():
        released.sort(key=lambda each: each[0])
        for (_, before, _), (_, after, event) in pairwise(released):
            if after < before:
                broken.append(f"{event}: let go after one that was accepted later")
    return verdict("ORDER", "holds that ended out of the order of their acceptance", broken)


def _calls(facts: Facts) -> Iterator[tuple[Call, Event]]:
    """The calls for sends of the run's own requests, each with an event of its send."""
    expected = facts.expected
    for send_id, calls in facts.calls.items():
        events = facts.by_send.get(send_id)
        if events and (events[0].recipient in expected or events[0].notification_id in facts.gathered):
            for call in calls:
                yield call, events[0]


def _started_ms(facts: Facts, call: Call) -> int:
    """When the call began at the latest that helps it: it was under way for a while, or its process was stopped."""
    slack_ms = facts.run.terms.slack_ms
    for fault in facts.run.injected:
        if fault.until_ms is not None and "stop" in fault.fault:
            woken = fault.until_ms <= call.at_ms <= fault.until_ms + _WAKING_MS + slack_ms
            if woken and any(event.status == "in_doubt" for event in facts.by_send.get(call.send_id or "", ())):
                return fault.at_ms
    return call.at_ms - slack_ms


def _expiries(facts: Facts) -> dict[Recipient, int]:
    """After which none may go. The same asked for twice with two times: the later one."""
    known: dict[Recipient, int] = {}
    for asked in facts.run.asked:
        if asked.notification_id is not None and asked.expires_at_ms is not None:
            recipient = asked.notification_id, asked.user_id
            known[recipient] = max(asked.expires_at_ms, known.get(recipient, 0))
    return known
