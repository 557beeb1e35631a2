"""A role's two instances and what befalls them: deaths, restarts with and without their disks, takeovers, rebalances,
stalls, an operator's rewind."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from random import Random

from schemas.topics import journal_topic
from tests.simulation.broker import Broker
from tests.simulation.clients import LANDED_AFTER_S, Group
from tests.simulation.disk import Disk
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process

_INSTANCES = ("a", "b")

#: What may befall a role, and how often.
_CHANCES = {"kill": 5, "move": 2, "stall": 2, "restart": 1, "rewind": 1, "compact": 2}


class Role:
    """``build``: makes a process of an instance. ``tell``: notes what happened."""

    def __init__(
        self,
        name: str,
        partitions: int,
        build: Callable[[str, Group, Callable[[Process, str], None]], Process],
        broker: Broker,
        loop: VirtualLoop,
        chance: Random,
        tell: Callable[[str], None],
    ) -> None:
        self.name = name
        self.group = Group(name)
        self.deadly = 0.0
        self.trouble = 0.0
        self.processes: dict[str, Process] = {}
        self._partitions = range(partitions)
        self._build = build
        self._broker, self._loop, self._chance, self._tell = broker, loop, chance, tell
        self._plan = {p: chance.choice(_INSTANCES) for p in self._partitions}
        self._disks: dict[tuple[str, int], Disk] = {}
        self._orders: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._open_orders = 1
        #: When the owner of each partition last looked at its changelogs: the loop's seconds.
        self._looked_at: dict[int, float] = {}

    # --- what the world sees ---

    async def tend(self) -> None:
        """Carries out what was ordered, one after the other."""
        await self._fill()
        self._open_orders = 0
        while True:
            order = await self._orders.get()
            await order()
            self._open_orders -= 1

    def befall(self, zombies: bool) -> None:
        """Something happens."""
        kinds = {**_CHANCES, **({"zombie": 6} if zombies else {})}
        kind = self._chance.choices(list(kinds), list(kinds.values()))[0]
        match kind:
            case "kill":
                self._any().kill("killed")
            case "stall":
                self._stall(self._any(), self._chance.random() ** 2 * 4)
            case "compact":
                self._compact()
            case _:
                self.order(
                    {"move": self._move, "restart": self._restart, "rewind": self._rewind, "zombie": self._zombie}[kind]
                )

    def order(self, order: Callable[[], Awaitable[None]]) -> None:
        self._open_orders += 1
        self._orders.put_nowait(order)

    def heal(self) -> None:
        """No more trouble."""
        self.set_trouble(0.0, 0.0)

    def set_trouble(self, deadly: float, trouble: float) -> None:
        self.deadly, self.trouble = deadly, trouble
        for process in self.processes.values():
            self._adjust(process)

    def owner(self, partition: int) -> Process | None:
        process = self.processes.get(self._plan[partition])
        return process if process is not None and process.life.alive and partition in process.runners else None

    def disk(self, partition: int) -> Disk:
        return self._disks[self._plan[partition], partition]

    def tables(self) -> Sequence[str]:
        """The names of the role's tables."""
        return next(iter(self.processes.values())).tables

    def at_rest(self) -> bool:
        """Everything read, stored and committed, and no call under way."""
        if self._open_orders:
            return False
        for partition in self._partitions:
            owner = self.owner(partition)
            if owner is None or not owner.runners[partition].ready.is_set():
                return False
            for topic in owner.topics:
                end, at = self._broker.end(topic, partition), self.group.position(topic, partition)
                if end and at < end:
                    return False
        living = [process for process in self.processes.values() if process.life.alive]
        return all(process.idle() for process in living)

    # --- orders ---

    async def stop(self) -> None:
        """Every instance gives up what it has, and ends."""
        for process in list(self.processes.values()):
            if process.life.alive:
                await self._give_up(process)
                process.kill("stopped")

    async def _fill(self) -> None:
        """Starts what isn't alive, and gives each partition to a living process."""
        missing = [i for i in _INSTANCES if i not in self.processes or not self.processes[i].life.alive]
        if missing:
            await asyncio.sleep(LANDED_AFTER_S)
        for instance in missing:
            self.processes[instance] = self._build(instance, self.group, self._on_death)
            self._adjust(self.processes[instance])
        for partition in self._partitions:
            instance = self._plan[partition]
            process = self.processes[instance]
            if process.life.alive and partition not in process.runners:
                disk = self._disks.setdefault((instance, partition), Disk())
                self.group.owners[partition] = process.life
                process.open(partition, disk)
                self._tell(f"{process.life} opens {self.name}[{partition}]")

    async def _recover(self) -> None:
        dead = [name for name, process in self.processes.items() if not process.life.alive]
        if not dead:
            return
        await asyncio.sleep(LANDED_AFTER_S + 0.05 + self._chance.random() ** 2 * 3)
        for instance in dead:
            self._power_cut(instance)
            for partition in self._partitions:
                if self._plan[partition] == instance and self._chance.random() < 0.4:
                    self._plan[partition] = self._chance.choice(_INSTANCES)
        await self._fill()

    async def _move(self) -> None:
        await asyncio.gather(*(self._give_up(p) for p in self.processes.values() if p.life.alive))
        self.group.owners.clear()
        await asyncio.sleep(LANDED_AFTER_S + self._chance.random() * 0.5)
        self._plan = {p: self._chance.choice(_INSTANCES) for p in self._partitions}
        self._tell(f"{self.name} is assigned anew: {self._plan}")
        await self._fill()

    async def _restart(self) -> None:
        await self.stop()
        await asyncio.sleep(LANDED_AFTER_S + self._chance.random())
        await self._fill()

    async def _rewind(self) -> None:
        """An operator sets the group back, which Kafka allows only while it has no members."""
        await self.stop()
        await asyncio.sleep(LANDED_AFTER_S + self._chance.random() * 0.2)
        for tp, offset in self.group.rewind(self._chance):
            self._tell(f"{self.name}: an operator sets {tp.topic}[{tp.partition}] back to {offset}")
        await self._fill()

    async def _zombie(self) -> None:
        """A process stands still for so long that the group gives its partitions away; then it goes on for a while,
        until it notices. Its successor may die before it has seen what that does."""
        process = self._any()
        process.life.frozen = True
        self._tell(f"{process.life} stands still, and is taken for dead")
        await asyncio.sleep(LANDED_AFTER_S + 4)
        mine = [p for p in self._partitions if self.owner(p) is process]
        other = next(name for name, its in self.processes.items() if its is not process)
        instance = next(name for name, its in self.processes.items() if its is process)
        del self.processes[instance]
        for partition in mine:
            self._plan[partition] = other
        await self._fill()
        await asyncio.sleep(self._chance.random())
        process.life.frozen = False
        self._tell(f"{process.life} goes on as a zombie")
        await asyncio.sleep(self._chance.random() ** 2)
        if self._chance.random() < 0.5:
            self.processes[other].kill("killed")
        await asyncio.sleep(self._chance.random() * 2)
        await self._give_up(process)
        process.kill("noticed that it has lost its partitions")
        await asyncio.sleep(LANDED_AFTER_S)

    # --- parts ---

    async def _give_up(self, process: Process) -> None:
        drained = self._loop.spawn(process.life, process.give_up())
        died = asyncio.ensure_future(process.died.wait())
        await asyncio.wait((drained, died), timeout=20, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()

    def _any(self) -> Process:
        living = [process for process in self.processes.values() if process.life.alive]
        return self._chance.choice(living or list(self.processes.values()))

    def _stall(self, process: Process, for_s: float) -> None:
        process.life.frozen = True
        self._tell(f"{process.life} stands still for {for_s:.2f} s")
        self._loop.call_later(for_s, _thaw, process)

    def _power_cut(self, instance: str) -> None:
        """What is left of a dead instance's disks."""
        fate = self._chance.random()
        for (name, partition), disk in list(self._disks.items()):
            if name != instance:
                continue
            if fate < 0.2:
                del self._disks[name, partition]
                self._tell(f"{self.name}.{name} has lost its disk of partition {partition}")
            elif fate < 0.4:
                disk.lose(self._chance.randint(1, 4))
                self._tell(f"{self.name}.{name} has lost its last writes of partition {partition}")

    def _compact(self) -> None:
        """Of changelogs Kafka leaves what isn't old enough (``min.compaction.lag.ms``): here, what came since the owner
        looked at them."""
        self._tell(f"the log of {self.name} is compacted")
        self._note_looks()
        for topic in sorted(
            {record.topic for record in self._broker.everything if record.topic.startswith(f"tocsin_{self.name}-")}
        ):
            for partition in self._partitions:
                before = inf if topic == journal_topic(self.name) else self._looked_at.get(partition, 0.0)
                self._broker.compact(topic, partition, before, self._chance)

    def _note_looks(self) -> None:
        for partition in self._partitions:
            owner = self.owner(partition)
            if owner is not None and owner.runners[partition].ready.is_set():
                self._looked_at[partition] = owner.runners[partition].looked_at

    def _adjust(self, process: Process) -> None:
        process.deadly = self.deadly
        process.producer.trouble = process.member.trouble = self.trouble

    def _on_death(self, process: Process, why: str) -> None:
        self._tell(f"{process.life} is dead: {why}")
        if self.processes.get(process.life.name.rsplit(".", 1)[-1]) is process and why != "stopped":
            self.order(self._recover)


def _thaw(process: Process) -> None:
    process.life.frozen = False
