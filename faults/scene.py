"""What an experiment acts in: the system, its load, one seeded source of chance, and the words for what it finds."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from faults.load import Load, Shape
from faults.observing import Observer
from faults.record import Record
from faults.system import Faulty

_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Finding:
    """An invariant of one experiment's own: it holds while ``value`` is at most ``bound``."""

    name: str
    means: str
    value: int
    bound: int = 0


@dataclass(slots=True)
class Scene:
    """``short``: the form that is part of ``make test``."""

    system: Faulty
    load: Load
    record: Record
    observer: Observer
    random: Random
    short: bool
    #: How many requests one experiment is planned with.
    planned: int
    findings: list[Finding] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    #: Told to who watches.
    say: Callable[[str], None] = lambda words: None

    async def more(self, share: float) -> None:
        """Until the load has made so large a part of an experiment's requests more."""
        goal = self.load.asked + share * self.planned
        while self.load.asked < goal:
            await asyncio.sleep(_POLL_S)

    async def pause(self, least_s: float, most_s: float) -> None:
        """A while of a length that chance decides."""
        await asyncio.sleep(self.random.uniform(least_s, most_s))

    def found(self, name: str, means: str, value: int, bound: int = 0) -> None:
        self.findings.append(Finding(name, means, value, bound))


LONG, SHORT = Shape(1_000, 50), Shape(100, 25)


@dataclass(frozen=True, slots=True)
class Experiment:
    """One way to break the system.

    Args:
        does: what is done, in a sentence.
        act: breaks things while the load goes on, and heals them before it returns.
        after: judges what only this experiment promises, when all is quiet.
        load, short_load: how much is asked for in the long form and in the short one.
    """

    name: str
    does: str
    act: Callable[[Scene], Coroutine[Any, Any, None]]
    load: Shape = LONG
    short_load: Shape = SHORT
    after: Callable[[Scene], Coroutine[Any, Any, None]] | None = None
    #: Of how many experiments this is made.
    parts: int = 1

    @classmethod
    def together(cls, name: str, parts: Sequence["Experiment"]) -> "Experiment":
        """Several as one: under the first one's load, one after the other, and all is judged in the end. That costs
        one wait for quiet instead of many."""

        async def act(scene: Scene) -> None:
            for part in parts:
                scene.say(part.name)
                await part.act(scene)

        async def after(scene: Scene) -> None:
            for part in parts:
                if part.after is not None:
                    await part.after(scene)

        does = " ".join(part.does for part in parts)
        load, short = (
            replace(shape, notifications=len(parts) * shape.notifications)
            for shape in (parts[0].load, parts[0].short_load)
        )
        return cls(name, does, act, load, short, after, len(parts))

    def shape(self, short: bool) -> Shape:
        return self.short_load if short else self.load
