"""The short form of every fault experiment, some under one load, on one system of real processes and a real broker."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from faults.experiments import EXPERIMENTS
from faults.scene import Experiment
from faults.session import Session

_REPOSITORY = Path(__file__).parents[2]
_SEED = 1

#: Those that count requests come first in each: later the load is thinner.
_TOGETHER = {
    "records and providers": (
        *("thrice", "poison", "accept_then_reset", "accept_then_hang", "dead_tokens"),
        *("outage", "rewound", "replay", "campaigns"),
    ),
    "two providers": ("failover_outage", "failover_hang", "failover_lost", "failover_killed"),
    "what anybody may write": ("sizes", "transactions", "headers", "numbers", "instants"),
    "what one tenant may do to another": ("attacks",),
    "what clients follow": ("live",),
    "processes": ("calm", "kills", "crash_points", "restarts", "zombies", "rebalances"),
    "what they stand on": ("broker_killed", "broker_away", "broker_slow", "link_cut", "full_disk", "stores"),
    "time": ("clocks",),
}

#: An audit is of all that was done to the system, so one in the end does for all.
_LAST = list(_TOGETHER)[-1]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Session]:
    async with Session(tmp_path_factory.mktemp("faults"), _REPOSITORY / ".tocsin" / "kafka", print) as session:
        yield session


async def test_no_experiment_is_left_out() -> None:
    assert sorted(name for names in _TOGETHER.values() for name in names) == sorted(EXPERIMENTS)


@pytest.mark.parametrize("what", _TOGETHER)
async def test_every_invariant_holds_whatever_is_broken(session: Session, what: str) -> None:
    together = Experiment.together(what.replace(" ", "_"), [EXPERIMENTS[name] for name in _TOGETHER[what]])
    result = await session.run(together, _SEED, short=True, audit=what == _LAST)

    assert result.error is None
    assert [each for each in result.invariants if each["verdict"] != "pass"] == []
