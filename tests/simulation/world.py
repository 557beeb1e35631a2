"""A seeded world: roles, users, providers and faults in virtual time, then peace, and what it all came to."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
from structlog.testing import capture_logs

from agents.executor import GatedExecutor
from agents.inbox.machine import InAppMachine
from agents.router.machine import RouterMachine
from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from app.providers.gate import Gate, GatedClient
from app.streaming.runtime import Runtime
from schemas.topics import changelog_topic, journal_topic
from schemas.words import Channel, Provider
from tables.router import NORMALIZED
from tests.agents.harness import NOON, catalog
from tests.simulation.broker import Broker
from tests.simulation.clients import Group
from tests.simulation.loop import Stuck, VirtualLoop
from tests.simulation.process import CALLS_AT_ONCE, Process, Sabotage
from tests.simulation.replays import Operators
from tests.simulation.roles import Role
from tests.simulation.upstream import Upstream
from tests.simulation.vendors import Vendor

POLICY = """
defaults:
  expires_after: 48h
  channels: {sms: {verified: true}}
  quiet_hours: {start: "22:00", end: "08:00", channels: [push, sms]}
categories:
  security: {opt_out: never, critical: true, channels: [push, sms], failover: {sms: {no_receipt: 20s}}}
  orders: {channels: [push, email]}
  mail: {channels: [email], failover: {email: {no_receipt: 15s, after: 0}}}
  social: {channels: [push, in_app], digest: social}
  marketing: {channels: [email, sms]}
  other: {channels: [in_app]}
digests:
  social: {window: 2s, max_wait: 5s, max_items: 3, min_items: 2, template: gathered}
caps:
  - {name: day, limit: 7, window: 6h, over: defer}
  - {name: pushes, channel: push, limit: 4, window: 1h}
event_types:
  order.shipped: {category: orders, template: note}
  mail.sent: {category: mail, template: note}
  login.otp: {category: security, template: note, priority: critical}
  like.made: {category: social, template: note}
  payment.failed: {category: orders, template: note, fallback: {chain: [push, sms, email], wait: 3s}}
  offer.made: {category: marketing, template: note}
  note.filed: {category: other, template: note}
retries:
  push: {attempts: 3, base: 1s, cap: 4s}
  email: {attempts: 3, base: 1s, cap: 4s}
  sms: {attempts: 3, base: 1s, cap: 4s}
