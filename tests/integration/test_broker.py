"""The broker and the topics on it, for real."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from app.config import Kafka
from app.dev import kafka_jars
from app.dev.broker import Broker, answers
from app.dev.ports import free_port
from app.dev.system import DevSystem, Options
from app.store import topics as declared_topics
from schemas import topics as names
from tests.conftest import MakeTopics, broker_options, eventually

_REPOSITORY = Path(__file__).parents[2]
INTERNAL = {"router": ("profiles", "dedup"), "push": ("claims",)}


@pytest.fixture
def settings(kafka: str) -> Kafka:
    return Kafka(bootstrap=kafka)


async def test_what_was_produced_is_read_back(kafka: str, topics: MakeTopics) -> None:
    [topic] = await topics("echo")
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"value", key=b"key")

    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer:
        record = await asyncio.wait_for(consumer.getone(), 60)

    assert (record.key, record.value) == (b"key", b"value")


async def test_topics_are_made_once_and_then_as_declared(settings: Kafka) -> None:
    internal = {**INTERNAL, "email": ("of_this_test",)}
    first = await declared_topics.apply(settings, internal)
    second = await declared_topics.apply(settings, internal)

    # (the public topics may be there already: the broker serves other tests too, and check asks for them)
    assert names.changelog_topic("email", "of_this_test") in first.created
    assert (second.created, second.corrected) == ((), ())
    assert await declared_topics.check(settings, internal) == []


async def test_a_topic_with_another_retention_is_corrected_and_keeps_its_other_values(settings: Kafka) -> None:
    await declared_topics.apply(settings, INTERNAL)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    changed = {"retention.ms": "1000", "compression.type": "gzip"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, names.LIFECYCLE, changed)])

    async def is_noticed() -> bool:
        problems = await declared_topics.check(settings, INTERNAL)
        return [problem.split(":")[0] for problem in problems] == [names.LIFECYCLE]

    await eventually(is_noticed)  # the broker hears of it a moment after the controller has answered
    applied = await declared_topics.apply(settings, INTERNAL)

    [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, names.LIFECYCLE)])
    await admin.close()
    [resource] = response.to_object()["resources"]
    values = {entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]}
    assert applied.corrected == (names.LIFECYCLE,)
    assert values["retention.ms"] == str(90 * 24 * 3600 * 1000)
    assert values["compression.type"] == "gzip"


async def test_another_number_of_partitions_is_refused_before_anything_changes(settings: Kafka) -> None:
    await declared_topics.apply(settings, INTERNAL)
    other = settings.model_copy(update={"partitions": 4})

    with pytest.raises(declared_topics.TopicsError, match=f"{names.EVENTS} has 8 partitions, the settings say 4"):
        await declared_topics.apply(other, {"router": ("not_yet_there",)})

    [problem] = [p for p in await declared_topics.check(other, INTERNAL) if p.startswith(f"{names.EVENTS} ")]
    assert "8 partitions" in problem
    missing = await declared_topics.check(settings, {"router": ("not_yet_there",)})
    assert missing == [f"{names.changelog_topic('router', 'not_yet_there')} is missing"]


async def test_a_broker_left_behind_is_ended_and_its_log_is_kept(tmp_path: Path) -> None:
    options = broker_options(tmp_path)
    first = Broker(options)
    await first.start()
    await declared_topics.apply(Kafka(bootstrap=first.bootstrap), {})

    second = Broker(options)  # on the same folder, while the first still runs
    await second.start()

    assert await declared_topics.check(Kafka(bootstrap=second.bootstrap), {}) == []
    await second.stop()
    await first.stop()


async def test_the_data_of_another_version_is_moved_aside(tmp_path: Path) -> None:
    options = broker_options(tmp_path)
    options.folder.mkdir()
    (options.folder / "formatted").write_text("3.0.0 another-cluster")
    (options.folder / "kept").write_text("old data")

    broker = Broker(options)
    await broker.start()
    await broker.stop()

    [aside] = tmp_path.glob("broker.aside-*")
    assert (aside / "kept").read_text() == "old data"


PARENT = """
import asyncio, sys
from pathlib import Path
from app.dev.broker import Broker, BrokerOptions
folder, libs, java, port, controller_port = sys.argv[1:]
options = BrokerOptions(Path(folder), Path(libs), Path(java), int(port), int(controller_port), Path(folder + ".log"))
async def main():
    await Broker(options).start()
    print("started", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_no_broker_is_left_behind_when_its_parent_is_killed(tmp_path: Path) -> None:
    options = broker_options(tmp_path)
    arguments = [options.folder, options.libs, options.java, options.port, options.controller_port]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    [java] = psutil.Process(parent.pid).children()

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    async def is_gone() -> bool:
        return not java.is_running() or java.status() == psutil.STATUS_ZOMBIE

    await eventually(is_gone)
    assert not await answers(options)


async def test_another_systems_broker_that_was_quicker_to_take_the_port_is_not_ours(kafka: str, tmp_path: Path) -> None:
    options = replace(broker_options(tmp_path), port=int(kafka.rpartition(":")[2]))
    options.folder.mkdir(parents=True)
    options.stamp.write_text(f"{kafka_jars.VERSION} another-cluster")

    assert not await answers(options)


async def test_a_system_gets_another_port_when_its_own_is_taken_while_it_starts(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "dev"
    system = DevSystem(Options(folder=folder, jars=_REPOSITORY / ".tocsin" / "kafka", kafka_port=port, roles=()))
    starting = asyncio.create_task(system.start())

    async def has_chosen() -> bool:
        return (folder / "kafka" / "server.properties").exists()

    await eventually(has_chosen)  # formatting its folder takes it longer than this takes us
    try:
        with socket.socket() as quicker:
            quicker.bind(("127.0.0.1", port))
            quicker.listen()
            await starting

        assert system.state.kafka_bootstrap != f"127.0.0.1:{port}"
        assert await declared_topics.check(system.settings.kafka, {}) == []
    finally:
        await system.stop()
