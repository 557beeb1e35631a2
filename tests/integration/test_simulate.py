"""``tocsin simulate`` over what is recorded on a real broker: exact outcomes, and nothing written."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app.config import Kafka
from app.dev.broker import Broker
from app.domain.catalog import default_catalog
from app.domain.ids import keyed_notification_id, send_id
from app.domain.partition import partition_of
from app.simulate.erased import ErasuresFollower
from app.simulate.recorded import Recorded
from app.simulate.running import Question, Simulation
from app.store import topics as declared_topics
from app.wiring import internal_tables
from schemas.instants import rfc3339
from schemas.topics import COMMANDS, EVENTS, RECEIPTS, RESULTS
from tests.conftest import broker_options

PARTITIONS = 2
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
#: A midnight that is over, and near enough to be kept.
D = time.time_ns() // 1_000_000 // DAY * DAY - 3 * DAY

NOW = """
defaults:
  quiet_hours: {start: "22:00", end: "08:00"}
categories:
  orders: {channels: [push, email]}
  social: {channels: [push]}
  payments: {channels: [push, sms]}
  other: {channels: [in_app]}
caps:
  - {name: push-hour, channel: push, limit: 3, window: 1h}
event_types:
  order.shipped: {category: orders, template: order_shipped}
  comment.created: {category: social, template: comment_created}
  payment.failed:
    category: payments
    template: payment_failed
    fallback: {chain: [push, sms], wait: 2m, until: [opened]}
"""
NEW = (
    NOW.replace("limit: 3", "limit: 1")
    .replace('"22:00", end: "08:00"', '"23:00", end: "07:00"')
    .replace(
        "comment.created: {category: social,",
        "comment.created: {category: social, digest: {window: 1h, min_items: 2, template: comments_summary},",
    )
)


def _push_of(user_id: str, key: str, asked_at: int) -> dict[str, Any]:
    name = keyed_notification_id("shop", key)
    partition = partition_of(user_id.encode(), PARTITIONS)
    send = send_id(name, user_id, asked_at, "push", "d1", 0, partition)
    return {"send_id": send, "notification_id": name, "user_id": user_id, "channel": "push"}


@dataclass
class Recording:
    """What services, apps and roles said, each at its time."""

    bootstrap: str
    _said: list[tuple[str, bytes, dict[str, Any], int]] = field(default_factory=list)

    def known(self, user_id: str, at: int, **profile: Any) -> None:
        addresses = {"email": f"{user_id}@example.com", "phone": "+442071838750", "phone_verified": True}
        self.command("profile.set", user_id, at, **addresses, **profile)
        device = {"device_id": "d1", "platform": "android", "token": f"token of {user_id}"}
        self.command("device.add", user_id, at, **device)

    def command(self, kind: str, user_id: str, at: int, **fields: Any) -> None:
        said = {"type": kind, "id": f"c{len(self._said)} of {at}", "at": rfc3339(at), "user_id": user_id, **fields}
        self._said.append((COMMANDS, user_id.encode(), said, at))

    def request(self, user_id: str, event_type: str, at: int, key: str) -> None:
        said = {"user_id": user_id, "event_type": event_type, "idempotency_key": key, "source": "shop"}
        self._said.append((EVENTS, user_id.encode(), said, at))

    def receipt(self, user_id: str, key: str, asked_at: int, at: int, **fields: Any) -> None:
        """Of the push of the request that was asked for at ``asked_at``."""
        said = {"id": f"r{len(self._said)}", "occurred_at": rfc3339(at), **_push_of(user_id, key, asked_at)}
        self._said.append((RECEIPTS, user_id.encode(), {**said, **fields}, at))

    def failed(self, user_id: str, key: str, asked_at: int, at: int) -> None:
        """What the push role reports of the push of the request that was asked for at ``asked_at``."""
        said = {"id": f"r{len(self._said)}", "at": at, "status": "failed", "reason": "retries_exhausted"}
        self._said.append((RESULTS, user_id.encode(), {**said, **_push_of(user_id, key, asked_at)}, at))

    def forget(self) -> None:
        """Begins a new page: what was said so far is produced."""
        self._said.clear()

    async def produce(self) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=20) as producer:
            for topic, key, said, at in sorted(self._said, key=lambda each: each[3]):
                await producer.send(topic, json.dumps(said).encode(), key=key, timestamp_ms=at)
            await producer.flush()

    async def ends(self) -> dict[TopicPartition, int]:
        """The end offset of every partition of every topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        described = await admin.describe_topics()
        await admin.close()
        places = [TopicPartition(t["topic"], p["partition"]) for t in described for p in t["partitions"]]
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            found: dict[TopicPartition, int] = await consumer.end_offsets(places)
            return found


