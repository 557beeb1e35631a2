"""Nothing lost, nothing twice, nothing that nobody asked for; and what is in doubt."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from faults.checker.facts import Facts
from faults.checker.values import Event, Recipient, Verdict, verdict
from faults.checker.words import CAME_BACK, ENDS, STATED, UNTIMED, WAITS

#: A timer that fell due is served within this, once all is quiet.
OVERDUE_MS = 15_000
#: Between a reset at the sandbox and the doubt that it makes, on a busy machine.
_ON_THE_WAY_MS = 2_000


def lost(facts: Facts) -> Verdict:
    broken = [
        f"poison at {asked.place}: no dead letter"
        for asked in facts.run.asked
        if asked.poison and asked.place not in facts.dead
    ]
    wanted = {(a.notification_id, a.user_id): a for a in facts.run.asked if a.notification_id and not a.poison}
    for recipient, asked in wanted.items():
        refused = facts.dead.get(asked.place) if asked.place is not None else None
        if refused is not None:
            broken.append(f"{_name(recipient)}: refused as a dead letter: {refused}")
        elif not any(event.status == "accepted" for event in facts.by_recipient.get(recipient, ())):
            broken.append(f"{_name(recipient)}: acknowledged by {asked.via} at {asked.at_ms}, never accepted")
        broken += unended(facts, recipient)
    return verdict("LOST", "acknowledged requests, or sends of them, that came to no end and wait for nothing", broken)


def unended(facts: Facts, recipient: Recipient) -> Iterator[str]:
    """What a recipient that was accepted still owes: an end, or a wait with its time."""
    events = facts.by_recipient.get(recipient, ())
    if not any(event.status == "accepted" for event in events):
        return
    groups = facts.groups(recipient)
    if not groups:
        yield f"{_name(recipient)}: accepted, and then nothing"
    for group in groups.values():
        if any(event.status in ENDS for event in group):
            continue
        # The router writes `queued`, another role what follows: between the two the log's order says little.
        last = max(group, key=lambda event: (event.status != "queued", event.order))
        if not _waits(facts, last):
            yield f"{last}, and then nothing"


def _waits(facts: Facts, event: Event) -> bool:
    if event.status not in WAITS and event.status not in STATED:
        return False
    if event.until_ms is None:
        return event.reason in UNTIMED
    return event.until_ms + OVERDUE_MS + facts.run.terms.slack_ms > facts.run.terms.quiesced_ms


def dup(facts: Facts) -> Verdict:
    doubted = _doubted(facts)
    broken = [
        f"{facts.by_send[send_id][0]}: accepted {len(taken)} times, never in doubt"
        for send_id, taken in facts.taken.items()
        if send_id not in doubted and len(taken) > 1
    ]
    extra = sum(len(taken) - 1 for send_id, taken in facts.taken.items() if send_id not in doubted)
    listed: list[Mapping[str, Any]] = []
    unasked: list[str] = []
    for recipient, events in facts.by_recipient.items():
        once_more, wrong = _made_once_more(facts, recipient, events)
        listed += once_more
        unasked += wrong
    means = "copies that a provider accepted of sends that were never in doubt, or that no rule asked for"
    return verdict("DUP", means, unasked + broken, value=extra, otherwise=len(unasked), listed=tuple(listed))


def _made_once_more(
    facts: Facts, recipient: Recipient, events: list[Event]
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """A recipient's sends that a further provider made, as nothing had come back; and those that no rule asked for."""
    queued = {event.send_id: event for event in events if event.status == "queued" and event.replay_id is None}
    listed: list[Mapping[str, Any]] = []
    broken: list[str] = []
    for send_id, event in queued.items():
        if event.channel == "push" or send_id is None:
            continue
        same = [each for each in queued.values() if each.channel == event.channel and each.order < event.order]
        earlier = [each for each in same if _was_sent(facts, each)]
        if event.of is not None:
            listed.append({"send_id": send_id, "of": event.of, "user_id": event.user_id, "channel": event.channel})
            broken += [f"{event}: {why}" for why in _not_asked_for(facts, event, earlier)]
        elif earlier and _was_sent(facts, event) and sum(each.status == "accepted" for each in events) == 1:
            broken.append(f"{_name(recipient)}: sent by {event.channel} twice, and no rule asked for that")
    return listed, broken


