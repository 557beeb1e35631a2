"""A router over rows in memory: records are fed, time is moved, and what it says and sends is collected."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from agents.router.machine import RouterMachine
from app.domain.catalog import Catalog
from app.domain.out import SAME_PARTITION, Out, Produce
from app.domain.partition import partition_of
from app.domain.policy import parse_policy
from app.domain.tracing import Span
from app.ports import FailedReason
from app.virtual import VirtualPartition
from schemas import topics
from schemas.config import Parts, Template, TemplateVersion
from schemas.decode import Invalid
from schemas.instants import parse_ms, rfc3339
from schemas.replays import ReplayRequest, encode_replay_request
from schemas.sends import Send, Withdraw, read_send
from schemas.topics import SEND_TOPICS
from schemas.words import Channel
from tables.router import RouterState
from tables.rows import MemoryRows
from tests.records import Record

#: A Wednesday noon.
NOON = parse_ms("2026-03-04T12:00:00Z")

#: The installation's.
SECRET = b"a secret of the installation"

#: Of a replay.
REPLAY = "11111111-2222-4333-8444-555555555555"

HOUR = 3_600_000
MINUTE = 60_000

POLICY = """
defaults:
  expires_after: 48h
  channels: {sms: {verified: true}}
categories:
  security: {opt_out: never, critical: true, channels: [push, sms]}
  orders: {channels: [push, email]}
  mail: {channels: [email]}
  marketing: {channels: [email], consent: [sms]}
  other: {channels: [in_app]}
event_types:
  order.shipped: {category: orders, template: note}
  mail.sent: {category: mail, template: note}
  offer.made: {category: marketing, template: note}
  login.otp: {category: security, template: note}
  comment.created: {category: other, template: note}
