"""The short form of every fault experiment, a family at a time, on one system of real processes and a real broker."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from faults.experiments import FAMILIES
from faults.session import Session

_REPOSITORY = Path(__file__).parents[2]
_SEED = 1

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Session]:
    async with Session(tmp_path_factory.mktemp("faults"), _REPOSITORY / ".tocsin" / "kafka", print) as session:
        yield session


@pytest.mark.parametrize("family", FAMILIES)
async def test_every_invariant_holds_whatever_is_broken(session: Session, family: str) -> None:
    result = await session.run(FAMILIES[family], _SEED, short=True)

    assert result.error is None
    assert [each for each in result.invariants if each["verdict"] != "pass"] == []