def a_day(recording: Recording) -> None:
    """Ann's orders and comments, Bob's order at night, Carl who opts out, Dora's payments; Eve is erased later."""
    for user in ("ann", "bob", "carl", "eve"):
        recording.known(user, D - HOUR)
    recording.known("dora", D + HOUR)
    recording.request("ann", "order.shipped", D - 2 * HOUR, "before the range")
    for user in ("gus", "hal"):
        recording.request(user, "order.shipped", D - 40 * HOUR, f"of {user}")
    recording.request("ann", "order.shipped", D + 9 * HOUR, "o1")
    recording.request("ann", "order.shipped", D + 9 * HOUR + 5 * MINUTE, "o2")
    recording.request("ann", "comment.created", D + 12 * HOUR, "c1")
    recording.request("ann", "comment.created", D + 12 * HOUR + 20 * MINUTE, "c2")
    recording.request("bob", "order.shipped", D + 22 * HOUR + 30 * MINUTE, "o3")
    recording.request("carl", "order.shipped", D + 10 * HOUR, "o4")
    recording.command("preferences.patch", "carl", D + 11 * HOUR, preferences={"channels": {"push": False}})
    recording.request("carl", "order.shipped", D + 12 * HOUR, "o5")
    for hour, key in ((14, "p1"), (16, "p2"), (18, "p3")):
        recording.request("dora", "payment.failed", D + hour * HOUR, key)
    recording.receipt("dora", "p1", D + 14 * HOUR, D + 14 * HOUR + MINUTE, status="opened")
    recording.failed("dora", "p3", D + 18 * HOUR, D + 18 * HOUR + MINUTE)
    recording.request("eve", "order.shipped", D + 9 * HOUR, "o6")
    recording.request("ann", "order.shipped", D + 34 * HOUR, "after the range")
    recording.command("user.erase", "eve", D + 30 * HOUR)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """On a broker of its own: ranges of time are found by the times of all records of a topic."""
    broker = Broker(broker_options(tmp_path_factory.mktemp("simulate-kafka")))
    with asyncio.Runner() as runner:
        runner.run(broker.start())
        kafka = Kafka(bootstrap=broker.bootstrap, partitions=PARTITIONS)
        runner.run(declared_topics.apply(kafka, internal_tables()))
        made = Recording(broker.bootstrap)
        a_day(made)
        runner.run(made.produce())
        yield made
        runner.run(broker.stop())


@pytest.fixture
def policies(tmp_path: Path) -> tuple[str, str]:
    files = tmp_path / "now.yaml", tmp_path / "new.yaml"
    for file, text in zip(files, (NOW, NEW), strict=True):
        file.write_text(text)
    return str(files[0]), str(files[1])


async def simulate(recording: Recording, *arguments: str) -> subprocess.CompletedProcess[str]:
    providers = {
        "FCM": {"service_account_file": "/nowhere.json"},
        "SES": {"region": "eu-west-1", "from": "a@example.com"},
        "TWILIO": {"account_sid": "AC1", "auth_token": "secret", "from": "+442071838750"},
    }
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")},
        "TOCSIN_KAFKA__BOOTSTRAP": recording.bootstrap,
        "TOCSIN_KAFKA__PARTITIONS": str(PARTITIONS),
        **{f"TOCSIN_PROVIDERS__{name}": json.dumps(section) for name, section in providers.items()},
    }
    command = [sys.executable, "-m", "app.cli", "simulate", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=environ, capture_output=True, text=True, timeout=300, check=False
    )


def range_of(begin: int, end: int) -> tuple[str, ...]:
    return "--from", rfc3339(begin), "--to", rfc3339(end)


