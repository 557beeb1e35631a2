"""What tests of several parts share: one private Kafka broker for the whole run, and topics of one's own on it."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from hypothesis import HealthCheck, settings

from app.dev.broker import Broker, BrokerOptions
from app.dev.java import find_java
from app.dev.kafka_jars import ensure_jars
from app.dev.ports import free_port
from tests.lanes import Lanes, starts_systems
from tests.limits import limit

#: Makes topics and returns their names: ``await topics("events", "sends", partitions=4)``.
MakeTopics = Callable[..., Awaitable[list[str]]]

_REPOSITORY = Path(__file__).parents[1]

# How long an example takes says more of the machine than of the rule.
# In CI hypothesis takes the same examples each time; elsewhere others.
settings.register_profile("tocsin", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tocsin")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not starts_systems(item.nodeid))
    for item in items:
        limit(item)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Whatever was imported: tests run in asyncio's own loops. No test can move the clock of uvloop's."""
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    return Lanes(config, log)


async def eventually(question: Callable[[], Awaitable[bool]], limit_s: float = 180.0) -> None:
    """Waits until the answer is yes; fails the test when it isn't within the limit, which a busy machine may need."""
    async with asyncio.timeout(limit_s):
        while not await question():
            await asyncio.sleep(0.05)


async def until(question: Callable[[], bool], limit_s: float = 180.0) -> None:
    """The same for a question that needs no waiting."""

    async def answer() -> bool:
        return question()

    await eventually(answer, limit_s)


def broker_options(folder: Path) -> BrokerOptions:
    """A broker of one's own on free ports, with its data and its log in a folder."""
    return BrokerOptions(
        folder=folder / "broker",
        libs=ensure_jars(_REPOSITORY / ".tocsin" / "kafka", os.environ),
        java=find_java(os.environ),
        port=free_port(),
        controller_port=free_port(),
        log=folder / "kafka.log",
    )


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real broker of this test run alone; its bootstrap address."""
    broker = Broker(broker_options(tmp_path_factory.mktemp("kafka")))
    with asyncio.Runner() as runner:
        runner.run(broker.start())
        yield broker.bootstrap
        runner.run(broker.stop())


@pytest.fixture
async def topics(kafka: str) -> AsyncIterator[MakeTopics]:
    """Makes topics whose names no other test has; they are deleted at the test's end."""
    made: list[str] = []
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()

    async def make(*stems: str, partitions: int = 1, config: dict[str, str] | None = None) -> list[str]:
        names = [f"{stem}-{uuid.uuid4().hex[:8]}" for stem in stems]
        response = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config) for name in names])
        assert all(code == 0 for _, code, *_ in response.topic_errors), response
        made.extend(names)
        return names

    yield make
    if made:
        await admin.delete_topics(made)
    await admin.close()
