"""A small run that went well, as its files and topics would have it; tests plant one violation each into it."""

import base64
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faults.checker.facts import gather
from faults.checker.folder import read_run
from faults.checker.values import Record, Verdict
from faults.checker.verdicts import verdicts

KEYED = uuid.UUID("6f1c9a52-0d57-5b0e-9a39-5f5c1d3f7a10")
#: A Friday, ten in the evening in UTC: one user's night begins an hour later.
START = int(datetime(2027, 1, 15, 22, 0, tzinfo=UTC).timestamp() * 1000)
MINUTE, HOUR = 60_000, 3_600_000
POLICY = {
    "categories": {
        "security": {"opt_out": "never"},
        "orders": {},
        "social": {},
        "codes": {"failover": {"sms": {"no_receipt": "60s"}}},
    },
    "defaults": {"quiet_hours": {"channels": ["push", "sms"]}},
    "in_doubt": {"default": "give_up", "account": "resend"},
}
TOKENS = {"ann": "aa" * 32, "bob": "bb" * 32}
PHONES = {"ann": "+442071838701", "bob": "+442071838702"}
PROVIDER = {"push": "apns", "email": "ses", "sms": "twilio"}


def rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def address(user: str, channel: str) -> str:
    return {"push": TOKENS[user], "email": f"{user}@example.com", "sms": PHONES[user]}[channel]


