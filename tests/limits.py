"""A limit for every test: one that hangs fails and shows where, instead of holding up the whole run.

An async test that takes too long is cancelled, and its failure shows where each task was. What an event loop can't
cancel (a blocked thread, a loop that never yields, a fixture) is ended by `faulthandler_timeout` in `pyproject.toml`:
that process writes the stacks of its threads and exits, which fails its test.
"""

import asyncio
import functools
import inspect
import io
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

#: Far longer than any test takes on a busy machine: a group of fault experiments takes minutes on a calm one.
LIMIT_S = 1800.0
#: How long a cancelled test may take to clean up.
_CLEANUP_S = 30.0

_Test = Callable[..., Coroutine[Any, Any, None]]


def limit(item: pytest.Item) -> None:
    """Limits the item if it is an async function (under ``@given``: each of its examples)."""
    if not isinstance(item, pytest.Function):
        return
    given = getattr(item.obj, "hypothesis", None)
    if inspect.iscoroutinefunction(item.obj):
        item.obj = limited(item.obj)
    elif given and inspect.iscoroutinefunction(given.inner_test):
        given.inner_test = limited(given.inner_test)


def limited(test: _Test, limit_s: float = LIMIT_S) -> _Test:
    @functools.wraps(test)
    async def in_time(*args: Any, **kwargs: Any) -> None:
        running = asyncio.create_task(test(*args, **kwargs))
        await asyncio.wait([running], timeout=limit_s)
        if running.done():
            return running.result()
        where = stacks()
        running.cancel()
        await asyncio.wait([running], timeout=_CLEANUP_S)
        pytest.fail(f"not done after {limit_s:g} s. Its tasks were here:\n{where}", pytrace=False)

    return in_time


def stacks() -> str:
    """Where each task of the running loop is."""
    written = io.StringIO()
    for task in asyncio.all_tasks():
        task.print_stack(file=written)
    return written.getvalue()