failover: {email: {after: 5s}, sms: {after: 3s}}
in_doubt: {settle: 1m, security: resend, default: give_up}
"""
_CATALOG = catalog(POLICY)
ATTEMPTS = 3
TIMEOUT_MS = 2_000

#: Each channel's providers, and whether they can be asked after a lost answer.
_PROVIDERS: Mapping[Channel, Mapping[Provider, bool]] = {
    "push": {"apns": False, "fcm": False},
    "email": {"ses": True, "sendgrid": True},
    "sms": {"twilio": True, "vonage": True},
}
_SENDING: tuple[Channel, ...] = ("push", "email", "sms")

_MOST_ROUNDS = 300
#: In so many rounds of peace, operators replay what trouble left.
_REPLAYS = 3
_USERS = ("ann", "bob", "cid")


@dataclass
class History:
    """What came of a seed; the checker's evidence. ``differing``: tables that aren't what they should be."""

    seed: int
    broker: Broker
    vendors: list[Vendor]
    groups: list[Group]
    logged: list[Mapping[str, Any]] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    stuck: str | None = None
    told: list[str] = field(default_factory=list)
    #: Where the wall clock was moved forward: the loop's seconds.
    jumps: list[float] = field(default_factory=list)
    steps: int = 0


def _as_it_is(parts: Runtime, process: Process) -> Runtime:
    return parts


_CHANNELS: tuple[tuple[Channel, ...], ...] = (
    ("push",),
    ("sms",),
    ("push", "sms"),
    ("email", "push"),
    ("push", "sms", "email"),
)


class World:
    """One seed."""

    def __init__(
        self,
        seed: int,
        *,
        sabotage: Sabotage = _as_it_is,
        loud: Callable[[str], None] | None = None,
    ) -> None:
        chance = Random(seed)
        self._chance, self._sabotage, self._loud = chance, sabotage, loud
        #: Whether processes may go on after their partitions were given away.
        self._zombies = chance.random() < 0.5
        self._loop = VirtualLoop(chance)  # type: ignore[abstract]  # asyncio's raises where it isn't overridden
        self._jumped_ms = chance.choice((0, 0, 9 * 3_600_000 + 50 * 60_000))  # noon, or ten minutes before the night
        self._broker = Broker(self.wall, self._loop.time)
        markers = Random(seed)
        self._broker.ends_transaction = lambda topic: topic.startswith("notify_") and markers.random() < 0.1
        self._partitions = chance.choice((1, 1, 2))
        self._channels = channels = chance.choice(_CHANNELS)
        self._in_app = chance.random() < 0.3
        self._vendors = {channel: self._vendors_of(channel) for channel in channels}
        vendors = [vendor for its in self._vendors.values() for vendor in its]
        names = ["router", *channels, *(["in_app"] if self._in_app else [])]
        self._roles = [
            Role(name, self._partitions, self._builder(name), self._broker, self._loop, chance, self._tell)
            for name in names
        ]
        users = _USERS[: chance.randint(1, len(_USERS))]
        self._upstream = Upstream(users, self._partitions, self._broker, vendors, chance, self.wall, self._tell)
        self._operators = Operators(self._broker, Random(f"replays of {seed}"), self.wall, self._tell)
        self.history = History(seed, self._broker, vendors, [role.group for role in self._roles])

    def wall(self) -> int:
        return NOON + self._jumped_ms + int(self._loop.time() * 1000)

    def run(self) -> History:
        with capture_logs() as logged:
            try:
                self._loop.run(self._live())
            except Stuck as error:
                self.history.stuck = str(error)
            self.history.logged = list(logged)
            self._loop.close()
        self.history.steps = self._loop.steps
        return self.history

    # --- acts ---

    async def _live(self) -> None:
        for role in self._roles:
            self._loop.spawn(self._loop.world, role.tend())
        self._upstream.introduce()
        await asyncio.sleep(0.2 + self._chance.random())
        await self._trouble(2 + self._chance.random() * 4)
        await self._peace()
        for role in self._roles:
            await role.stop()
            self._compare(role)

    async def _trouble(self, for_s: float) -> None:
        deadly = self._chance.choice((0.0, 0.005, 0.03))
        trouble = self._chance.choice((0.0, 0.0, 0.01))
        for role in self._roles:
            role.set_trouble(deadly, trouble)
        ends = self._loop.time() + for_s
        calm = self._chance.choice((0.05, 0.2, 1.0))
        while self._loop.time() < ends:
            await asyncio.sleep(self._chance.random() * 0.4)
            self._upstream.something()
            self._operators.something()
            if self._chance.random() > calm:
                self._chance.choice(self._roles).befall(self._zombies)
            if self._chance.random() < 0.05:
                self._jump(self._chance.choice((900, 5_000, 30_000, 600_000, 3 * 3_600_000)))

    async def _peace(self) -> None:
        """No more faults; whatever waits is waited for."""
        self._tell("peace")
        for role in self._roles:
            role.heal()
        for vendor in self.history.vendors:
            vendor.trouble = False
        for number in range(_MOST_ROUNDS):
            await self._rest()
            if number < _REPLAYS and self._operators.replay():
                await self._rest()
            due = min((first for role in self._roles if (first := self._first_due(role)) is not None), default=None)
            if due is None:
                return
            self._jump(max(0, due - self.wall()))
        raise Stuck(f"something is still waiting after {_MOST_ROUNDS} rounds")

    async def _rest(self) -> None:
        """Until everything is read, and nothing new was said for a while."""
        said, quiet = -1, 0
        for _ in range(2_000):
            await asyncio.sleep(0.15)
            still = len(self._broker.everything) == said and all(role.at_rest() for role in self._roles)
            said, quiet = len(self._broker.everything), quiet + 1 if still else 0
            if quiet >= 2 and not any(vendor.busy for vendor in self.history.vendors):
                return
        restless = [role.name for role in self._roles if not role.at_rest()]
        raise Stuck(f"no rest: {restless}")

    def _compare(self, role: Role) -> None:
        for partition in range(self._partitions):
            tables, journaled = role.disk(partition).tables, self._journaled(role.name, partition)
            for table in role.tables():
                rows, where = tables.get(table, {}), f"{role.name}[{partition}]: {table}"
                if rows != self._broker.folded(changelog_topic(role.name, table), partition):
                    self.history.differing.append(f"{where} isn't what its changelog says")
                if rows != journaled.get(table, {}):
                    self.history.differing.append(f"{where} isn't what the journal says")

    def _journaled(self, role: str, partition: int) -> dict[str, dict[bytes, bytes]]:
        """The rows of all entries that count: those that name the latest claim before them."""
        latest, tables = -1, defaultdict[str, dict[bytes, bytes]](dict)
        for record in self._broker.of(journal_topic(role)):
            if record.partition != partition:
                continue
            if record.key == b"claim":
                latest = record.offset
                continue
            assert record.value is not None
            _, changes, _, claim = msgspec.msgpack.decode(record.value)
            for table, rows in changes.items() if claim == latest else ():
                for key, row in rows.items():
                    if row is None:
                        tables[table].pop(key, None)
                    else:
                        tables[table][key] = row
        return tables

    # --- parts ---

    def _first_due(self, role: Role) -> int | None:
        waits = (role.disk(p).scan("schedule", b"", NORMALIZED) for p in range(self._partitions))
        keys = (next(rows, None) for rows in waits)
        return min((int.from_bytes(row[0][:8], "big") for row in keys if row is not None), default=None)

    def _jump(self, ms: int) -> None:
        if ms > 0:
            self._jumped_ms += ms
            self.history.jumps.append(self._loop.time())
            self._tell(f"the clocks are {ms / 1000:.1f} s further")

    def _tell(self, what: str) -> None:
        if self._loud is not None:
            self._loud(f"{self._loop.time():9.3f} s  {what}")

    def _vendors_of(self, channel: Channel) -> list[Vendor]:
        return [
            Vendor(name, channel, self._loop, self._chance, self.wall, can_be_asked=asked)
            for name, asked in _PROVIDERS[channel].items()
        ]

    def _builder(self, name: str) -> Callable[[str, Group, Callable[[Process, str], None]], Process]:
        def build(instance: str, group: Group, on_death: Callable[[Process, str], None]) -> Process:
            machine, executor = self._machine(name)
            return Process(
                f"{name}.{instance}",
                machine,
                executor,
                group,
                self._broker,
                self._loop,
                self._chance,
                self.wall,
                on_death,
                self._sabotage,
            )

        return build

    def _machine(self, name: str) -> tuple[Any, GatedExecutor | None]:
        known = _CATALOG
        if name == "router":
            providers: dict[Channel, frozenset[Any]] = {c: frozenset(_PROVIDERS[c]) for c in self._channels}
            providers["in_app"] = frozenset(("inbox",) if self._in_app else ())
            for channel in _SENDING:
                providers.setdefault(channel, frozenset())
            return RouterMachine(known, partitions=self._partitions, providers=providers, secret=b"secret"), None
        if name == "in_app":
            return InAppMachine(known, partitions=self._partitions), None
        channel = next(c for c in self._channels if c == name)
        clients = {
            vendor.name: GatedClient(vendor, Gate(vendor.name, concurrency=4, clock=self._loop.time))
            for vendor in self._vendors[channel]
        }
        executor = GatedExecutor(clients, limit=CALLS_AT_ONCE, reserved=2, clock=self.wall, monotonic=self._loop.time)
        timeouts_ms = dict.fromkeys(clients, TIMEOUT_MS)
        channel_config = ChannelConfig(channel, timeouts_ms, partitions=self._partitions, slots=executor)
        return SenderMachine(known, channel_config), executor
