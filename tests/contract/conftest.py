"""The real provider sandbox, started as its own process for each module of contract tests."""

from collections.abc import Iterator

import pytest

from tests.contract.sandbox.process import RunningSandbox


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """``control_url``, ``providers`` and ``env`` as in sandbox.json, ``dir``, and questions to it."""
    running = RunningSandbox(tmp_path_factory.mktemp("sandbox"))
    running.start()
    yield running
    if running.is_running:
        running.stop()
