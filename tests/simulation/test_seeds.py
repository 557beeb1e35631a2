"""Every seed is a history of its own; what is promised holds in all of them."""

import os

import pytest

from tests.simulation.checker import violations
from tests.simulation.sabotage import BROKEN
from tests.simulation.world import World

#: How many seeds are tried; more with TOCSIN_SEEDS.
SEEDS = int(os.environ.get("TOCSIN_SEEDS", "1000"))
_AT_ONCE = 100
#: Within so many seeds each sabotage has to be noticed.
_ENOUGH = 150


def told(seed: int) -> list[str]:
    lines: list[str] = []
    World(seed, loud=lines.append).run()
    return lines


@pytest.mark.parametrize("first", range(0, SEEDS, _AT_ONCE))
def test_what_is_promised_holds_whatever_happens(first: int) -> None:
    for seed in range(first, min(first + _AT_ONCE, SEEDS)):
        found = violations(World(seed).run())
        assert not found, f"replay it with: python -m tests.simulation --seed {seed}\n" + "\n".join(found)


def test_a_seed_is_always_the_same_history() -> None:
    one, again = World(7).run(), World(7).run()

    assert told(7) == told(7)
    assert [(r.topic, r.value, r.landed) for r in one.broker.everything] == [
        (r.topic, r.value, r.landed) for r in again.broker.everything
    ]


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_broken_is_noticed(broken: str) -> None:
    assert any(violations(World(seed, sabotage=BROKEN[broken]).run()) for seed in range(_ENOUGH))
