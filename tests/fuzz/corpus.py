"""Real records of every topic, to begin from: what a small world says to itself, the examples of the documentation, and
what the tests of the records' readers have."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from app.domain.codes import code_of, mark_of, proof_of
from app.domain.outcome import Outcome
from app.domain.policy import parse_policy
from schemas import topics
from schemas.instants import rfc3339
from tests.agents.harness import HOUR, NOON, SECRET
from tests.fuzz.machines import Machines
from tests.hostile import RECORDS

_ROOT = Path(__file__).parents[2]
_JSON_BLOCK = re.compile(r"```json\n(.*?)```", re.DOTALL)
USERS = ("ann", "bob")

#: What makes a user, who has an address of each kind.
INTRODUCTIONS: tuple[dict[str, Any], ...] = (
    {
        "type": "profile.set",
        "email": "ann@example.com",
        "email_verified": True,
        "phone": "+442071838750",
        "phone_verified": True,
        "locale": "de-CH",
        "timezone": "Europe/Zurich",
        "attributes": {"tier": "gold", "since": 2019},
    },
    {"type": "device.add", "device_id": "d1", "platform": "ios", "token": "ab" * 32},
    {"type": "device.add", "device_id": "d2", "platform": "android", "token": "a token", "timezone": "Asia/Tokyo"},
)

COMMANDS: tuple[dict[str, Any], ...] = (
    *INTRODUCTIONS,
    {
        "type": "device.add",
        "device_id": "d3",
        "platform": "web",
        "app_id": "shop",
        "subscription": {
            "endpoint": "https://push.example.com/1",
            "keys": {"p256dh": "BA" + "A" * 85, "auth": "A" * 22},
        },
    },
    {"type": "device.remove", "device_id": "d1"},
    {
        "type": "preferences.set",
        "preferences": {
            "channels": {"sms": False},
            "limits": {"push": {"max": 5, "per": "day"}},
            "digest": {"social": {"every": "hour"}},
        },
    },
    {
        "type": "preferences.patch",
        "preferences": {
            "categories": {"marketing": {"email": False}},
            "event_types": {"comment.*": {"push": False}},
            "quiet_hours": {"enabled": True, "start": "22:00", "end": "07:30", "days": ["mon"]},
            "dnd": {"enabled": True, "until": rfc3339(NOON + HOUR)},
        },
    },
    {"type": "consent.set", "channel": "sms", "category": "marketing", "granted": True, "evidence": {"form": 1}},
    {"type": "notification.cancel", "campaign_id": "c1", "source": "shop"},
    {"type": "notification.cancel", "notification_id": "63a82c39-78a2-5b32-bbc5-bff671aac091"},
    {"type": "inbox.mark", "all": True, "as": "read"},
    {
        "type": "inbox.snooze",
        "notification_id": "63a82c39-78a2-5b32-bbc5-bff671aac091",
        "until": rfc3339(NOON + HOUR),
    },
    {"type": "activity.seen", "timezone": "America/New_York"},
    {"type": "suppression.add", "channel": "sms", "address": "+442071838750", "reason": "asked"},
    {"type": "suppression.remove", "channel": "email", "address": "ann@example.com"},
    {"type": "address.verify", "channel": "email", "address": "ann@example.com"},
    {"type": "user.erase"},
)

REQUESTS: tuple[dict[str, Any], ...] = (
    {"event_type": "order.shipped", "data": {"order_id": 4711, "lines": [{"n": 1}]}, "idempotency_key": "k1"},
    {"event_type": "login.otp", "priority": "critical", "expires_at": rfc3339(NOON + HOUR), "source": "auth"},
    {"event_type": "like.made", "data": {"by": "cy"}, "created_at": rfc3339(NOON - 1000)},
    {"event_type": "payment.failed", "locale": "zh-Hant-TW", "collapse_key": "x"},
    {"event_type": "mail.sent", "send_at": rfc3339(NOON + HOUR), "campaign_id": "c1", "source": "shop"},
    {"event_type": "offer.made", "channels": ["email", "sms"], "priority": "low"},
    {
        "event_type": "anything",
        "channels": ["in_app", "push", "email", "sms"],
        "content": {
            "title": "Grace",
            "body": "Shall we?",
            "subject": "s",
            "html": "<p>x</p>",
            "url": "https://a.example/x",
            "image": "/x.png",
        },
        "notification_id": "63a82c39-78a2-5b32-bbc5-bff671aac091",
    },
)

CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "order-4711-shipped",
    "source": "shop",
    "type": "order.shipped",
    "subject": "ann",
    "time": rfc3339(NOON),
    "priority": "high",
    "channels": "push,in_app",
    "templateid": "note",
    "sendat": rfc3339(NOON + HOUR),
    "expiresat": rfc3339(NOON + 2 * HOUR),
    "collapsekey": "x",
    "campaignid": "c1",
    "locale": "de",
    "datacontenttype": "application/json",
    "data": {"order_id": 4711},
}


#: A number that only its user says is theirs.
CLAIM: dict[str, Any] = {"type": "profile.set", "phone": "+442071838751", "claimed": True}


def verifications(user_id: str, phone: str) -> list[dict[str, Any]]:
    """A code that is asked for, tried wrongly, and given back."""
    whose, first, wrong, right = (SECRET, user_id, "sms"), *(f"0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5{n}" for n in "123")
    proofs = {wrong: "000000", right: code_of(*whose, phone, first)}
    said = {"user_id": user_id, "channel": "sms"}
    return [
        {"type": "code.request", "id": first, "address": mark_of(*whose, phone, first), **said},
        *({"type": "code.check", "id": n, "proof": proof_of(*whose, code, n), **said} for n, code in proofs.items()),
    ]


def replays(machines: Machines) -> list[dict[str, Any]]:
    """Sends of each channel that are asked to be made again, in every way."""
    sends = [
        said
        for record in machines.produced
        if record.topic.startswith("notify_send_") and (said := json.loads(record.value or b"{}"))["kind"] == "send"
    ]
    by_channel = {said["channel"]: said for said in sends if said["channel"] != "in_app" and said["user_id"] == "ann"}
    ways: list[dict[str, Any]] = [
        {},
        {"dry_run": True},
        {"as_decided": True, "template_version": 1},
        {"expires_at": NOON + 10 * HOUR, "newer": "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d51", "until": NOON + HOUR},
    ]
    return [
        {
            "replay_id": f"0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d6{n}",
            "user_id": "ann",
            "send": said,
            "provider": "ses",
            **way,
        }
        for said in by_channel.values()
        for n, way in enumerate(ways)
    ]


def accepting(call: Any) -> Outcome:
    return Outcome("ok", provider_message_id=f"message-{call.key.hex()}"[:40])


def command(number: int, said: Mapping[str, Any], user_id: str = "ann") -> dict[str, Any]:
    return {**said, "user_id": user_id, "id": f"c{number}", "at": rfc3339(NOON)}


def introduced(machines: Machines) -> Machines:
    """With the users that there are."""
    number = 0
    for user in USERS:
        for said in INTRODUCTIONS:
            number += 1
            given = command(number, said, user)
            if user != "ann":
                given = json.loads(json.dumps(given).replace("ann@", f"{user}@").replace("abab", "cdcd"))
            machines.feed(topics.COMMANDS, user.encode(), json.dumps(given).encode())
    return machines


@cache
def seeds() -> dict[str, tuple[dict[str, Any], ...]]:
    """JSON objects by topic. Of our own and of the send topics what roles really said."""
    found: dict[str, list[dict[str, Any]]] = {
        topics.EVENTS: [{"user_id": "ann", **said} for said in REQUESTS] + [CLOUD_EVENT],
        topics.COMMANDS: [command(1_000 + n, said) for n, said in enumerate(COMMANDS)],
        topics.RECEIPTS: [],
    }
    machines = introduced(Machines(accepting))
    found[topics.VERIFICATIONS] = verifications("ann", "+442071838751")
    machines.feed(topics.COMMANDS, b"ann", json.dumps(command(1_900, CLAIM)).encode())
    for said in found[topics.VERIFICATIONS]:
        machines.feed(topics.VERIFICATIONS, b"ann", json.dumps(said).encode())
    for said in found[topics.EVENTS]:
        machines.feed(topics.EVENTS, b"ann", json.dumps(said).encode())
    send_ids = [e.send_id for e in machines.events if e.status == "sent"]
    notification_ids = [e.notification_id for e in machines.events if e.status == "sent"]
    for number, status in enumerate(
        ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "failed")
    ):
        found[topics.RECEIPTS].append(
            {
                "id": f"r{number}",
                "user_id": "ann",
                "notification_id": notification_ids[number % len(send_ids)],
                "send_id": send_ids[number % len(send_ids)],
                "status": status,
                "occurred_at": rfc3339(NOON),
                "reason": "hard",
                "provider": "ses",
                "provider_message_id": "m1",
                "detail": {"code": 21610},
            }
        )
        machines.feed(topics.RECEIPTS, b"ann", json.dumps(found[topics.RECEIPTS][-1]).encode())
    found[topics.REPLAY_REQUESTS] = replays(machines)
    for said in found[topics.REPLAY_REQUESTS]:
        machines.feed(topics.REPLAY_REQUESTS, b"ann", json.dumps(said).encode())
    machines.feed(topics.COMMANDS, b"ann", json.dumps(command(2_000, {"type": "user.erase"})).encode())
    machines.run_out()
    for record in machines.produced:
        said = json.loads(record.value or b"{}")
        known = found.setdefault(record.topic, [])
        if len(known) < 12 or record.topic in (topics.BROADCASTS, topics.RESULTS):
            known.append(said)
    for said in _documented():
        found[_topic_of(said)].append(said)
    for record_of_test, _ in RECORDS:
        if _topic_of(record_of_test) != topics.COMMANDS:
            found[_topic_of(record_of_test)].append(record_of_test)
    for lanes in topics.SEND_TOPICS.values():
        said_on_channel = [said for lane in lanes for said in found.get(lane, ())]
        for lane in lanes:
            found[lane] = said_on_channel
    for lane in topics.EVENT_TOPICS:
        found[lane] = found[topics.EVENTS]
    return {topic: tuple(said) for topic, said in found.items() if said}


def _documented() -> Sequence[dict[str, Any]]:
    """The records of docs/records.md."""
    found: list[dict[str, Any]] = []
    for block in _JSON_BLOCK.findall((_ROOT / "docs/records.md").read_text()):
        try:
            said = json.loads(block)
        except ValueError:
            continue
        if isinstance(said, dict) and _topic_of(said) and "…" not in block:
            found.append(said)
    return found


def _topic_of(said: Mapping[str, Any]) -> str:
    if ("event_type" in said and "event_id" not in said) or "specversion" in said:
        return topics.EVENTS
    if "type" in said:
        return topics.COMMANDS
    if "occurred_at" in said and "event_id" not in said:
        return topics.RECEIPTS
    return ""


@cache
def policies() -> tuple[str, ...]:
    """Policies that people really wrote."""
    from tests.agents.test_router_balance import EVERYTHING

    files = ("app/defaults/policy.yaml",)
    found = (EVERYTHING, *((_ROOT / name).read_text() for name in files))
    for text in found:
        parse_policy(text)
    return found