@dataclass
class World:
    """What the run left behind; the lists hold the lines of the files and the records' values."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    injected: list[dict[str, Any]] = field(default_factory=list)
    offsets: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    campaigns: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any] | bytes] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    #: Written a second time, byte for byte.
    again: list[dict[str, Any]] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    analytics: dict[str, str] | None = None
    quiesced: int = START + 4 * HOUR
    #: How all records are dated.
    records_at: int = START

    # --- what happens

    def command(self, at: int, kind: str, user: str | None, **fields: Any) -> dict[str, Any]:
        record = {"type": kind, "id": f"c{len(self.commands)}", "at": rfc3339(at - 20), "user_id": user, **fields}
        line = {"at_ms": at, "command": {name: value for name, value in record.items() if value is not None}}
        self.commands.append(line)
        return line

    def ask(self, at: int, user: str, key: str, *, via: str = "kafka", source: str = "shop", **body: Any) -> str:
        """An acknowledged request; returns its notification's id."""
        name = str(uuid.uuid5(KEYED, f"{source}\n{key}"))
        request = {"user_id": user, "source": source, "idempotency_key": key, "event_type": "order.shipped", **body}
        self.requests.append(request)
        where = {"topic": "notify_events", "partition": 0, "offset": len(self.requests) - 1}
        line = {
            "at_ms": at,
            "via": via,
            "user_id": user,
            "source": source,
            "idempotency_key": key,
            "notification_id": name,
            "expires_at_ms": at + HOUR,
            "request": request,
        }
        self.asked.append(line | (where if via == "kafka" else {"topic": None, "partition": None, "offset": None}))
        return name

    def tell(self, at: int, name: str, user: str, status: str, **fields: Any) -> dict[str, Any]:
        event = {
            "event_id": str(uuid.uuid4()),
            "notification_id": name,
            "user_id": user,
            "send_id": None,
            "status": status,
            "reason": None,
            "channel": None,
            "provider": None,
            "attempt": None,
            "event_type": "order.shipped",
            "category": "orders",
            "priority": "normal",
            "source": "shop",
            "campaign_id": None,
            "replay_id": None,
            "occurred_at": rfc3339(at),
            "detail": None,
            **fields,
        }
        self.events.append(event)
        return event

    def call(self, at: int, send: str, name: str, user: str, channel: str, *, taken: bool = True, **line: Any) -> None:
        """A provider is called, and takes the message or doesn't."""
        call = {
            "seq": len(self.calls) + 1,
            "at_ms": at,
            "provider": PROVIDER[channel],
            "operation": "send",
            "outcome": "accepted" if taken else "refused",
            "address": address(user, channel),
            "send_id": send,
            "attempt": 1,
        }
        self.calls.append(call | line)
        if taken:
            message = {name: call[name] for name in ("at_ms", "provider", "send_id", "address", "attempt")}
            self.taken.append(message | {"seq": len(self.taken) + 1, "notification_id": name})

    def send(self, at: int, name: str, user: str, channel: str, **fields: Any) -> str:
        """Queued, called and sent, all within half a second; returns the send's id."""
        send = str(uuid.uuid4())
        where = {"send_id": send, "channel": channel, **fields}
        self.tell(at, name, user, "queued", **where)
        self.tell(at + 100, name, user, "sending", attempt=1, **where)
        if channel != "in_app":
            self.call(at + 110, send, name, user, channel)
        self.tell(at + 300, name, user, "sent", attempt=1, **where)
        return send

    def move(self, by: int) -> None:
        """The topic of requests begins at another offset."""
        placed = [line for line in (*self.asked, *self.dead, *self.offsets) if line.get("topic")]
        for line in {id(line): line for line in placed}.values():
            line["offset"] += by

    # --- finding again

    def only(self, status: str, **fields: Any) -> dict[str, Any]:
        """The first event of this kind."""
        return next(e for e in self.events if e["status"] == status and all(e[k] == v for k, v in fields.items()))

    def call_of(self, send: str) -> dict[str, Any]:
        return next(call for call in self.calls if call["send_id"] == send)

    # --- judging

    def records(self) -> list[Record]:
        events = [(each["user_id"], json.dumps(each).encode()) for each in (*self.events, *self.again)]
        requests = [
            (b["user_id"], json.dumps(b).encode()) if isinstance(b, dict) else ("ann", b) for b in self.requests
        ]
        commands = [(c["command"].get("user_id"), json.dumps(c["command"]).encode()) for c in self.commands]
        dead = [("ann", json.dumps(each).encode()) for each in self.dead]
        return [
            *_records("notify_commands", commands),
            *_records("notify_dead", dead),
            *_records("notify_events", requests),
            *_records("notify_lifecycle", events),
        ]

    def judge(self, folder: Path) -> list[Verdict]:
        """Writes the run's folder, and has it judged with the topics and ClickHouse as they would be."""
        self.write(folder)
        analytics = self.analytics
        if analytics is None:
            analytics = {event["event_id"]: event["user_id"] for event in self.events}
        return verdicts(gather(read_run(folder), self.records(), analytics))

    def write(self, folder: Path, **terms: Any) -> None:
        (folder / "sandbox").mkdir(parents=True)
        said = {
            "name": "a small run",
            "seed": 1,
            "bootstrap": "127.0.0.1:1",
            "clickhouse_url": None,
            "partitions": 1,
            "in_doubt_settle_ms": 5 * MINUTE,
            "started_ms": START,
            "quiesced_ms": self.quiesced,
            "policy": POLICY,
        }
        (folder / "run.json").write_text(json.dumps(said | terms))
        files = {
            "accepted": self.asked,
            "commands": self.commands,
            "injected": self.injected,
            "offsets": self.offsets,
            "campaigns": self.campaigns,
            "sandbox/calls": self.calls,
            "sandbox/accepted": self.taken,
        }
        for name, lines in files.items():
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _records(topic: str, values: Iterable[tuple[str | None, bytes]]) -> list[Record]:
    return [Record(topic, 0, n, START, key.encode() if key else None, value) for n, (key, value) in enumerate(values)]


def a_good_run() -> World:
    """Every way a notification can go is in it once."""
    world = World()
    _introduce(world)
    _plain(world)
    _doubtful(world)
    _waiting(world)
    _gathered(world)
    _refused(world)
    _replayed(world)
    _once_more(world)
    _campaigns(world)
    for at, offset in ((START + HOUR, 3), (START + 2 * HOUR, 2), (world.quiesced, len(world.requests))):
        line = {"at_ms": at, "group": "tocsin_router", "topic": "notify_events", "partition": 0, "offset": offset}
        world.offsets.append(line | ({"rewound": True} if offset == 2 else {}))
    world.again.append(dict(world.events[3]))
    return world


def _once_more(world: World) -> None:
    """Nothing came back of a text, so the next provider made it once more."""
    at = START + 2 * MINUTE
    name = world.ask(at, "ann", "once-more")
    world.tell(at + 10, name, "ann", "accepted", category="codes")
    first = world.send(at + 20, name, "ann", "sms", category="codes", provider="twilio")
    again = at + MINUTE + 400
    world.send(again, name, "ann", "sms", category="codes", provider="vonage", detail={"of": first})


