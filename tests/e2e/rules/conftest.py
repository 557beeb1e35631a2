"""One running system for all of these tests, with a policy made for them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.dev.system import DevSystem, Options
from tests.collector import Collector, collecting
from tests.e2e.rules.world import World, reaching

_REPOSITORY = Path(__file__).parents[3]
_POLICY = Path(__file__).with_name("policy.yaml")
_TEMPLATES = {
    "summary": {"email": {"en": {"subject": "{{ count }} things", "text": "{{ items|map(attribute='data.n')|join }}"}}},
    "mail_only": {"email": {"en": {"subject": "Hello", "text": "You."}}},
}


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def world(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> AsyncIterator[World]:
    options = Options(
        folder=tmp_path_factory.mktemp("rules") / "dev",
        jars=_REPOSITORY / ".tocsin" / "kafka",
        settings={"TOCSIN_TRACING__ENDPOINT": collector.endpoint},
    )
    async with DevSystem(options) as system, reaching(system) as world:
        for name, channels in _TEMPLATES.items():
            await world.api("PUT", f"/v1/templates/{name}", channels=channels)
        await world.tocsin("policy", "apply", str(_POLICY))
        yield world