async def test_a_changed_policy_is_compared_with_another_over_what_is_recorded(
    recording: Recording, policies: tuple[str, str]
) -> None:
    now, new = policies
    before = await recording.ends()
    done = await simulate(recording, "--policy", new, "--against", now, *range_of(D, D + DAY), "--json")

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    outcomes = {
        (o["category"], o["channel"], o["outcome"], o["reason"]): (o["now"], o["new"]) for o in said["outcomes"]
    }
    assert outcomes == {
        ("orders", "email", "sent", ""): (5, 5),
        ("orders", "push", "sent", ""): (3, 3),
        ("orders", "push", "held", "quiet_hours"): (1, 0),
        ("orders", "push", "suppressed", "opted_out"): (1, 1),
        ("orders", "push", "suppressed", "rate_cap"): (0, 1),
        ("payments", "push", "sent", ""): (2, 2),
        ("payments", "push", "failed", "retries_exhausted"): (1, 1),
        ("payments", "sms", "sent", ""): (2, 2),
        ("social", "push", "sent", ""): (2, 1),
        ("social", "push", "aggregated", ""): (0, 2),
    }
    changes = {(c["category"], c["now"], c["new"]): (c["count"], c["users"]) for c in said["changes"]}
    assert changes == {
        ("social", "sent", "aggregated"): (2, 1),
        ("social", "nothing", "sent"): (1, 1),
        ("orders", "sent", "suppressed, rate_cap"): (1, 1),
        ("orders", "held, quiet_hours", "sent"): (1, 1),
    }
    users = said["users"]
    assert (users["seen"], users["differ"], users["would_notice"]) == (4, 2, 2)
    ann, bob = users["examples"]
    assert (ann["user_id"], ann["sent"], ann["more"], ann["fewer"]) == ("ann", {"now": 6, "new": 4}, 1, 3)
    assert (bob["user_id"], bob["sent"], bob["more"], bob["fewer"]) == ("bob", {"now": 1, "new": 2}, 1, 0)
    assert bob["changes"] == [
        {
            "notification_id": keyed_notification_id("shop", "o3"),
            "channel": "push",
            "now": "held, quiet_hours",
            "new": "sent",
        }
    ]
    assert said["hidden"] == 3  # what was said of Eve, and to her
    assert await recording.ends() == before


async def test_waits_end_in_recorded_time(recording: Recording, policies: tuple[str, str]) -> None:
    now, _ = policies
    done = await simulate(recording, "--policy", now, "--against", now, *range_of(D, D + DAY + 9 * HOUR), "--json")

    said = json.loads(done.stdout)
    held = {"category": "orders", "channel": "push", "outcome": "sent", "reason": "after quiet_hours"}
    assert {**held, "now": 1, "new": 1} in said["outcomes"]
    assert (said["changes"], said["users"]["differ"]) == ([], 0)


async def test_people_see_tables(recording: Recording, policies: tuple[str, str]) -> None:
    now, new = policies
    done = await simulate(recording, "--policy", new, "--against", now, *range_of(D, D + DAY), "--users", "1")

    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["category", "channel", "outcome", "reason", "now", "new", "change"] in lines
    assert ["social", "push", "aggregated", "2", "+2"] in lines
    assert ["orders", "push", "held,", "quiet_hours", "sent", "1", "1"] in lines
    assert "4 users; for 2 something differs, and 2 would notice" in done.stdout
    assert [line[0] for line in lines if line[:1] in (["ann"], ["bob"])] == ["ann"]
    assert f"10 requests from {rfc3339(D)} to {rfc3339(D + DAY)}, the first at {rfc3339(D + 9 * HOUR)}" in done.stdout
    assert "3 records of users who were erased since were not used." in done.stdout


async def test_without_another_the_policy_in_force_is_compared_with(
    recording: Recording, policies: tuple[str, str]
) -> None:
    done = await simulate(recording, "--policy", policies[1], *range_of(D, D + DAY))

    assert done.returncode == 0, done.stderr
    assert "now: version 0" in done.stdout


async def test_where_nothing_is_recorded_it_says_so(recording: Recording, policies: tuple[str, str]) -> None:
    done = await simulate(recording, "--policy", policies[1], *range_of(D + 2 * DAY, D + 3 * DAY))

    assert (done.returncode, done.stdout) == (1, "")
    said = f"tocsin: no request is recorded from {rfc3339(D + 2 * DAY)} to {rfc3339(D + 3 * DAY)}"
    assert said in done.stderr


async def test_a_policy_that_names_an_unknown_template_is_refused(recording: Recording, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("event_types:\n  order.shipped: {template: nobody_wrote_it}\n")
    done = await simulate(recording, "--policy", str(file), *range_of(D, D + DAY))

    assert done.returncode == 1
    assert "line 2: event_types.order.shipped.template: names the template nobody_wrote_it" in done.stderr


async def test_who_is_erased_while_it_runs_is_left_out(recording: Recording) -> None:
    options = {"bootstrap_servers": recording.bootstrap}
    catalog = default_catalog()
    begin, end = D - 41 * HOUR, D - 39 * HOUR
    question = Question(catalog, catalog, {}, PARTITIONS, begin, end, b"secret")
    recorded, following = Recorded(options, PARTITIONS, begin, end), ErasuresFollower(options, PARTITIONS)
    await recorded.start()
    await following.start()
    simulation = Simulation(question, recorded, following, lambda done, total: None)

    recording.forget()
    assert partition_of(b"hal", PARTITIONS) == 0  # the first to be read: both sides decide before it is known
    recording.command("user.erase", "hal", time.time_ns() // 1_000_000)
    await recording.produce()
    answer = await simulation.run()
    await recorded.close()
    await following.close()

    assert (answer.requests, answer.comparison.users) == (2, 1)
