"""What every process does with the log past the streams: publishing, following, announcing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.config import Settings
from app.defaults import default_policy_text
from app.domain.catalog import Catalog
from app.domain.signed_reads import PROOF, proof
from app.ports import LogRecord
from app.store.config_follower import ConfigFollower
from app.store.config_writer import ConfigWriter
from app.store.follower import TopicFollower
from app.store.owner_client import OwnerClient, OwnerRefusedError, OwnerUnavailableError, StateReader
from app.store.owners import Owner, OwnersFollower, announce
from app.store.publisher import KafkaPublisher, Outgoing, PublishError, TooLargeError
from schemas.config import Template, policy_key, read_config, template_key
from schemas.topics import CONFIG
from tests.conftest import eventually
from tests.integration.gateway.conftest import OwnBroker

NOW = 1_780_000_000_000
SECRET = b"the installation's own secret of 32 bytes or more"


@pytest.fixture
async def topic(settings: Settings) -> AsyncIterator[str]:
    """A topic of one partition that nobody else has."""
    name = f"topic-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(**settings.kafka.client_options())
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"max.message.bytes": "1048588"})])

    async def has_a_leader() -> bool:
        [found] = await admin.describe_topics([name])
        return [partition["leader"] for partition in found["partitions"]] != []

    await eventually(has_a_leader)
    yield name
    await admin.delete_topics([name])
    await admin.close()


@asynccontextmanager
async def started(thing: Any) -> AsyncIterator[Any]:
    await thing.start()
    try:
        yield thing
    finally:
        await thing.close()


# --- publishing ---


async def test_positions_come_back_in_the_order_of_the_records(producer: KafkaPublisher, topic: str) -> None:
    positions = await producer.publish_many([Outgoing(topic, None, b"%d" % n) for n in range(100)])

    assert positions == [(0, n) for n in range(100)]


async def test_a_record_that_is_too_large_harms_no_other(producer: KafkaPublisher, topic: str) -> None:
    with pytest.raises(TooLargeError):
        await producer.publish(topic, b"k", b"x" * 5_000_000)

    assert await producer.publish(topic, b"k", b"fits") == (0, 0)


async def test_a_publisher_goes_on_after_the_broker_has_refused_a_batch(
    producer: KafkaPublisher, topic: str, settings: Settings
) -> None:
    """The topic takes 1 MiB, less than the publisher does."""
    with pytest.raises(PublishError):
        await producer.publish(topic, b"k", b"x" * 2_000_000)

    assert await producer.publish(topic, b"k", b"fits") == (0, 0)


async def test_nothing_is_said_to_be_published_while_the_broker_is_silent(
    settings: Settings, topic: str, broker: OwnBroker
) -> None:
    async with started(KafkaPublisher(settings.kafka.client_options(), client_id="hasty", timeout_s=1)) as publisher:
        await publisher.publish(topic, b"k", b"before")
        with broker.frozen(), pytest.raises(PublishError):
            await publisher.publish(topic, b"k", b"meanwhile")

        async def is_published() -> bool:
            try:
                await publisher.publish(topic, b"k", b"after")
            except PublishError:
                return False
            return True

        await eventually(is_published)


# --- following ---


async def test_a_follower_starts_with_all_that_was_there_and_goes_on(
    producer: KafkaPublisher, topic: str, settings: Settings
) -> None:
    await producer.publish_many([Outgoing(topic, None, b"%d" % n) for n in range(50)])
    taken: list[bytes | None] = []
    follower = TopicFollower(settings.kafka.client_options(), topic, lambda record: taken.append(record.value))
    async with started(follower):
        at_the_start = list(taken)
        _, offset = await producer.publish(topic, None, b"more")
        await follower.reached(offset)

    assert at_the_start == [b"%d" % n for n in range(50)]
    assert taken[50:] == [b"more"]


async def test_a_missing_topic_is_named_with_its_remedy(settings: Settings) -> None:
    with pytest.raises(LookupError, match="topic nowhere is missing: run `tocsin topics apply`"):
        await TopicFollower(settings.kafka.client_options(), "nowhere", lambda _: None).start()


async def test_a_version_that_can_not_be_used_leaves_the_last_good_one_in_force(
    producer: KafkaPublisher, settings: Settings
) -> None:
    changes: list[Catalog] = []
    async with started(ConfigFollower(settings.kafka.client_options(), changes.append)) as config:
        writer = ConfigWriter(producer, config, lambda: NOW)
        good = await writer.write_policy("categories: {other: {channels: [push]}}")
        broken = await writer.write_policy("categories: nonsense")
        _, offset = await producer.publish("notify_config", b"policy", b"{")
        await config.reached(offset)
        in_force = config.catalog
        async with started(ConfigFollower(settings.kafka.client_options())) as later:
            of_later = later.catalog
        await writer.write_policy(default_policy_text())

    assert broken.version == good.version + 1
    assert (in_force.policy_version, of_later.policy_version) == (good.version, good.version)
    assert [catalog.policy_version for catalog in changes] == [good.version, broken.version + 1]
    assert in_force.policy.categories["other"].channels == ("push",)


async def test_templates_have_versions_from_one_on(producer: KafkaPublisher, settings: Settings) -> None:
    template = Template(id=f"t-{uuid4().hex[:8]}", channels={"sms": {"en": {"body": "x"}}})
    async with started(ConfigFollower(settings.kafka.client_options())) as config:
        writer = ConfigWriter(producer, config, lambda: NOW)
        written = [await writer.write_template(template) for _ in range(2)]
        deleted = await writer.write_template(template, deleted=True)
        versions = config.versions(template.id)

    assert [version.version for version in versions] == [1, 2, 3]
    assert versions == [*written, deleted]
    assert config.catalog.template(template.id) is None


async def test_versions_that_are_written_at_the_same_moment_have_numbers_of_their_own(
    producer: KafkaPublisher, settings: Settings
) -> None:
    options, name = settings.kafka.client_options(), f"t-{uuid4().hex[:8]}"
    last_of_key: dict[bytes | None, bytes] = {}

    def keep(record: LogRecord) -> None:
        last_of_key[record.key] = record.value or b""

    async with AsyncExitStack() as running:
        followers = [await running.enter_async_context(started(ConfigFollower(options))) for _ in range(3)]
        gateways = [ConfigWriter(producer, follower, lambda: NOW) for follower in followers]
        texts = [f"categories: {{other: {{channels: [{channel}]}}}}" for channel in ("push", "email", "sms")]
        policies = await asyncio.gather(*map(ConfigWriter.write_policy, gateways, texts))
        shown = [Template(id=name, channels={"sms": {"en": {"body": text}}}) for text in texts]
        templates = await asyncio.gather(*map(ConfigWriter.write_template, gateways, shown))
        newest = await gateways[0].write_policy(default_policy_text())
        await running.enter_async_context(started(TopicFollower(options, CONFIG, keep)))

    numbers = [version.version for version in policies]
    assert sorted(numbers) == list(range(newest.version - 3, newest.version))
    assert sorted(version.version for version in templates) == [1, 2, 3]
    for policy in policies:  # what compaction leaves
        assert read_config(last_of_key[policy_key(policy.version).encode()]) == policy
    for template in templates:
        assert read_config(last_of_key[template_key(name, template.version).encode()]) == template
    assert read_config(last_of_key[policy_key().encode()]) == newest
    assert read_config(last_of_key[template_key(name).encode()]) == max(templates, key=lambda version: version.version)


# --- owners ---


def owner(url: str = "http://127.0.0.1:1", *, role: str = "router", **fields: Any) -> Owner:
    given = {"instance": "1", "partitions": range(4), "policy_version": 1, "at": NOW, **fields}
    return Owner(role=role, url=url, **{**given, "partitions": list(given["partitions"])})


def _said(one: Owner, _: int) -> Owner:
    return one


def _at(one: Owner) -> Callable[[], int]:
    return lambda: one.at


@pytest.fixture
async def owners(settings: Settings) -> AsyncIterator[OwnersFollower]:
    async with started(OwnersFollower(settings.kafka.client_options(), SECRET, lambda: NOW)) as owners:
        yield owners


@asynccontextmanager
async def announced(producer: KafkaPublisher, owners: OwnersFollower, *said: Owner) -> AsyncIterator[asyncio.Event]:
    """Announces until the end, and waits until it is known."""
    changed = asyncio.Event()
    telling = [asyncio.create_task(announce(producer, partial(_said, one), changed, SECRET, _at(one))) for one in said]

    async def is_known() -> bool:
        return all(owners.owner_of(one.role, one.partitions[0]) is not None for one in said if one.partitions)

    try:
        await eventually(is_known)
        yield changed
    finally:
        for task in telling:
            task.cancel()
        await asyncio.gather(*telling, return_exceptions=True)


async def test_who_announces_last_owns_the_partition_and_who_leaves_owns_none(
    producer: KafkaPublisher, owners: OwnersFollower
) -> None:
    old, new = owner(instance="1"), owner(instance="2", partitions=[1], at=NOW + 1)
    async with announced(producer, owners, old, new):

        def owning() -> list[str | None]:
            found = (owners.owner_of("router", partition) for partition in (0, 1))
            return [one.name if one else None for one in found]

        async def is_told() -> bool:
            return owning() == ["router/1", "router/2"]

        await eventually(is_told)

    async def is_taken_back() -> bool:
        return owning() == [None, None]

    await eventually(is_taken_back)


async def test_a_silent_worker_does_not_run_and_is_not_waited_for(producer: KafkaPublisher, settings: Settings) -> None:
    now = NOW
    async with started(OwnersFollower(settings.kafka.client_options(), SECRET, lambda: now)) as owners:
        said = (owner(instance="3", policy_version=3), owner(instance="4", policy_version=2, partitions=[5]))
        async with announced(producer, owners, *said):
            assert owners.behind(3) == ["router/4"]
            assert owners.behind(2) == []
            now = NOW + 16_000
            assert owners.running("router") == []
            assert owners.behind(3) == []


# --- asking the owner ---

Answers = Callable[[web.Request], web.Response]


@asynccontextmanager
async def asked(producer: KafkaPublisher, owners: OwnersFollower, answers: Answers) -> AsyncIterator[OwnerClient]:
    """A client whose partitions' owner answers so, on every view."""

    async def answer(request: web.Request) -> web.Response:
        answered = answers(request)
        assert isinstance(answered.body, bytes)
        signed = request.headers["Authorization"]
        answered.headers[PROOF] = proof(SECRET, signed, answered.status, answered.body)
        return answered

    app = web.Application()
    app.router.add_get("/state/{view}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}"
        # One that no test before had: each clock stands, and what isn't newer than before is refused.
        async with announced(producer, owners, owner(url, role="asked", instance=uuid4().hex)):
            yield OwnerClient(StateReader(session, SECRET, lambda: NOW), owners, 4, patience_s=1)


async def test_the_owner_is_asked_for_the_users_partition(producer: KafkaPublisher, owners: OwnersFollower) -> None:
    def echo(request: web.Request) -> web.Response:
        return web.json_response({"view": request.match_info["view"], **request.query})

    async with asked(producer, owners, echo) as client:
        answer = await client.read("asked", "ada", "profile", {"limit": "3"}, after=7)

    assert answer == {"view": "profile", "user_id": "ada", "limit": "3", "partition": answer["partition"], "after": "7"}


async def test_what_is_unknown_is_nothing(producer: KafkaPublisher, owners: OwnersFollower) -> None:
    async with asked(producer, owners, lambda _: web.json_response({}, status=404)) as client:
        assert await client.read("asked", "ada", "profile") is None


@pytest.mark.parametrize("status", [409, 503])
async def test_an_owner_that_is_not_ready_or_has_changed_is_asked_again(
    producer: KafkaPublisher, owners: OwnersFollower, status: int
) -> None:
    statuses = [status, status, 200]
    async with asked(producer, owners, lambda _: web.json_response({"n": 1}, status=statuses.pop(0))) as client:
        assert await client.read("asked", "ada", "profile") == {"n": 1}


async def test_patience_has_an_end(producer: KafkaPublisher, owners: OwnersFollower) -> None:
    async with asked(producer, owners, lambda _: web.json_response({}, status=503)) as client:
        with pytest.raises(OwnerUnavailableError):
            await client.read("asked", "ada", "profile")
        with pytest.raises(OwnerUnavailableError):
            await client.read("nobody", "ada", "profile")


async def test_what_the_owner_refuses_is_not_asked_again(producer: KafkaPublisher, owners: OwnersFollower) -> None:
    refusal = {"detail": "is not one of ours", "field": "cursor"}
    async with asked(producer, owners, lambda _: web.json_response(refusal, status=400)) as client:
        with pytest.raises(OwnerRefusedError) as refused:
            await client.read("asked", "ada", "inbox")

    assert (refused.value.reason, refused.value.field) == ("is not one of ours", "cursor")