"""

_EVERY_CHANNEL: dict[Channel, dict[str, Parts]] = {
    "push": {"en": {"title": "t", "body": "b"}},
    "email": {"en": {"subject": "s", "text": "t"}},
    "sms": {"en": {"body": "b"}},
    "in_app": {"en": {"title": "t", "body": "b"}},
}

_SEND_TOPICS = {topic for lanes in SEND_TOPICS.values() for topic in lanes}

PROVIDERS: dict[Channel, frozenset[Any]] = {
    "push": frozenset(("apns", "fcm")),
    "email": frozenset(("ses",)),
    "sms": frozenset(("twilio",)),
    "in_app": frozenset(("inbox",)),
}


def template(template_id: str, *channels: Channel, version: int = 1) -> TemplateVersion:
    shown = {channel: _EVERY_CHANNEL[channel] for channel in (channels or _EVERY_CHANNEL)}
    return TemplateVersion(version=version, template=Template(id=template_id, channels=shown), at=rfc3339(NOON))


def catalog(policy: str = POLICY, templates: Sequence[TemplateVersion] = (), version: int = 1) -> Catalog:
    known = [template("note"), template("gathered"), *templates]
    return Catalog(parse_policy(policy), version, {each.template.id: each for each in known})


@dataclass
class Harness:
    """One router machine with all of its partitions. ``now`` moves only by ``at`` and ``after``."""

    policy: str = POLICY
    templates: Sequence[TemplateVersion] = ()
    partitions: int = 1
    providers: Mapping[Channel, frozenset[Any]] = field(default_factory=lambda: PROVIDERS)
    now: int = NOON

    def __post_init__(self) -> None:
        self.machine = RouterMachine(
            catalog(self.policy, self.templates), partitions=self.partitions, providers=self.providers, secret=SECRET
        )
        self.rows = [MemoryRows() for _ in range(self.partitions)]
        self._virtual = [VirtualPartition(self.machine, rows, p) for p, rows in enumerate(self.rows)]
        self.states: list[RouterState] = [virtual.state for virtual in self._virtual]
        self.events: list[dict[str, Any]] = []
        self.retired: list[dict[str, Any]] = []
        self.sends: list[Send] = []
        #: Of each of ``sends``: the topic that it was produced to.
        self.lanes: list[str] = []
        self.withdrawals: list[Withdraw] = []
        self.commands: list[dict[str, Any]] = []
        self.broadcasts: list[dict[str, Any]] = []
        self.moved: list[Produce] = []
        self.erasures: list[Produce] = []
        #: What traces show.
        self.spans: list[Span] = []
        self.outcomes: list[dict[str, Any]] = []
        #: How many it counted as such.
        self.counted_moved = 0
        self.dead: list[Invalid] = []
        self.log: list[Record] = []
        self._offsets: dict[tuple[str, int], int] = {}
        self._ids = 0

    # --- feeding ---

    def request(self, user_id: str = "ann", event_type: str = "order.shipped", **fields: Any) -> Record:
        """Feeds one request. ``topic``, ``timestamp``, ``key``: of its record."""
        topic = fields.pop("topic", topics.EVENTS)
        timestamp = fields.pop("timestamp", self.now)
        key = fields.pop("key", user_id)
        value = json.dumps({"user_id": user_id, "event_type": event_type, **fields}).encode()
        return self.feed(topic, key.encode(), value, timestamp=timestamp)

    def command(self, kind: str, user_id: str | None = "ann", **fields: Any) -> None:
        """Feeds one command, one without a user to every partition."""
        self._ids += 1
        message = {"type": kind, "id": f"c{self._ids}", "at": rfc3339(self.now), **fields}
        if user_id is not None:
            self.feed(topics.COMMANDS, user_id.encode(), json.dumps({**message, "user_id": user_id}).encode())
            return
        for partition in range(self.partitions):
            self.feed(topics.COMMANDS, None, json.dumps(message).encode(), partition=partition)

    def receipt(self, send: Send, status: str, *, bare: bool = False, **fields: Any) -> None:
        """Feeds one receipt of a send; ``bare``: as a webhook's, which knows nothing but the send."""
        self._ids += 1
        message = {"id": f"r{self._ids}", "occurred_at": rfc3339(self.now), "send_id": send.send_id, "status": status}
        message |= fields
        if not bare:
            known = {"user_id": send.user_id, "notification_id": send.notification_id, "channel": send.channel}
            message = known | message
        key = None if bare else send.user_id.encode()
        partition = int(send.send_id[-4:], 16) if bare else None
        self.feed(topics.RECEIPTS, key, json.dumps(message).encode(), partition=partition)

    def settled(self, send: Send, end: str, **fields: Any) -> None:
        """Feeds the result that the channel's role reports of a send."""
        self._ids += 1
        known = {"user_id": send.user_id, "notification_id": send.notification_id, "channel": send.channel}
        message = {"id": f"r{self._ids}", "at": self.now, "send_id": send.send_id, "status": end, **known, **fields}
        self.feed(topics.RESULTS, send.user_id.encode(), json.dumps(message).encode())

    def replay(self, send: Send, replay_id: str = REPLAY, **fields: Any) -> list[dict[str, Any]]:
        """Feeds one candidate of a replay; returns what the router answers at once."""
        before = len(self.outcomes)
        request = ReplayRequest(replay_id=replay_id, user_id=send.user_id, send=send, **fields)
        self.feed(topics.REPLAY_REQUESTS, send.user_id.encode(), encode_replay_request(request))
        return self.outcomes[before:]

    def known(self, user_id: str = "ann", **profile: Any) -> None:
        """A user with a verified address of each kind and one Android phone."""
        message = {"email": f"{user_id}@example.com", "email_verified": True, "phone": "+442071838750"}
        self.command("profile.set", user_id, **{**message, "phone_verified": True, **profile})
        self.device(user_id)

    def device(self, user_id: str = "ann", device_id: str = "d1", **fields: Any) -> None:
        token = f"token of {user_id} {device_id}"
        if fields.get("platform") == "ios":
            token = sha256(token.encode()).hexdigest()
        message = {"platform": "android", "token": token}
        self.command("device.add", user_id, device_id=device_id, **{**message, **fields})

    def feed(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp: int | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> Record:
        if partition is None:
            partition = partition_of(key or b"", self.partitions)
        offset = self._offsets.get((topic, partition), 0)
        self._offsets[topic, partition] = offset + 1
        record = Record(topic, partition, offset, timestamp or self.now, key, value, headers)
        self.log.append(record)
        self.again(record)
        return record

    def again(self, record: Record) -> None:
        """Hands in a record, as after a rewound offset."""
        self._decided(record.partition, lambda virtual: virtual.handle(record, self.now))

    # --- time ---

    def after(self, ms: int) -> None:
        self.at(self.now + ms)

    def at(self, ms: int) -> None:
        """Moves time on, waking what falls due, each at its time."""
        while True:
            due = [d for each in self._virtual if (d := each.next_due()) is not None and d <= ms]
            if not due:
                break
            self.now = max(self.now, min(due))
            for partition in range(self.partitions):
                self._decided(partition, lambda virtual: virtual.wake(self.now))
        self.now = ms

    def wait_until_now(self) -> None:
        """Wakes what is due already, or as soon as what was handled is done."""
        self.at(self.now + 1)

    def give_up(self, reason: FailedReason = "permanent") -> None:
        """Lets all time pass. What falls due is given up, as by a runner where it can't be woken; what has no end to be
        given is woken."""
        while due := [d for each in self._virtual if (d := each.next_due()) is not None and d < 2**62]:
            self.now = max(self.now, min(due))
            for partition, virtual in enumerate(self._virtual):
                if (due_ms := virtual.next_due()) is not None and due_ms <= self.now:
                    self._decided(
                        partition, lambda virtual: virtual._decide(self._giving_up(virtual, reason), self.now)
                    )

    def _giving_up(self, virtual: VirtualPartition, reason: FailedReason) -> Callable[[Out], None]:
        state = virtual.state

        def give_up(out: Out) -> None:
            [(key, due)] = state.schedule.due(self.now, 1)
            state.schedule.delete(key)
            if not self.machine.give_up(key, due, state, out, self.now, reason):
                self.machine.wake(key, due, state, out, self.now)

        return give_up

    # --- what a runner does ---

    def _decided(self, partition: int, decide: Callable[[VirtualPartition], Out | None]) -> bool:
        try:
            out = decide(self._virtual[partition])
        except Invalid as invalid:
            self.dead.append(invalid)
            return True
        self.counted_moved += out.moved if out is not None else 0
        self.spans.extend(out.spans if out is not None else ())
        for record in out.records if out is not None else ():
            self._produced(partition, record)
        return out is not None

    def _produced(self, partition: int, record: Produce) -> None:
        assert record.value is not None
        assert record.topic in self.machine.outputs
        to = partition if record.partition == SAME_PARTITION else record.partition
        if record.topic == topics.LIFECYCLE:
            event = json.loads(record.value)
            (self.retired if event["status"] == "device_retired" else self.events).append(event)
        elif record.topic in _SEND_TOPICS:
            if isinstance(message := read_send(record.value), Send):
                self.sends.append(message)
                self.lanes.append(record.topic)
            else:
                self.withdrawals.append(message)
        elif record.topic == topics.COMMANDS:
            self.commands.append(json.loads(record.value))
            self.feed(record.topic, record.key, record.value, partition=to)
        elif record.topic == topics.BROADCASTS:
            self.broadcasts.append(json.loads(record.value))
            self.feed(record.topic, record.key, record.value, partition=to)
        elif record.topic == topics.ERASURES:
            self.erasures.append(record)
        elif record.topic == topics.REPLAY_OUTCOMES:
            self.outcomes.append(json.loads(record.value))
        else:
            self.moved.append(record)
            stamp = record.timestamp_ms
            self.feed(record.topic, record.key, record.value, timestamp=stamp, partition=to, headers=record.headers)

    # --- what it came to ---

    def reported(self, *, user_id: str | None = None, notification_id: str | None = None) -> list[tuple[Any, ...]]:
        """(status, channel, reason) of every event, in order."""
        return [
            (e["status"], e["channel"], e["reason"])
            for e in self.events
            if user_id in (None, e["user_id"]) and notification_id in (None, e["notification_id"])
        ]

    def last(self) -> dict[str, Any]:
        return self.events[-1]

    def forget(self) -> None:
        """Begins a new page of what is collected."""
        self.events.clear()
        self.sends.clear()
        self.lanes.clear()
        self.withdrawals.clear()
        self.commands.clear()
        self.broadcasts.clear()
        self.outcomes.clear()