def _not_asked_for(facts: Facts, event: Event, earlier: list[Event]) -> Iterator[str]:
    categories = facts.run.terms.policy.get("categories") or {}
    failover = ((categories.get(event.category) or {}).get("failover") or {}).get(event.channel) or {}
    if "no_receipt" not in failover:
        yield "made once more, though the policy doesn't ask for it"
    if event.of not in {each.send_id for each in earlier}:
        yield "made once more of what was never sent"
    for each in earlier:
        came = [one for one in facts.by_send.get(each.send_id or "", ()) if one.status in CAME_BACK]
        if any(one.order < event.order for one in came):
            yield f"made once more, though something had come back of {each.send_id}"
        if _provider_of(facts, each) == _provider_of(facts, event) is not None:
            yield "made once more by the same provider"


def _provider_of(facts: Facts, event: Event) -> str | None:
    return next((each.provider for each in facts.by_send.get(event.send_id or "", ()) if each.status == "sent"), None)


def _was_sent(facts: Facts, event: Event) -> bool:
    return any(each.status == "sent" for each in facts.by_send.get(event.send_id or "", ()))


def doubts(facts: Facts) -> Verdict:
    """D: its members are attempts. One that isn't flagged, or isn't settled in its time, breaks it by itself."""
    listed: list[Mapping[str, Any]] = []
    broken: list[str] = []
    for send_id, events in facts.by_send.items():
        listed += [_member(facts, send_id, event) for event in events if event.status == "in_doubt"]
        broken += _unflagged(facts, events)
    bound = sum(fault.in_flight for fault in facts.run.injected) + sum(call.lost for call in facts.run.calls)
    bound += _lost_on_the_way(facts)
    means = "attempts whose outcome wasn't known; each flagged, and settled in its time"
    otherwise, value = len(broken), len(listed)
    if value > bound:
        broken += [f"{each['send_id']}: {each['reason']} at {each['at_ms']}" for each in listed]
    return verdict("D", means, broken, bound, value=value, otherwise=otherwise, listed=tuple(listed))


def _lost_on_the_way(facts: Facts) -> int:
    """Doubts whose request never came to the sandbox, as its connection was reset at that moment."""
    resets: dict[str | None, list[int]] = defaultdict(list)
    for call in facts.run.calls:
        if call.swept:
            resets[call.provider].append(call.at_ms)
    within_ms = _ON_THE_WAY_MS + facts.run.terms.slack_ms
    count = 0
    for send_id, events in facts.by_send.items():
        came = {call.attempt for call in facts.calls.get(send_id, ())}
        for event in events:
            if event.status == "in_doubt" and event.reason == "connection_lost" and event.attempt not in came:
                count += any(abs(event.at_ms - at_ms) <= within_ms for at_ms in resets[event.provider])
    return count


def _unflagged(facts: Facts, events: list[Event]) -> Iterator[str]:
    terms = facts.run.terms
    over_ms = terms.quiesced_ms - OVERDUE_MS - terms.slack_ms
    for one, following in pairwise(events):
        if one.status == following.status == "sending":
            yield f"{following}: called again with no word of what the call before came to"
    last = events[-1]
    if any(event.status in ENDS for event in events):
        return
    if last.status == "sending" and last.at_ms + terms.timeout_ms <= over_ms:
        yield f"{last}: neither what the call came to was told, nor that it isn't known"
    if last.status == "in_doubt" and last.at_ms + terms.settle_ms <= over_ms:
        yield f"{last}: not settled in its time"