def _campaigns(world: World) -> None:
    """One reaches both its users, after a pause; one is called off before it reaches the second."""
    done, off = str(uuid.uuid4()), str(uuid.uuid4())
    at = world.records_at
    for name, users in ((done, ("ann", "bob")), (off, ("ann",))):
        for user in users:
            world.requests.append({"user_id": user, "source": "shop", "notification_id": name})
            world.tell(at + 10, name, user, "accepted")
            world.send(at + 20, name, user, "in_app")
    common: dict[str, Any] = {"source": "shop", "users": ["ann", "bob"], "recipients": 2, "allowance_ms": 3_000}
    paused = {"from_ms": at - 10_000, "until_ms": at - 1_000}
    world.campaigns.append({"notification_id": done, "status": "done", "produced": 2, "holds": [paused], **common})
    called_off = {"from_ms": at - 2_000, "until_ms": None}
    line = {"notification_id": off, "status": "cancelled", "produced": 1, "holds": [called_off], **common}
    world.campaigns.append(line)


def _introduce(world: World) -> None:
    for user in ("ann", "bob"):
        at = START + 1_000
        mail, phone = address(user, "email"), address(user, "sms")
        world.command(at, "profile.set", user, email=mail, phone=phone, phone_verified=True, timezone="UTC")
        world.command(at, "device.add", user, device_id="d1", platform="ios", token=address(user, "push"))
    hours = {"enabled": True, "start": "23:00", "end": "01:00"}
    world.command(START + 1_000, "preferences.set", "bob", preferences={"quiet_hours": hours})


def _plain(world: World) -> None:
    """By Kafka on three channels, and by HTTP, asked for twice with one key."""
    at = START + 5_000
    name = world.ask(at, "ann", "plain")
    world.tell(at + 10, name, "ann", "accepted")
    for channel in ("push", "email", "in_app"):
        world.send(at + 20, name, "ann", channel)
    again = world.ask(at, "ann", "web", via="http")
    world.asked.append(dict(world.asked[-1]))
    world.tell(at + 10, again, "ann", "accepted")
    world.tell(at + 10, again, "ann", "suppressed", channel="push", reason="opted_out")
    world.send(at + 20, again, "ann", "sms")


def _doubtful(world: World) -> None:
    """An answer is lost by the provider, a process is killed in a call, a call is throttled and made later."""
    at = START + 20_000
    world.injected.append({"at_ms": at, "until_ms": None, "fault": "process_killed", "role": "push", "in_flight": 1})
    lost: dict[str, Any] = {"fault": "accept_and_reset"}
    for key, channel, reason, fault in (
        ("lost", "email", "connection_lost", lost),
        ("killed", "push", "crash", {}),
    ):
        name = world.ask(at, "ann", key)
        world.tell(at + 10, name, "ann", "accepted")
        where = {"send_id": str(uuid.uuid4()), "channel": channel}
        world.tell(at + 20, name, "ann", "queued", **where)
        world.tell(at + 30, name, "ann", "sending", attempt=1, **where)
        world.call(at + 50, where["send_id"], name, "ann", channel, **fault)
        until = {"until": rfc3339(at + 5 * MINUTE)}
        world.tell(at + 15_000, name, "ann", "in_doubt", attempt=1, reason=reason, detail=until, **where)
        world.tell(at + 6 * MINUTE, name, "ann", "unknown", **where)
    name = world.ask(at, "ann", "throttled")
    world.tell(at + 10, name, "ann", "accepted")
    where = {"send_id": str(uuid.uuid4()), "channel": "sms"}
    world.tell(at + 20, name, "ann", "queued", **where)
    world.tell(at + 30, name, "ann", "sending", attempt=1, **where)
    world.call(at + 50, where["send_id"], name, "ann", "sms", taken=False, code="20429")
    later = {"retry_at": rfc3339(at + 30_000), "error": "20429"}
    world.tell(at + 60, name, "ann", "retrying", attempt=1, reason="20429", detail=later, **where)
    world.tell(at + 30_010, name, "ann", "sending", attempt=1, **where)
    world.call(at + 30_020, where["send_id"], name, "ann", "sms")
    world.tell(at + 30_100, name, "ann", "sent", attempt=1, **where)


