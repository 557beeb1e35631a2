"""Random histories of notifications, and what each view has to show of them: counted by hand, event by event."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.instants import parse_ms, rfc3339
from schemas.words import RANK

#: Two hours before midnight at a month's end.
BEGIN = parse_ms("2026-10-31T22:00:00Z")
HOUR = 3_600_000
TARGETS = {"critical": 10_000, "high": 60_000, "normal": 300_000}
ENDS = ("sent", "failed", "suppressed", "expired", "cancelled", "unknown", "aggregated")

Event = dict[str, Any]
Table = list[tuple[Any, ...]]


def history(chance: random.Random, recipients: int = 12) -> list[Event]:
    """Events in the order in which they happened."""
    events: list[Event] = []
    for number in range(recipients):
        events += _recipient(chance, f"n{number % 5}", f"u{number % 7}-{number // 5}")
    return events


def _recipient(chance: random.Random, notification: str, user: str) -> list[Event]:
    about = {
        "notification_id": notification,
        "user_id": user,
        "event_type": chance.choice(["order.shipped", "comment.created"]),
        "category": chance.choice(["orders", "social"]),
        "priority": chance.choice(["high", "normal", "low"]),
        "source": chance.choice(["shop", "", None]),
        "campaign_id": chance.choice(["spring", "autumn", None]),
    }
    clock = BEGIN + chance.randrange(8 * HOUR)
    events: list[Event] = []

    def add(status: str, after_ms: int = 1, **fields: Any) -> None:
        nonlocal clock
        clock += max(1, after_ms)
        name = f"{notification}-{user}-{len(events)}"
        events.append({"event_id": name, **about, "status": status, "occurred_at": rfc3339(clock), **fields})

    add("accepted")
    if chance.random() < 0.3:  # the key is begun anew, or the request comes again
        add(chance.choice(["accepted", "repeated"]), chance.randrange(HOUR))
    if chance.random() < 0.2:
        add("scheduled")
    if chance.random() < 0.1:
        add("suppressed", reason="no_channel")
        return events
    for channel in chance.sample(["push", "email", "sms"], chance.randrange(1, 3)):
        if chance.random() < 0.2:
            add("held", channel=channel, reason=chance.choice(["rate_cap", "digest"]), detail={"cap": "user-day"})
        if chance.random() < 0.2:
            add("suppressed", channel=channel, reason="rate_cap", detail={"cap": "push-hour"})
            continue
        for device in range(chance.randrange(1, 3) if channel == "push" else 1):
            send = f"{notification}-{user}-{channel}-{device}"
            _send(chance, add, {"channel": channel, "send_id": send})
            if chance.random() < 0.3:
                again = {"channel": channel, "send_id": f"{send}-again", "replay_id": "replay"}
                add("accepted", chance.randrange(6 * HOUR), **again)
                _send(chance, add, again)
    return events


def _send(chance: random.Random, add: Callable[..., None], about: Event) -> None:
    written = {
        **about,
        "template_id": "t",
        "template_version": chance.choice([1, 2]),
        "variant": chance.choice(["a", "b"]),
    }
    add("queued", **written)
    if chance.random() < 0.2:
        add("held", **about, reason="quiet_hours", detail={"until": rfc3339(BEGIN + chance.randrange(30 * HOUR))})
        add("queued", chance.randrange(8 * HOUR), **written)
    for attempt in range(1, chance.randrange(1, 4)):
        called = {**written, "attempt": attempt, "provider": chance.choice(["ses", "sendgrid"]), "policy_version": 1}
        add("sending", chance.randrange(400_000), **called)
        for status in chance.sample(["in_doubt", "retrying"], chance.randrange(3)):
            reason = chance.choice(["TooManyRequests", "500"]) if status == "retrying" else "timeout"
            answer = chance.choice(["", "retry", "throttle", "config", "not_called"]) if status == "retrying" else ""
            trail: Event = {"detail": {"trail": [["answer", "wait", answer]]}} if answer else {}
            add(status, chance.randrange(5_000), **called, **trail, reason=reason)
        if chance.random() < 0.2:
            add("held", chance.randrange(5_000), **called, reason="provider_outage")
    if chance.random() < 0.15:
        return  # open still
    end = chance.choice(["sent", "sent", "sent", "sent", *ENDS])
    add(end, chance.randrange(9_000), **called_or(written, chance), policy_version=1)
    for status in chance.sample(
        ["delivered", "opened", "clicked", "seen", "read", "bounced", "complained", "unsubscribed"],
        chance.choice([0, 0, 1, 2, 4]),
    ):
        machine: Event = (
            {"detail": {"machine": True}} if status in ("opened", "clicked") and chance.random() < 0.4 else {}
        )
        add(status, chance.choice([5, 50_000, 40 * HOUR]), **written, **machine, reason=chance.choice(["hard", None]))


def called_or(written: Event, chance: random.Random) -> Event:
    return {**written, "attempt": 1, "provider": chance.choice(["ses", None])}


# --- what the views have to show ---


def hour_of(text: str) -> datetime:
    return datetime.fromtimestamp(parse_ms(text) // HOUR * HOUR / 1000, UTC)


def delivery_hourly(events: Sequence[Event]) -> Table:
    dims = ("channel", "provider", "category", "event_type", "source", "campaign_id", "status", "reason")
    counted: Counter[tuple[Any, ...]] = Counter()
    for e in events:
        if not _only_a_machine(e):
            # (What comes of the user is no reason of ours.)
            ours = e if RANK[e["status"]] < 5 or e["status"] == "bounced" else {**e, "reason": None}
            counted[hour_of(e["occurred_at"]), *(ours.get(name) for name in dims)] += 1
    return [(*key, count) for key, count in counted.items()]


def decisions(events: Sequence[Event]) -> Table:
    kept = [e for e in events if e["status"] in ("suppressed", "held")]
    dims = ("category", "event_type", "channel", "reason")
    counted = Counter(
        (hour_of(e["occurred_at"]), *(e.get(name) for name in dims), e.get("detail", {}).get("cap")) for e in kept
    )
    return [(*key, count) for key, count in counted.items()]


def users_reached(events: Sequence[Event]) -> Table:
    found: dict[Any, tuple[set[str], set[str], set[str]]] = defaultdict(lambda: (set(), set(), set()))
    for e in events:
        key = (hour_of(e["occurred_at"]).date(), e.get("category"), e.get("channel"))
        if e["status"] == "sent":
            found[key][0].add(e["user_id"])
            found[key][1].add(e["notification_id"])
        if e["status"] == "unsubscribed":
            found[key][2].add(e["user_id"])
    return [(*key, *map(len, sets)) for key, sets in found.items()]


def notifications(events: Sequence[Event]) -> Table:
    shown = (
        *("notification_id", "user_id", "channel", "send_id", "status", "reason", "provider", "event_type", "category"),
        *("priority", "source", "campaign_id", "accepted_at", "ended_at", "delivered_at", "opened_at", "clicked_at"),
        "replay_id",
    )
    return [tuple(row[name] for name in shown) for row in _rows(events) if row["shown"]]


def engagement(events: Sequence[Event]) -> Table:
    dims = ("campaign_id", "template_id", "template_version", "variant", "channel")
    counts: dict[Any, Counter[str]] = defaultdict(Counter)
    for row in _rows(events):
        if row["send_id"] and (row["ended_at"] or row["back"]):
            counts[tuple(row[name] for name in dims)].update(
                {
                    "sent": row["status"] == "sent",
                    "delivered": row["delivered_at"] is not None,
                    "opened": row["opened_at"] is not None,
                    "clicked": row["clicked_at"] is not None,
                    **{name: name in row["back"] for name in ("bounced", "complained", "unsubscribed")},
                }
            )
    shown = ("sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed")
    return [(*key, *(int(counted[name]) for name in shown)) for key, counted in counts.items()]


def latency_hourly(events: Sequence[Event]) -> Table:
    hours = _grouped(
        (row for row in _rows(events) if row["status"] == "sent"),
        lambda row: (_hour(row["ended_at"]), row["channel"], row["provider"], row["priority"]),
    )
    table = []
    for key, rows in hours.items():
        sent = sorted(_ms(row["accepted_at"], row["ended_at"]) for row in rows)
        delivered = sorted(_ms(row["ended_at"], row["delivered_at"]) for row in rows if row["delivered_at"])
        table.append(
            (
                *key,
                *(_quantile(sent, q) for q in (0.5, 0.9, 0.99)),
                *(_quantile(delivered, q) for q in (0.5, 0.99)),
                len(rows),
            )
        )
    return table


def slo_hourly(events: Sequence[Event]) -> Table:
    def target(row: Event) -> int | None:
        return TARGETS.get(row["priority"])

    ended = (
        r
        for r in _rows(events)
        if r["send_id"] and r["status"] in ("sent", "failed", "expired", "unknown") and target(r)
    )
    hours = _grouped(ended, lambda row: (_hour(row["ended_at"]), row["category"], row["priority"]))
    return [
        (
            *key,
            len(rows),
            sum(r["status"] == "sent" and _ms(r["due_from"], r["ended_at"]) <= TARGETS[key[2]] for r in rows),
            TARGETS[key[2]],
        )
        for key, rows in hours.items()
    ]


def provider_hourly(events: Sequence[Event]) -> Table:
    calls: list[tuple[Any, Event]] = []
    for group in _by_send(events).values():
        steps = [e for e in group if e["status"] in ("sending", "in_doubt", "retrying", "held", *ENDS)]
        for at, call in enumerate(steps):
            if call["status"] != "sending":
                continue
            after = []
            for step in steps[at + 1 :]:
                if step["status"] == "sending":
                    break
                after.append(step)
            calls.append(((hour_of(call["occurred_at"]), call.get("provider")), _answer(call, after)))
    table = []
    for key, answers in _grouped(iter(calls), lambda each: each[0]).items():
        told = [answer for _, answer in answers]
        ms = sorted(each["ms"] for each in told if each["ms"] is not None)
        counts = Counter(each["answer"] for each in told) + Counter(each["settled"] for each in told)
        doubts = sum(each["doubt"] for each in told)
        table.append(
            (
                *key,
                len(told),
                counts["accepted"],
                counts["refused"],
                counts["throttled"],
                doubts,
                counts["sent"],
                counts["unknown"],
                _quantile(ms, 0.5),
                _quantile(ms, 0.99),
            )
        )
    return table


def _answer(call: Event, after: Sequence[Event]) -> Event:
    answers = {"sent": "accepted", "failed": "refused", "retrying": "refused", "held": "", "in_doubt": ""}
    first = next((e for e in after if e["status"] in answers), None)
    answer = answers[first["status"]] if first else ""
    if first and first["status"] == "retrying":
        trail = first.get("detail", {}).get(
            "trail", [[0, 0, "throttle" if first["reason"] == "TooManyRequests" else ""]]
        )
        answer = {"throttle": "throttled", "not_called": ""}.get(trail[0][2], "refused")
    doubt = any(e["status"] == "in_doubt" for e in after)
    settled = next((e["status"] for e in after if e["status"] in ("sent", "unknown", "failed")), "") if doubt else ""
    return {
        "answer": answer,
        "doubt": doubt,
        "settled": settled if settled in ("sent", "unknown") else "",
        "ms": parse_ms(first["occurred_at"]) - parse_ms(call["occurred_at"]) if first and answer else None,
    }


def _by_send(events: Sequence[Event]) -> dict[Any, list[Event]]:
    names = ("notification_id", "user_id", "channel", "send_id", "replay_id")
    ordered = sorted(events, key=lambda e: parse_ms(e["occurred_at"]))
    return _grouped(iter(ordered), lambda e: tuple(e.get(name) for name in names))


def _rows(events: Sequence[Event]) -> list[Event]:
    """What each send, each channel and all of them came to."""
    rows = [_row(key, group) for key, group in _by_send(events).items()]
    for row in rows:
        mates = [r for r in rows if (r["notification_id"], r["user_id"]) == (row["notification_id"], row["user_id"])]
        run = [r for r in mates if r["replay_id"] == row["replay_id"]]
        if row["replay_id"] is None:
            row["accepted_at"] = min((r["own_accepted_at"] for r in run if r["own_accepted_at"]), default=None)
        else:
            row["accepted_at"] = row["own_accepted_at"]
        if row["send_id"]:
            covered = False
        elif row["channel"]:
            covered = any(r["send_id"] and r["channel"] == row["channel"] for r in run)
        else:
            covered = any(r["channel"] and r["status"] for r in run)
        row["shown"] = row["ended_at"] is not None or (row["status"] is not None and not covered)
        row["due_from"] = max(row["queued_at"] or row["accepted_at"], row["held_until"])
    return rows


def _row(key: Any, group: Sequence[Event]) -> Event:
    def first(*statuses: str, human: bool = False) -> datetime | None:
        return next((_at(e) for e in group if e["status"] in statuses and not (human and _machine(e))), None)

    def some(name: str) -> Any:
        return max((e[name] for e in group if e.get(name) is not None), default=None)

    ends = [e for e in group if RANK[e["status"]] == 4]
    waits = [e for e in group if RANK[e["status"]] == 1]
    since = [e for e in group if 1 <= RANK[e["status"]] <= 3 and (not waits or _at(e) >= _at(waits[-1]))]
    step = ends[-1] if ends else max(since, key=lambda e: (RANK[e["status"]], _at(e)), default=None)
    called = [e["provider"] for e in group if e.get("provider") and RANK[e["status"]] < 5]
    nights = [e for e in group if e["status"] == "held" and e["reason"] == "quiet_hours"]
    return {
        **dict(zip(("notification_id", "user_id", "channel", "send_id", "replay_id"), key, strict=True)),
        "status": step["status"] if step else None,
        "reason": step.get("reason") if step else None,
        "provider": called[-1] if called else None,
        **{name: some(name) for name in ("event_type", "category", "priority", "source", "campaign_id")},
        **{name: some(name) for name in ("template_id", "template_version", "variant")},
        "own_accepted_at": first("accepted"),
        "queued_at": first("queued"),
        "held_until": max((_instant(e["detail"]["until"]) for e in nights), default=_instant("1970-01-01T00:00:00Z")),
        "ended_at": _at(ends[-1]) if ends else None,
        "delivered_at": first("delivered", "opened", "clicked", "seen", "read"),
        "opened_at": first("opened", "clicked", "read", human=True),
        "clicked_at": first("clicked", human=True),
        "back": {e["status"] for e in group if RANK[e["status"]] == 5},
    }


def _machine(event: Event) -> bool:
    return bool(event.get("detail", {}).get("machine"))


def _only_a_machine(event: Event) -> bool:
    return _machine(event) and event["status"] in ("opened", "clicked")


def _at(event: Event) -> datetime:
    return _instant(event["occurred_at"])


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=parse_ms(text))


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _ms(since: datetime, until: datetime) -> int:
    return (until - since) // timedelta(milliseconds=1)


def _quantile(ordered: Sequence[int], q: float) -> int | None:
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)] if ordered else None


def _grouped(each: Iterator[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for one in each:
        groups.setdefault(key(one), []).append(one)
    return groups


#: By view, what it has to show of some events, each there once.
SHOWN: dict[str, Callable[[Sequence[Event]], Table]] = {
    "notifications": notifications,
    "delivery_hourly": delivery_hourly,
    "decisions": decisions,
    "users_reached": users_reached,
    "latency_hourly": latency_hourly,
    "engagement": engagement,
    "slo_hourly": slo_hourly,
    "provider_hourly": provider_hourly,
}
