"""Every seed is a history of its own; what is promised holds in all of them."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import structlog

from tests.simulation.checker import violations
from tests.simulation.sabotage import BROKEN
from tests.simulation.world import World

#: How many seeds are tried; more with TOCSIN_SEEDS.
SEEDS = int(os.environ.get("TOCSIN_SEEDS", "2000"))
_AT_ONCE = 500
#: Within so many seeds each sabotage has to be noticed.
_ENOUGH = 300


def told(seed: int) -> list[str]:
    lines: list[str] = []
    World(seed, loud=lines.append).run()
    return lines


@pytest.fixture(scope="module")
def cores() -> Iterator[ProcessPoolExecutor]:
    """A process for each core: seeds have nothing to do with each other."""
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=be_quiet) as pool:
        yield pool


def be_quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def broken_promises(seed: int) -> list[str]:
    return list(violations(World(seed).run()))


@pytest.mark.parametrize("first", range(0, SEEDS, _AT_ONCE))
def test_what_is_promised_holds_whatever_happens(first: int, cores: ProcessPoolExecutor) -> None:
    seeds = range(first, min(first + _AT_ONCE, SEEDS))
    for seed, found in zip(seeds, cores.map(broken_promises, seeds, chunksize=10), strict=True):
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
