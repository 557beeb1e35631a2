"""One partition of a role in memory and in virtual time: what the runner does, without a log and without a wire."""

from typing import Any

import msgspec

from agents.sender.calls import Call, Result
from app.domain.catalog import Catalog
from app.domain.out import Out
from app.domain.outcome import Outcome, OutcomeKind
from app.domain.policy import parse_policy
from app.domain.tracing import Span
from app.virtual import VirtualPartition
from schemas.config import Template, TemplateVersion
from schemas.instants import rfc3339
from schemas.lifecycle import LifecycleEvent, read_lifecycle
from schemas.results import SendResult, read_result
from schemas.sends import Send, Withdraw, encode_send
from schemas.topics import COMMANDS, LIFECYCLE, RECEIPTS, RESULTS, send_topic
from tables.rows import MemoryRows
from tables.schedule import due_ms_of
from tests.records import Record

#: A Wednesday at noon in London.
NOON = 1_763_553_600_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

POLICY: dict[str, Any] = {
    "defaults": {"quiet_hours": {"start": "22:00", "end": "08:00"}, "channels": {"sms": {"verified": True}}},
    "categories": {
        "security": {"opt_out": "never", "critical": True, "channels": ["push", "sms", "email"]},
        "orders": {"channels": ["push", "email", "in_app"]},
        "marketing": {"channels": ["email"], "consent": ["sms"], "unsubscribe": "one_click"},
        "other": {"channels": ["in_app"]},
    },
    "event_types": {"order.shipped": {"category": "orders"}, "login.otp": {"category": "security"}},
    "retries": {
        "sms": {"attempts": 3, "base": "2s", "cap": "60s"},
        "push": {"attempts": 3, "base": "1s", "cap": "60s"},
    },
    "in_doubt": {"settle": "5m", "security": "resend", "default": "give_up"},
    "shed": {"low": "6h"},
}

TEMPLATE = TemplateVersion(
    version=7,
    at="2026-01-01T00:00:00Z",
    template=Template(
        id="greeting",
        channels={
            "push": {"en": {"title": "Hello", "body": "Hello {{ who }}"}},
            "email": {"en": {"subject": "Hello", "html": "<p>{{ who }}</p>"}},
            "sms": {"en": {"body": "Hello {{ who }}"}},
            "in_app": {"en": {"title": "Hello", "body": "Hello {{ who }}", "url": "https://a.example/x"}},
        },
    ),
)


def a_catalog(**changes: Any) -> Catalog:
    """``changes``: sections of the policy to put in place of those above."""
    return Catalog(parse_policy({**POLICY, **changes}, stored=True), 3, {"greeting": TEMPLATE})


def a_send(number: int = 1, **changes: Any) -> Send:
    """An order's SMS to u1; ``number`` tells sends and their notifications apart."""
    given: dict[str, Any] = {
        "send_id": f"5f1c9a52-0d57-8b0e-9a39-{number:08x}0000",
        "notification_id": f"00000000-0000-4000-8000-{number:012x}",
        "user_id": "u1",
        "channel": "sms",
        "event_type": "order.shipped",
        "category": "orders",
        "priority": "normal",
        "source": "shop",
        "campaign_id": "c1",
        "template_id": "greeting",
        "template_version": 7,
        "policy_version": 3,
        "data": msgspec.Raw(b'{"who":"Ada"}'),
        "created_at": NOON - 2000,
        "accepted_at": NOON - 1000 + number,
        "expires_at": NOON + 2 * DAY,
    }
    return Send(**{**given, **changes})


