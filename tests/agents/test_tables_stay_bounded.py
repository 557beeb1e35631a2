"""Tables stay as large as what they remember: weeks of ever new traffic leave them as they were when what is
remembered longest first ran out. ``pytest -s`` prints their sizes, week by week."""

import random

from agents.sender.calls import Call
from app.domain.outcome import Outcome
from app.testing import World

WEEKS = 7
USERS = 6

POLICY = """
defaults:
  dedup: {keys: 7d, content: 10m}
  expires_after: 48h
  quiet_hours: {start: "22:00", end: "08:00"}
categories:
  orders: {channels: [push, email, in_app]}
  social: {channels: [push, email], digest: hourly}
caps:
  - {name: day, limit: 4, window: 24h}
  - {name: week, limit: 20, window: 7d, over: defer}
digests:
  hourly: {window: 1h, template: gathered}
event_types:
  order.shipped: {category: orders, template: note}
  comment: {category: social, template: note}
  payment.failed: {category: orders, template: note, fallback: {chain: [push, sms, email], wait: 10m}}
"""

#: Of all roles together. The inbox alone grows on: it keeps its items for 90 days.
Sizes = dict[str, int]


class Traffic:
    """The same kinds of things every day, each with names that were never there before."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = World(POLICY, at="2026-01-05T00:00:00Z", answer=self._answer)
        self._number = 0
        for user in range(USERS):
            self.world.user(f"user-{user}")

    def day(self) -> None:
        for _ in range(24):
            for user in range(USERS):
                if self.chance.random() < 0.2:
                    self._one(f"user-{user}")
            self.world.advance(hours=1)
        self.world.sweep()

    def sizes(self) -> Sizes:
        found: Sizes = {}
        for (_, table), rows in self.world.table_sizes().items():
            found[table] = found.get(table, 0) + rows
        return found

    def _one(self, user: str) -> None:
        self._number += 1
        name, world = f"name-{self._number}", self.world
        kind = self.chance.choice(["order.shipped", "comment", "payment.failed"])
        world.command("activity.seen", user)
        match self.chance.randrange(6):
            case 0:
                world.request(user, kind, data={"n": self._number})  # without a key: compared by its content
            case 1:
                world.request(user, kind, idempotency_key=name)
                world.request(user, kind, idempotency_key=name)
            case 2:
                world.request(user, kind, idempotency_key=name, campaign_id=name)
                world.command("notification.cancel", user, campaign_id=name)
            case 3:
                world.request(user, kind, idempotency_key=name, collapse_key=name)
            case 4:
                world.request(user, kind, idempotency_key=name, send_at=world.now.replace(hour=23).isoformat())
            case _:
                world.request(user, kind, idempotency_key=name)
        if (sent := world.sent(user_id=user)) and self.chance.random() < 0.5:
            world.receipt(sent[-1], "delivered")

    def _answer(self, call: Call) -> Outcome | None:
        if call.purpose != "send":
            return None
        kind = self.chance.choice(["ok", "ok", "ok", "ok", "throttle", "retry", "in_doubt"])
        return Outcome("in_doubt", doubt="timeout") if kind == "in_doubt" else Outcome(kind)  # type: ignore[arg-type]


def test_weeks_of_traffic_leave_no_more_rows_than_their_windows_hold() -> None:
    traffic = Traffic(seed=7)
    weeks: list[Sizes] = []
    for _ in range(WEEKS):
        for _ in range(7):
            traffic.day()
        weeks.append(traffic.sizes())
    tables = sorted(weeks[-1], key=lambda table: -weeks[-1][table])
    for table in tables:
        print(f"{table:14}", *(f"{week.get(table, 0):6}" for week in weeks))

    # The ids of commands are kept longest, for 30 days: from the fifth week on nothing grows but by chance.
    steady, last = weeks[4], weeks[-1]
    grown = {t: (steady.get(t, 0), last[t]) for t in tables if t != "inbox" and last[t] > 1.2 * steady.get(t, 0) + 20}
    assert grown == {}

    traffic.world.advance(days=40)
    traffic.world.sweep()
    left = {table for (role, table), rows in traffic.world.table_sizes().items() if rows and role != "in_app"}
    assert left == {"profiles", "tokens"}  # what is known of users; the inbox keeps its items longer


def test_what_goes_out_long_after_it_was_asked_for_is_known_to_what_comes_back_of_it() -> None:
    world = World(POLICY.replace("keys: 7d", "keys: 1h"), at="2026-01-05T12:00:00Z")
    world.user("ann")
    late = world.request("ann", "order.shipped", channels=["email"], send_at="2026-03-05T12:00:00Z")
    for n in range(2):
        world.request("ann", "comment", channels=["email"], at="2026-03-05T12:00:00Z", data={"n": n})
    world.advance(hours=2)
    world.sweep()
    scheduled, digest = world.sent("ann")

    for sent in (scheduled, digest):
        world.receipt(sent, "opened")

    assert scheduled.notification_id == late
    assert [world.events("ann", sent.notification_id)[-1].status for sent in (scheduled, digest)] == ["opened"] * 2
