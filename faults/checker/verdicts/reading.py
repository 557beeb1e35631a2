"""How roles read: nothing stands still, no offset goes back, no attempt is used up by a refusal to be tried later."""

from collections import defaultdict

from faults.checker.facts import Facts
from faults.checker.values import Committed, Verdict, verdict
from faults.checker.words import NO_ATTEMPT


def burn(facts: Facts) -> Verdict:
    broken = []
    for events in facts.by_send.values():
        refused: int | None = None
        is_claimed = False
        for event in events:
            if event.status == "retrying":
                refused = event.attempt if event.reason in NO_ATTEMPT else None
            elif event.status == "held" and event.reason == "provider_outage":
                # Held before its next call was claimed, it names the latest call, which used its attempt up.
                refused = event.attempt if is_claimed else None
            elif event.status == "sending":
                if refused is not None and event.attempt is not None and event.attempt > refused:
                    broken.append(f"{event}: attempt {event.attempt} after a refusal that uses none up")
                refused = None
            elif event.status == "failed" and event.reason == "retries_exhausted" and event.error in NO_ATTEMPT:
                broken.append(f"{event}: ended by {event.error}")
            is_claimed = event.status == "sending"
    return verdict("BURN", "attempts used up by throttling, wrong settings or a resting provider", broken)


def stuck(facts: Facts) -> Verdict:
    """In the end every group has committed past the last of the run's records in what it reads."""
    last: dict[tuple[str, str, int], Committed] = {}
    for seen in facts.run.committed:
        last[seen.group, seen.topic, seen.partition] = seen
    reads: dict[str, set[str]] = defaultdict(set)
    for group, topic, _ in last:
        reads[group].add(topic)
    broken = []
    for (topic, partition), offset in facts.reached.items():
        for group in (group for group, topics in reads.items() if topic in topics):
            at = last.get((group, topic, partition))
            if at is None or at.offset <= offset:
                broken.append(f"{group} {topic}:{partition}: at {at.offset if at else 'no offset'}, record at {offset}")
    return verdict("STUCK", "partitions whose reader didn't get to the end", broken)


def offsets(facts: Facts) -> Verdict:
    broken = []
    last: dict[tuple[str, str, int], Committed] = {}
    for seen in facts.run.committed:
        name = seen.group, seen.topic, seen.partition
        before = last.get(name)
        if before is not None and seen.offset < before.offset and not seen.rewound:
            broken.append(
                f"{seen.group} {seen.topic}:{seen.partition}: {before.offset} → {seen.offset} at {seen.at_ms}"
            )
        last[name] = seen
    return verdict("OFFSETS", "committed offsets that went back, but for an operator's rewinding", broken)
