"""Each vendor's client on the real sandbox, which behaves again after every test."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.ports import ProviderClient
from app.providers import apns_pool, aws, fcm_http, rest, twilio
from tests.contract.providers.vendors import VENDORS, Vendor, client_of
from tests.contract.sandbox.process import RunningSandbox


@pytest.fixture(autouse=True)
async def _faults_end_with_the_test(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    yield
    await sandbox.request("DELETE", "/faults")


@pytest.fixture(params=[vendor.name for vendor in VENDORS])
def vendor(request: pytest.FixtureRequest, sandbox: RunningSandbox) -> Vendor:
    """All of them, or those that a test names."""
    vendor = next(one for one in VENDORS if one.name == request.param)
    return replace(vendor, settings=sandbox.providers[vendor.name])


#: Far beyond any pause of the machine. (Sixty TLS handshakes at once take seconds beside other work, and a connection
#: that doesn't stand in its time is a call that wasn't made.)
_CONNECT_S = 600.0


@pytest.fixture
async def client(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProviderClient]:
    for module in (apns_pool, aws, fcm_http, rest, twilio):
        monkeypatch.setattr(module, "CONNECT_S", _CONNECT_S)
    client = client_of(vendor.name, vendor.settings)
    await client.start()
    yield client
    await client.close()
