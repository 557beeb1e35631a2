"""What is told is true, told once, told everywhere, and tells nothing that it mustn't."""

from collections import defaultdict

from faults.checker.facts import Facts
from faults.checker.values import Event, Verdict, verdict
from faults.checker.verdicts.arriving import unended
from faults.checker.words import CALLED, ENDS, RANK, WAITS, keyed_id


def balance(facts: Facts) -> Verdict:
    """LOST says what acknowledged requests lack; here is what is too much, and what is owed to those in the log whose
    producer never heard that they were taken."""
    broken = []
    acknowledged = {(asked.notification_id, asked.user_id) for asked in facts.run.asked}
    made = {recipient for recipient in facts.by_recipient if recipient[0] in facts.gathered}
    for recipient in sorted(facts.expected | made):
        events = facts.by_recipient.get(recipient, [])
        accepted = sum(event.status == "accepted" and event.replay_id is None for event in events)
        if accepted > 1 or (accepted == 0 and recipient not in acknowledged):
            broken.append(f"{recipient[0]} of {recipient[1]}: accepted {accepted} times")
        if recipient not in acknowledged:
            broken += unended(facts, recipient)
        for send_id in sorted({event.send_id or "" for event in events if event.replay_id is not None}):
            accepted = sum(event.status == "accepted" and event.send_id == send_id for event in events)
            if accepted != 1:
                broken.append(f"{recipient[0]} of {recipient[1]}: {send_id} accepted {accepted} times by a replay")
        groups = facts.groups(recipient)
        for (channel, _), group in groups.items():
            ends = [event for event in group if event.status in ENDS]
            if len(ends) > 1:
                broken.append(f"{ends[0]}: ended {len(ends)} times: {', '.join(end.status for end in ends)}")
            if ends and channel is None and len(groups) > 1:
                broken.append(f"{ends[0]}: an end for all channels, though some were begun")
    missing = facts.gathered - {notification_id for notification_id, _ in facts.by_recipient}
    broken += [f"{notification_id}: notifications became part of it, and it is nowhere" for notification_id in missing]
    return verdict("BALANCE", "recipients not accepted once, channels and devices not ended once", broken)


def regress(facts: Facts) -> Verdict:
    """By both the log's order and the events' own times, so that neither two writers nor a clock set back count."""
    broken = []
    for recipient in facts.by_recipient:
        for group in facts.groups(recipient).values():
            broken += _backward(group)
    return verdict("REGRESS", "statuses that moved back, other than into or out of a hold", broken)


def _backward(group: list[Event]) -> list[str]:
    broken, shown = [], None
    for event in sorted(group, key=lambda event: event.order):
        rank = RANK.get(event.status)
        if rank is None:
            continue
        if shown is None or event.status in WAITS:
            if shown is not None and shown.status in ENDS and event.at_ms >= shown.at_ms:
                broken.append(f"{event}: after {shown.status}")
                continue
            shown = event
        elif rank < RANK[shown.status]:
            if event.at_ms > shown.at_ms:
                broken.append(f"{event}: after {shown.status}")
        else:
            shown = event
    return broken


def told(facts: Facts) -> Verdict:
    """``sent`` is what a provider accepted, and what a provider accepted is told as sent, or as unknown."""
    broken = []
    for send_id, events in facts.by_send.items():
        ends = {event.status for event in events if event.status in ENDS}
        if "sent" in ends and events[0].channel in CALLED and send_id not in facts.taken:
            broken.append(f"{events[0]}: told as sent, but no provider has it")
        elif ends and not ends & {"sent", "unknown"} and send_id in facts.taken:
            broken.append(f"{events[0]}: told as {', '.join(ends)}, but {facts.taken[send_id][0].provider} has it")
    return verdict("TOLD", "sends whose end isn't what the provider has", broken)


def answer(facts: Facts) -> Verdict:
    broken = []
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for asked in facts.run.asked:
        if asked.poison or asked.notification_id is None:
            continue
        name = asked.notification_id
        if asked.idempotency_key is not None:
            answers[asked.source, asked.idempotency_key].add(name)
            if asked.via == "http" and name != keyed_id(asked.source, asked.idempotency_key):
                broken.append(f"{name}: isn't the id of {asked.source!r} and key {asked.idempotency_key!r}")
        if asked.via == "http" and (name, asked.user_id) not in facts.requested:
            broken.append(f"{name} of {asked.user_id}: answered with 202, but not in the log")
    broken += [f"{key!r} of {source!r}: {len(ids)} ids" for (source, key), ids in answers.items() if len(ids) > 1]
    return verdict("ANSWER", "keys with several ids, and answers of 202 with nothing in the log", broken)


def analytics(facts: Facts) -> Verdict:
    means = "events that the log has and ClickHouse hasn't, or the other way round"
    if facts.analytics is None:
        return verdict("ANALYTICS", f"{means}; this run has no ClickHouse", [])
    users = facts.run.users
    there = {event_id for event_id, user_id in facts.analytics.items() if user_id in users}
    broken = [f"{event_id}: not in ClickHouse" for event_id in facts.event_ids.keys() - there]
    broken += [f"{event_id}: not in the log" for event_id in there - facts.event_ids.keys()]
    return verdict("ANALYTICS", means, broken)


def differs(facts: Facts) -> Verdict:
    broken = [*facts.differing, *facts.unreadable]
    return verdict("DIFFERS", "events with one id and different bytes, and records that can't be read", broken)


def quiet(facts: Facts) -> Verdict:
    return verdict("QUIET", "events that hold an address, a token, a number or an unknown detail", facts.leaks)
