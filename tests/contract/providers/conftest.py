"""Each vendor's client on the real sandbox, which behaves again after every test."""

from collections.abc import AsyncIterator

import pytest

from app.ports import ProviderClient
from tests.contract.providers.vendors import VENDORS, Vendor, client_of
from tests.contract.sandbox.process import RunningSandbox


@pytest.fixture(autouse=True)
async def _faults_end_with_the_test(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    yield
    await sandbox.request("DELETE", "/faults")


@pytest.fixture(params=[vendor.name for vendor in VENDORS])
def vendor(request: pytest.FixtureRequest) -> Vendor:
    """All of them, or those that a test names."""
    return next(one for one in VENDORS if one.name == request.param)


@pytest.fixture
async def client(vendor: Vendor, sandbox: RunningSandbox) -> AsyncIterator[ProviderClient]:
    client = client_of(vendor.name, sandbox.providers[vendor.name])
    await client.start()
    yield client
    await client.close()