def _waiting(world: World) -> None:
    """Scheduled; held by a night and let go in order; held for longer than the run."""
    at, due = START + 30_000, START + 50 * MINUTE
    name = world.ask(at, "ann", "later", send_at=rfc3339(due))
    world.asked[-1]["expires_at_ms"] = due + HOUR
    world.tell(at + 10, name, "ann", "accepted")
    world.tell(at + 10, name, "ann", "scheduled", detail={"until": rfc3339(due)})
    world.send(due + 20, name, "ann", "email")
    night, morning = START + HOUR + MINUTE, START + 3 * HOUR
    held = []
    for number in (1, 2):
        name = world.ask(night, "bob", f"night-{number}")
        world.asked[-1]["expires_at_ms"] = morning + HOUR
        world.tell(night + number, name, "bob", "accepted")
        until = {"until": rfc3339(morning)}
        world.tell(night + number, name, "bob", "held", channel="push", reason="quiet_hours", detail=until)
        held.append(name)
    for name in held:
        world.send(morning, name, "bob", "push")
    name = world.ask(morning, "bob", "still")
    world.tell(morning + 10, name, "bob", "accepted")
    until = {"due": rfc3339(world.quiesced + HOUR)}
    world.tell(morning + 10, name, "bob", "held", channel="email", reason="digest", detail=until)


def _gathered(world: World) -> None:
    """Two become one."""
    at = START + 40_000
    digest = str(uuid.uuid4())
    names = [world.ask(at, "ann", f"item-{number}", event_type="comment.created") for number in (1, 2)]
    for name in names:
        world.tell(at + 10, name, "ann", "accepted")
        due = {"due": rfc3339(at + MINUTE)}
        world.tell(at + 10, name, "ann", "held", channel="email", reason="digest", detail=due)
    for name in names:
        world.tell(at + MINUTE, name, "ann", "aggregated", channel="email", detail={"into": digest})
    world.tell(at + MINUTE, digest, "ann", "accepted", source="tocsin")
    world.send(at + MINUTE + 10, digest, "ann", "email", source="tocsin")


def _replayed(world: World) -> None:
    """A text expires during an outage, and is sent again by the second of two replays, with new time."""
    at = START + 55_000
    name = world.ask(at, "ann", "outage")
    world.asked[-1]["expires_at_ms"] = at + MINUTE
    world.tell(at + 10, name, "ann", "accepted")
    where = {"send_id": str(uuid.uuid4()), "channel": "sms"}
    world.tell(at + 10, name, "ann", "queued", **where)
    world.tell(at + MINUTE, name, "ann", "expired", **where)
    again = {"send_id": str(uuid.uuid4()), "channel": "sms", "replay_id": "r1"}
    world.tell(at + HOUR, name, "ann", "accepted", **again)
    world.tell(at + HOUR, name, "ann", "suppressed", reason="rate_cap", **again)
    send = world.send(at + 2 * HOUR, name, "ann", "sms", replay_id="r2")
    world.tell(at + 2 * HOUR - 1, name, "ann", "accepted", send_id=send, channel="sms", replay_id="r2")


def _refused(world: World) -> None:
    """One that can't be read is a dead letter; one is cancelled before it goes out; one comes too late."""
    at = START + 50_000
    world.requests.append(b'{"user_id": "ann", "event_type"')
    where = {"topic": "notify_events", "partition": 0, "offset": len(world.requests) - 1}
    poison = {"at_ms": at, "via": "kafka", "user_id": "ann", "source": "shop", "poison": True, "request": None}
    world.asked.append(poison | where)
    value = base64.b64encode(b'{"user_id": "ann", "event_type"').decode()
    world.dead.append(where | {"value": value, "reason": "is no JSON", "field": None, "role": "router"})
    name = world.ask(at, "bob", "called-off")
    world.tell(at + 10, name, "bob", "accepted")
    where = {"send_id": str(uuid.uuid4()), "channel": "email"}
    world.tell(at + 10, name, "bob", "queued", **where)
    world.command(at + 15, "notification.cancel", None, notification_id=name)
    world.tell(at + 20, name, "bob", "cancelled", **where)
