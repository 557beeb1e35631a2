"""The loop that tests run in."""

import asyncio


async def test_tests_run_in_a_loop_whose_clock_they_can_move() -> None:
    assert type(asyncio.get_running_loop()).__module__.startswith("asyncio")
