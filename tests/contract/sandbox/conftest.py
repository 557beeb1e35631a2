"""Every test begins with a sandbox that behaves."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.sandbox.process import RunningSandbox


@pytest.fixture(autouse=True)
async def _no_faults_are_left(sandbox: RunningSandbox) -> AsyncIterator[None]:
    yield
    if sandbox.is_running:
        await sandbox.request("DELETE", "/faults")
