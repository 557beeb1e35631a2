"""Each vendor's client on the real sandbox, which behaves again after every test."""

from collections.abc import AsyncIterator

import pytest

from app.ports import ProviderClient
from app.providers import apns_pool, fcm_http, ses, twilio
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


#: Far beyond any pause of the machine. (Sixty TLS handshakes at once take seconds beside other work, and a connection
#: that doesn't stand in its time is a call that wasn't made.)
_CONNECT_S = 600.0


@pytest.fixture
async def client(
    vendor: Vendor, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ProviderClient]:
    for module in (apns_pool, fcm_http, ses, twilio):
        monkeypatch.setattr(module, "CONNECT_S", _CONNECT_S)
    client = client_of(vendor.name, sandbox.providers[vendor.name])
    await client.start()
    yield client
    await client.close()
