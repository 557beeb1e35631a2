"""A test that hangs fails and shows where."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.limits import limited, stacks


async def test_a_test_that_hangs_is_cancelled_and_shows_where_each_task_was() -> None:
    cancelled = asyncio.Event()

    async def hangs() -> None:
        other = asyncio.create_task(asyncio.Event().wait(), name="another")
        try:
            await asyncio.gather(other)
        finally:
            cancelled.set()

    with pytest.raises(pytest.fail.Exception) as failed:
        await limited(hangs, 0.05)()

    assert cancelled.is_set()
    assert "await asyncio.gather(other)" in str(failed.value)
    assert "another" in str(failed.value)


async def test_a_test_in_time_ends_as_it_would() -> None:
    async def wrong() -> None:
        raise ValueError("wrong")

    async def skipped() -> None:
        pytest.skip("not here")

    with pytest.raises(ValueError, match="wrong"):
        await limited(wrong)()
    with pytest.raises(pytest.skip.Exception):
        await limited(skipped)()


async def test_every_async_test_has_a_limit() -> None:
    assert "in in_time" in stacks()


@given(st.booleans())
async def test_every_async_example_has_a_limit(example: bool) -> None:
    assert "in in_time" in stacks()