class Stage:
    """``machine``'s partition 0. Every batch is one record, one row that fell due, or one result."""

    def __init__(self, machine: Any, now: int = NOON) -> None:
        self.machine = machine
        self.now = now
        self.rows = MemoryRows()
        self._virtual = VirtualPartition(machine, self.rows)
        self.state = self._virtual.state
        self.events: list[LifecycleEvent] = []
        #: What the router was told.
        self.results: list[SendResult] = []
        #: Calls that were begun and not answered yet.
        self.calls: list[Call] = []
        #: What traces show.
        self.spans: list[Span] = []
        self._offset = 0

    # --- what goes in ---

    def take(self, send: Send | Withdraw, *, offset: int | None = None, recorded: int | None = None) -> None:
        """A record of a send topic: a Send or a Withdraw. ``recorded``: its time, else now."""
        channel = send.channel if isinstance(send, Send) else self.machine.role
        key = send.user_id.encode()
        self.read(send_topic(channel, "normal"), encode_send(send), key=key, offset=offset, recorded=recorded)

    def command(self, kind: str, user_id: str | None = "u1", **fields: Any) -> None:
        self._offset += 1
        message = {"type": kind, "id": f"command-{self._offset}", "at": rfc3339(self.now), **fields}
        key = user_id.encode() if user_id else None
        self.read(COMMANDS, msgspec.json.encode({**message, "user_id": user_id} if user_id else message), key=key)

    def receipt(self, **fields: Any) -> None:
        self._offset += 1
        message = {"id": f"receipt-{self._offset}", "occurred_at": rfc3339(self.now), **fields}
        self.read(RECEIPTS, msgspec.json.encode(message), key=message.get("user_id", "").encode() or None)

    def read(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = b"u1",
        offset: int | None = None,
        recorded: int | None = None,
    ) -> None:
        self._offset += 1
        record = Record(topic, 0, self._offset if offset is None else offset, recorded or self.now, key, value)
        self._decided(self._virtual.handle(record, self.now))

    def answer(self, kind: OutcomeKind | None, call: Call | None = None, **outcome: Any) -> None:
        """Answers the oldest call. ``kind`` None: the call was not made, or nothing was found."""
        call = call or self.calls[0]
        self.calls.remove(call)
        result = Result(call, None if kind is None else Outcome(kind, **outcome))
        self._decided(self._virtual.settle(result, self.now))

    def answer_all(self, kind: OutcomeKind = "ok", **outcome: Any) -> list[str]:
        """Answers every call, those that the answers bring too. Returns their sends' ids in the order of the calls."""
        called = []
        while self.calls:
            called.append(self.calls[0].handle.send_id)
            self.answer(kind, **outcome)
        return called

    def settle(self, result: Result) -> None:
        """A result as it is, though its call may be forgotten here."""
        self._decided(self._virtual.settle(result, self.now))

    def wait(self, ms: int) -> None:
        """Lets time pass; what falls due is woken at its time."""
        end = self.now + ms
        while (due := self.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.wake_one()
        self.now = end

    def wait_for_call(self) -> None:
        """Lets time pass until a call begins, or nothing is left to wait for."""
        while not self.calls and (due := self.next_due()) is not None:
            self.now = max(self.now, due)
            self.wake_one()

    def wake_one(self) -> None:
        self._decided(self._virtual.wake(self.now))

    def give_up_one(self) -> bool:
        """Gives up what falls due next, as the runner does with what can't be woken."""
        over: list[bool] = []

        def give_up(out: Out) -> None:
            [(key, due)] = self.state.schedule.due(self.now, 1)
            self.state.schedule.delete(key)
            over.append(self.machine.give_up(key, due, self.state, out, self.now, "permanent"))
            if not over[0]:
                self.machine.wake(key, due, self.state, out, self.now)

        self._decided(self._virtual._decide(give_up, self.now))
        return over[0]

    def put_off(self, ms: int) -> None:
        """Moves what falls due next, as the runner does with what could not be handled."""
        [(key, due)] = self.state.schedule.scan(b"", None, 1)
        self.state.schedule.delete(key)
        self.state.schedule.at(due_ms_of(key) + ms, due)
        self._virtual.store(self.now)

    def next_due(self) -> int | None:
        return self._virtual.next_due()

    def crash(self) -> None:
        """The process ends and another takes over: calls in flight are forgotten, tables are what was stored."""
        self.calls.clear()
        self._virtual = VirtualPartition(self.machine, self.rows)
        self.state = self._virtual.state

    def _decided(self, out: Out | None) -> None:
        assert out is not None
        for record in out.records:
            assert record.value is not None
            assert record.topic in self.machine.outputs
            if record.topic == LIFECYCLE:
                self.events.append(read_lifecycle(record.value))
            elif record.topic == RESULTS:
                self.results.append(read_result(record.value))
        self.calls.extend(out.calls)
        self.spans.extend(out.spans)

    # --- what came out ---

    def detail(self, place: int = -1) -> dict[str, Any]:
        """The detail of the event at ``place``, the last one unless it is named."""
        detail = self.events[place].detail
        assert detail is not None
        return detail

    def story(self, number: int = 1) -> list[tuple[str, str | None]]:
        """Statuses and reasons of one send's events, in order."""
        name = a_send(number).send_id
        return [(e.status, e.reason) for e in self.events if e.send_id == name]

    def reported(self) -> list[tuple[str | None, str | None]]:
        """What the router was told."""
        return [(r.status, r.reason) for r in self.results]

    def rows_of(self, table: str) -> dict[bytes, bytes]:
        return self.rows.tables.get(table, {})
