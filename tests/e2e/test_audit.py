"""``tocsin audit`` on a whole system under load: it holds, and whatever is planted is found with its place."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from clickhouse_connect.driver import AsyncClient

from app.dev.system import DevSystem, Options
from app.domain.partition import partition_of
from app.store.clickhouse import connect
from app.streaming.store import PartitionStore, block_cache
from schemas.instants import rfc3339
from schemas.topics import EVENTS, EVENTS_BULK, LIFECYCLE, RESULTS, changelog_topic
from tests.conftest import eventually
from tests.e2e.rules.world import HELLO, LIMIT_S, Person, World, reaching

_REPOSITORY = Path(__file__).parents[2]
_PARTITIONS = 2
_POLICY = """
categories:
  orders: {channels: [push, email, in_app]}
  other: {channels: [in_app]}
caps:
  - {name: mails, channel: email, limit: 5, window: 3s, over: defer}
  - {name: texts, channel: sms, limit: 3, window: 1m}
event_types:
  order.*: {category: orders}
"""
PROFILES = changelog_topic("router", "profiles")
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("audit") / "dev"
    options = Options(folder=folder, jars=_REPOSITORY / ".tocsin" / "kafka", partitions=_PARTITIONS)
    async with DevSystem(options) as system, reaching(system) as world:
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(world: World) -> list[Person]:
    people = [await world.person("android", "ios", zone="UTC") for _ in range(12)]
    await world.prefer(people[0], channels={"push": False})
    await world.prefer(people[1], **people[1].quiet_now())
    return people


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def load(world: World, people: list[Person]) -> AsyncIterator[None]:
    """Requests and commands go on all the time: sent at once, repeated, scheduled, held, refused, moved."""
    loading = asyncio.create_task(_load(world, people))
    await world.until(lambda: len(world.asked) > 100)
    yield
    loading.cancel()
    with suppress(asyncio.CancelledError):
        await loading


async def _load(world: World, people: list[Person]) -> None:
    n = 0
    while True:
        n += 1
        person = people[n % len(people)]
        fields: dict[str, Any] = {"channels": [("push", "email", "sms", "in_app")[n % 4]]}
        if n % 11 == 0:
            fields["send_at"] = rfc3339(time.time_ns() // 1_000_000 + 3_600_000)
        name = await world.ask(person, "order.shipped", EVENTS_BULK if n % 5 == 0 else EVENTS, **fields)
        if n % 7 == 0:
            await world.ask(person, "order.shipped", notification_id=name)
        if n % 13 == 0:
            await world.produce(EVENTS, person.user_id, {"user_id": person.user_id, "event_type": 7})
        if n % 17 == 0:
            await _produce_to_another_partition(world, person)
        if n % 19 == 0:
            await world.prefer(person, dnd={"enabled": n % 2 == 0})
        if n % 8 == 3:  # (its latest was for the inbox)
            later = rfc3339(time.time_ns() // 1_000_000 + 2_000)
            await world.command("inbox.snooze", person, notification_id=name, until=later)
            await world.command("inbox.mark", person, all=True, **{"as": "read"})
        await asyncio.sleep(0.02)


async def _produce_to_another_partition(world: World, person: Person) -> None:
    request = {"user_id": person.user_id, "event_type": "order.shipped", "content": HELLO}
    elsewhere = (partition_of(person.user_id.encode(), _PARTITIONS) + 1) % _PARTITIONS
    await world._producer.send_and_wait(
        EVENTS, json.dumps(request).encode(), key=person.user_id.encode(), partition=elsewhere
    )


async def audit(world: World, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and each check's finding by its name."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app.cli",
        "audit",
        "--json",
        *arguments,
        cwd=_REPOSITORY,
        env={**os.environ, **world.system.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert out, err.decode()
    said = json.loads(out)
    assert process.returncode == (0 if said["holds"] else 1)
    return process.returncode, {check["check"]: check for check in said["checks"]}


async def test_a_healthy_system_under_load_holds(world: World, load: None) -> None:
    status, checks = await audit(world)

    assert [check["differences"] for check in checks.values()] == [[]] * len(checks)
    assert status == 0, checks
    covered = checks["balance"]["covered"]
    assert covered["requests"] > 100
    assert covered["recipients"] > 90
    assert covered["ends"] > 50
    assert covered["stated waits"] > 0
    assert checks["sink"]["covered"]["events"] > 200


async def test_what_was_drawn_is_decided_the_same_again(
    world: World, people: list[Person], load: None, tmp_path: Path
) -> None:
    """The audit before has stored the tables; meanwhile a policy came into force, and a user was erased."""
    before = len(world.asked)
    erased = await world.person("android", zone="UTC")
    await world.ask(erased, "order.shipped", channels=["push"])
    await world.command("user.erase", erased)
    (tmp_path / "policy.yaml").write_text(_POLICY)
    await world.tocsin("policy", "apply", str(tmp_path / "policy.yaml"))
    await world.until(lambda: len(world.asked) > before + 100)

    status, checks = await audit(world, "--only", "decisions")

    assert checks["decisions"]["differences"] == []
    assert status == 0, checks
    covered = checks["decisions"]["covered"]
    assert covered["records decided"] > 100
    assert covered["batches"] > 20
    assert covered["timers woken"] > 0
    assert "partitions without a stored state" not in checks["decisions"]["not_covered"]


async def test_what_nobody_decided_is_found(world: World, people: list[Person], load: None) -> None:
    """An event of the router's, one of the inbox's, and a result that the inbox never reported."""
    await audit(world, "--only", "decisions")
    stored = time.monotonic()
    await world.until(lambda: time.monotonic() > stored + 3)  # (close to the stored state, none is surely of a batch)
    name = await world.ask(people[6], "order.shipped", channels=["in_app"])
    end = await world.end_of(name, "in_app")
    queued = next(event for event in world.told(name, "in_app") if event["status"] == "queued")
    result = {"id": str(uuid.uuid4()), "at": time.time_ns() // 1_000_000, "status": "failed", "reason": "permanent"}
    result |= {field: end[field] for field in ("user_id", "notification_id", "send_id", "channel")}
    forged = [(LIFECYCLE, {**event, "event_id": str(uuid.uuid4())}) for event in (queued, end)] + [(RESULTS, result)]
    places = [(topic, *await written(world, topic, people[6].user_id, record)) for topic, record in forged]
    before = len(world.asked)
    await world.until(lambda: len(world.asked) > before + 200)

    status, checks = await audit(world, "--only", "decisions")

    assert end["status"] == "sent"
    assert status == 1
    found = checks["decisions"]["differences"]
    assert sorted((each["where"], each["partition"], each["position"]) for each in found) == sorted(places)
    expected = (people[6].user_id, "it was produced, and nobody decided it")
    assert {(each["key"], each["what"]) for each in found} == {expected}


async def written(world: World, topic: str, key: str, record: dict[str, Any]) -> tuple[int, int]:
    """Produces as a stranger would; returns partition and offset."""
    async with AIOKafkaProducer(bootstrap_servers=world.system.state.kafka_bootstrap) as producer:
        at = await producer.send_and_wait(topic, json.dumps(record).encode(), key=key.encode())
    return at.partition, at.offset


async def test_an_event_that_nobody_decided_is_found(world: World, people: list[Person], load: None) -> None:
    """Of a notification that was never asked for; a second end of one that was; and one that was accepted by nobody."""
    name = await world.ask(people[2], "order.shipped", channels=["in_app"])
    end = await world.end_of(name, "in_app")
    stranger = {**end, "event_id": str(uuid.uuid4()), "notification_id": str(uuid.uuid4()), "status": "sent"}
    again = {**end, "event_id": str(uuid.uuid4()), "status": "failed", "reason": "permanent"}
    invented = {**stranger, "event_id": str(uuid.uuid4()), "notification_id": str(uuid.uuid4()), "status": "accepted"}
    places = [await written(world, LIFECYCLE, people[2].user_id, each) for each in (stranger, again, invented)]

    status, checks = await audit(world, "--only", "balance")

    assert status == 1
    its = [each for each in checks["balance"]["differences"] if each["key"] == people[2].user_id]
    found = {(each["partition"], each["position"]): each for each in its}
    assert sorted(found) == sorted(places)
    assert "never accepted" in found[places[0]]["what"]
    assert "2 ends" in found[places[1]]["what"]
    assert name in found[places[1]]["what"]
    assert "no record asked for" in found[places[2]]["what"]


async def test_a_row_that_is_missing_in_clickhouse_is_found(world: World, people: list[Person], load: None) -> None:
    name = await world.ask(people[3], "order.shipped", channels=["in_app"])
    end = await world.end_of(name, "in_app")

    async def is_there() -> bool:
        sql = f"SELECT topic_offset FROM lifecycle WHERE event_id = '{end['event_id']}'"
        return "topic_offset" in await world.tocsin("query", sql, "--json")

    await eventually(is_there, LIMIT_S)
    client: AsyncClient = await connect(world.system.settings)
    sql = f"SELECT topic_partition, topic_offset FROM lifecycle WHERE event_id = '{end['event_id']}'"
    [(partition, offset)] = (await client.query(sql)).result_rows
    await client.command(
        f"ALTER TABLE lifecycle DELETE WHERE event_id = '{end['event_id']}'", settings={"mutations_sync": 2}
    )
    await client.close()

    status, checks = await audit(world, "--only", "sink")

    assert status == 1
    [found] = [each for each in checks["sink"]["differences"] if "missing" in each["what"]]
    assert (found["partition"], found["position"], found["key"]) == (partition, offset, people[3].user_id)
    assert end["event_id"] in found["what"]


async def test_a_row_that_was_changed_by_hand_in_a_store_is_found(world: World, people: list[Person]) -> None:
    user = people[4].user_id
    partition = partition_of(user.encode(), _PARTITIONS)
    await world.system.stop_processes(["router"])
    store = PartitionStore(world.system.settings.data_folder("router") / "tables" / str(partition), block_cache(8))
    row = store.get("profiles", user.encode())
    assert row is not None
    store.write({"profiles": {user.encode(): row.replace(b"Asia", b"Mars").replace(b"UTC", b"XTC")}}, {})
    store.flush()
    store.close()
    world.system.start_role("router")
    await world.system.wait_ready(LIMIT_S, ["router"])

    status, checks = await audit(world, "--only", "state")

    assert status == 1
    [found] = checks["state"]["differences"]
    assert (found["where"], found["partition"], found["key"]) == (PROFILES, partition, user)
    assert found["position"] is not None
    assert "another value" in found["what"]
    await world.command("profile.set", people[4], timezone="Europe/Paris")  # what is written again is healed

    async def is_healed() -> bool:
        return (await audit(world, "--only", "state"))[0] == 0

    await eventually(is_healed, LIMIT_S)


async def last_record(bootstrap: str, place: TopicPartition, key: str) -> int:
    """The offset of the key's last record."""
    found = -1
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(place, timeout_ms=1_000)).get(place, ()):
                if record.key == key.encode():
                    found = record.offset
    return found


async def test_a_record_that_a_changelog_lost_is_found(world: World, people: list[Person]) -> None:
    user = people[5].user_id
    place = TopicPartition(PROFILES, partition_of(user.encode(), _PARTITIONS))
    bootstrap = world.system.state.kafka_bootstrap
    last = await last_record(bootstrap, place, user)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    changed = {"cleanup.policy": "compact,delete"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, PROFILES, changed)])
    await admin.delete_records({place: RecordsToDelete(last + 1)})
    await admin.close()

    status, checks = await audit(world, "--only", "state")

    assert status == 1
    found = {each["key"]: each for each in checks["state"]["differences"]}
    assert (found[user]["where"], found[user]["partition"]) == (PROFILES, place.partition)
    assert "the changelog doesn't" in found[user]["what"]
