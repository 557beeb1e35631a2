"""What a run's records say, put together: who was asked to be told what, and what became of it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from faults.checker.knowledge import Knowledge, unix_ms
from faults.checker.values import Call, Event, Place, Recipient, Record, Run, Taken
from faults.checker.words import (
    COMMANDS,
    DEAD,
    DETAIL_KEYS,
    ENDS,
    EVENT_TOPICS,
    LIFECYCLE,
    SEND_TOPICS,
    STATED,
    keyed_id,
)

#: What looks like an address, in any text: mail, a number in E.164; a device token is a long row of hex digits.
_ADDRESS = re.compile(rb'"[^"@\s]{1,64}@[^"@\s]+\.[A-Za-z]{2,}"|"\+[1-9]\d{7,14}"')
_HEX = bytes(ord("x") if chr(n) in "0123456789abcdefABCDEF" else ord(" ") for n in range(256))
_TOKEN = b"x" * 64


@dataclass(slots=True)
class Facts:
    """Only what belongs to the run's users. Events are those of the log without second copies, in its order."""

    run: Run
    knowledge: Knowledge
    by_recipient: dict[Recipient, list[Event]] = field(default_factory=lambda: defaultdict(list))
    by_send: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    #: Digests' notifications, by their items' ``detail.into``.
    gathered: set[str] = field(default_factory=set)
    #: Recipients whose request lies in an event topic, whoever got word of it.
    requested: dict[Recipient, Mapping[str, Any]] = field(default_factory=dict)
    #: By notification: who has a request in the log, and when that was made; copies too.
    produced: dict[str, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    #: Where dead letters came from, with the reason.
    dead: dict[Place, str] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    taken: dict[str, list[Taken]] = field(default_factory=lambda: defaultdict(list))
    #: Messages at the sandbox that no planned send accounts for.
    strays: list[Taken] = field(default_factory=list)
    #: The highest offset of the run's own records, by topic and partition.
    reached: dict[tuple[str, int], int] = field(default_factory=dict)
    #: event_id → what its first copy's bytes hash to.
    event_ids: dict[str, int] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    #: event_id → user_id in ClickHouse; None: the run has none.
    analytics: Mapping[str, str] | None = None

    @property
    def expected(self) -> set[Recipient]:
        """Every recipient that was acknowledged, or lies in the log without its producer having heard of it."""
        acknowledged = {(a.notification_id, a.user_id) for a in self.run.asked if a.notification_id and not a.poison}
        return acknowledged | self.requested.keys()

    def groups(self, recipient: Recipient) -> dict[tuple[str | None, str | None], list[Event]]:
        """A recipient's events by channel and send; channels that became sends have no group of their own."""
        groups: dict[tuple[str | None, str | None], list[Event]] = defaultdict(list)
        for event in self.by_recipient.get(recipient, ()):
            if event.channel is not None or event.status in ENDS or event.status == "scheduled":
                groups[event.channel, event.send_id].append(event)
        became = {channel for channel, send_id in groups if send_id is not None}
        for (channel, send_id), events in tuple(groups.items()):
            ended = any(event.status in ENDS for event in events)
            if send_id is None and not ended and (channel in became or (channel is None and len(groups) > 1)):
                del groups[channel, send_id]
        return groups

    def category_of(self, send_id: str) -> str | None:
        return next((event.category for event in self.by_send.get(send_id, ()) if event.category), None)


def gather(run: Run, records: Iterable[Record], analytics: Mapping[str, str] | None = None) -> Facts:
    """Puts the facts together. ``records``: of any topics, each partition's in order."""
    records = list(records)
    facts = Facts(run, Knowledge.of(run, _commands(records)), analytics=analytics)
    users = run.users
    # By name the dead letters come before the requests that they speak of.
    for record in sorted(records, key=lambda each: (each.topic, each.partition, each.offset)):
        if record.value is None:
            continue
        if record.topic == DEAD:
            _dead(facts, record.value)
        elif record.key is None or record.key.decode("utf-8", "replace") not in users:
            continue
        elif record.topic == LIFECYCLE:
            _event(facts, record)
        elif record.topic in EVENT_TOPICS or record.topic in SEND_TOPICS:
            place = record.topic, record.partition
            facts.reached[place] = max(facts.reached.get(place, -1), record.offset)
            if record.topic in EVENT_TOPICS:
                _request(facts, record)
    for events in facts.by_send.values():
        events.sort(key=lambda event: (event.status != "queued", event.order))  # another role writes the others
    _at_the_sandbox(facts)
    return facts


def _commands(records: Iterable[Record]) -> list[tuple[int, Mapping[str, Any]]]:
    found: list[tuple[int, Mapping[str, Any]]] = []
    for record in records:
        if record.topic == COMMANDS and record.value is not None:
            said = _json(record.value)
            if said is not None:
                found.append((record.timestamp_ms, said))
    return found


def _json(raw: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


def _dead(facts: Facts, raw: bytes) -> None:
    letter = _json(raw)
    if letter is None:
        facts.unreadable.append(f"notify_dead: {raw[:80]!r}")
        return
    place = str(letter.get("topic")), int(letter.get("partition") or 0), int(letter.get("offset") or 0)
    facts.dead[place] = f"{letter.get('reason')} ({letter.get('field')})"


def _request(facts: Facts, record: Record) -> None:
    """One that can't be read is the dead letters' matter; one without a key is known by the client's log alone."""
    said = _json(record.value or b"")
    if said is None or said.get("source", "") not in facts.run.sources:
        return
    name = said.get("notification_id") or said.get("assigned_id")
    if said.get("idempotency_key") and not said.get("notification_id"):
        name = keyed_id(said.get("source", ""), said["idempotency_key"])
    place = record.topic, record.partition, record.offset
    if isinstance(name, str) and place not in facts.dead:
        facts.produced[name.lower()].append((said["user_id"], record.timestamp_ms))
        facts.requested.setdefault((name.lower(), said["user_id"]), said)


def _event(facts: Facts, record: Record) -> None:
    raw = record.value or b""
    said = _json(raw)
    if said is None or said.get("status") is None:
        facts.unreadable.append(f"notify_lifecycle:{record.partition}:{record.offset}: {raw[:80]!r}")
        return
    event_id, mark = said["event_id"], hash(raw)
    if event_id in facts.event_ids:
        if facts.event_ids[event_id] != mark:
            facts.differing.append(f"{event_id}: differs at partition {record.partition}, offset {record.offset}")
        return
    facts.event_ids[event_id] = mark
    _look_for_leaks(facts, said, raw)
    if said["status"] == "device_retired":
        return  # of a device: in no balance
    event = _read_event(said, record.offset)
    facts.by_recipient[event.recipient].append(event)
    if event.send_id is not None:
        facts.by_send[event.send_id].append(event)
    if event.into is not None:
        facts.gathered.add(event.into)


def _read_event(said: Mapping[str, Any], order: int) -> Event:
    detail = said.get("detail") or {}
    stated = next((detail[name] for name in STATED.get(said["status"], ()) if detail.get(name)), None)
    return Event(
        notification_id=said["notification_id"],
        user_id=said["user_id"],
        send_id=said.get("send_id"),
        status=said["status"],
        reason=said.get("reason"),
        channel=said.get("channel"),
        provider=said.get("provider"),
        attempt=said.get("attempt"),
        event_type=said.get("event_type"),
        category=said.get("category"),
        priority=said.get("priority"),
        source=said.get("source"),
        campaign_id=said.get("campaign_id"),
        at_ms=unix_ms(said["occurred_at"]),
        order=order,
        until_ms=None if stated is None else unix_ms(stated),
        error=detail.get("error"),
        into=detail.get("into"),
        replay_id=said.get("replay_id"),
        device_id=detail.get("device_id"),
        of=detail.get("of"),
    )


def _look_for_leaks(facts: Facts, said: Mapping[str, Any], raw: bytes) -> None:
    where = f"event {said['event_id']} ({said['status']})"
    for name in (said.get("detail") or {}).keys() - DETAIL_KEYS:
        facts.leaks.append(f"{where}: detail.{name} is not one of those allowed")
    if (b"@" in raw or b'"+' in raw) and (found := _ADDRESS.search(raw)):
        facts.leaks.append(f"{where}: {found[0].decode('utf-8', 'replace')[:12]}… looks like an address")
    if _TOKEN in raw.translate(_HEX):
        facts.leaks.append(f"{where}: holds what looks like a device token")
    for address in facts.knowledge.ever(said["user_id"]):
        if address.encode() in raw:
            facts.leaks.append(f"{where}: holds an address of {said['user_id']}")


def _at_the_sandbox(facts: Facts) -> None:
    for call in facts.run.calls:
        if call.send_id is not None:
            facts.calls[call.send_id].append(call)
    ours = {notification_id for notification_id, _ in facts.expected}
    for taken in facts.run.taken:
        if taken.send_id is not None and taken.send_id in facts.by_send:
            facts.taken[taken.send_id].append(taken)
        elif taken.notification_id in ours or facts.knowledge.belongs(taken.address):
            facts.strays.append(taken)