def _member(facts: Facts, send_id: str, event: Event) -> dict[str, Any]:
    end = next((each for each in facts.by_send[send_id] if each.status in ENDS), None)
    return {
        "send_id": send_id,
        "user_id": event.user_id,
        "channel": event.channel,
        "attempt": event.attempt,
        "reason": event.reason,
        "at_ms": event.at_ms,
        "came_to": end.status if end else "open",
        "accepted": len(facts.taken.get(send_id, ())),
    }


def doubled_doubts(facts: Facts) -> Verdict:
    """A second copy is allowed only where the policy sends again, once, and never of an SMS, which can be asked for."""
    rule = facts.run.terms.policy.get("in_doubt") or {}
    allowed, value = 0, 0
    broken: list[str] = []
    listed: list[Mapping[str, Any]] = []
    for send_id in _doubted(facts):
        extra = len(facts.taken.get(send_id, ())) - 1
        if extra < 1:
            continue
        value += extra
        first = facts.by_send[send_id][0]
        resends = rule.get(facts.category_of(send_id) or "", rule.get("default", "give_up")) == "resend"
        may = 1 if resends and first.channel != "sms" else 0
        allowed += min(may, extra)
        listed.append({"send_id": send_id, "channel": first.channel, "copies": extra + 1})
        if extra > may:
            broken.append(f"{first}: accepted {extra + 1} times, allowed {may + 1}")
    means = "copies of sends in doubt; bound: those that the policy's rule for the category explains"
    return verdict("D-DUP", means, broken, allowed, value=value, listed=tuple(listed))


def replayed(facts: Facts) -> Verdict:
    """An operator may ask for what ended as unknown, which may have arrived; what was made since then may not have."""
    broken = []
    for recipient, events in facts.by_recipient.items():
        if not any(event.replay_id is not None for event in events):
            continue
        made: dict[tuple[str | None, str | None], dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
        for event in events:
            if event.send_id is not None:
                made[event.channel, event.device_id if event.channel == "push" else None][event.send_id].append(event)
        for (channel, _), sends in made.items():
            arrived = [send_id for send_id, its in sends.items() if any(event.status == "sent" for event in its)]
            if len(arrived) > 1 and any(event.replay_id is not None for each in arrived for event in sends[each]):
                broken.append(f"{_name(recipient)}, {channel}: sent as {' and as '.join(sorted(arrived))}")
    return verdict("REPLAY", "sends that a replay made though the channel had got them out", broken)


def phantom(facts: Facts) -> Verdict:
    broken = [
        f"{each.provider} accepted {each.send_id} for {each.notification_id}: no such send" for each in facts.strays
    ]
    for send_id, taken in facts.taken.items():
        events = facts.by_send[send_id]
        if not any(event.status == "queued" for event in events):
            broken.append(f"{events[0]}: accepted by {taken[0].provider}, but never queued")
    expected, sources = facts.expected, facts.run.sources
    for recipient, events in facts.by_recipient.items():
        source = next((event.source or "" for event in events), "")
        unasked = source in sources and recipient not in expected
        unmade = source == "tocsin" and "tocsin" not in sources and recipient[0] not in facts.gathered
        if (unasked or unmade) and not _poisoned(facts, recipient):
            broken.append(f"{_name(recipient)}: {events[0].status}, but nobody asked for it")
    return verdict("PHANTOM", "what was told or sent though nobody asked for it", broken)


def _poisoned(facts: Facts, recipient: Recipient) -> bool:
    return any(asked.poison and asked.notification_id == recipient[0] for asked in facts.run.asked)


def _doubted(facts: Facts) -> set[str]:
    return {
        send_id
        for send_id, events in facts.by_send.items()
        if any(event.status in ("in_doubt", "unknown") for event in events)
    }


def _name(recipient: Recipient) -> str:
    return f"{recipient[0]} of {recipient[1]}"
