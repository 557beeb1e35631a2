"""Every topic as it must be: partitions, how long it is kept, how it is compacted; made and corrected from here."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from app.config import Kafka
from app.domain.erasure import DEFAULT_WITHIN, ErasureSteps
from schemas import topics
from schemas.sizes import MIB, limit_of

#: The tables of each role that keeps some.
Internal = Mapping[str, Sequence[str]]

_DEFAULT_STEPS = ErasureSteps(DEFAULT_WITHIN)
_SET_ON_TOPIC = 1  # DescribeConfigs' source of a value that was set on the topic itself
_TOPIC_EXISTS = 36
_SEEN_LIMIT_S = 30.0


class TopicsError(Exception):
    """Topics that are not as declared and that ``apply`` must not change by itself."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as declared, or as found on the broker (then with only the values that were set on it)."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Applied:
    """What ``apply`` did: names of topics."""

    created: tuple[str, ...]
    corrected: tuple[str, ...]


def _ms(time: timedelta) -> str:
    return str(int(time.total_seconds() * 1000))


def _kept_for(time: timedelta) -> dict[str, str]:
    """A record goes with its segment, so segments are short: nothing outlives its time by more than ``segment_of``."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": _ms(time),
        "segment.ms": _ms(segment_of(time)),
    }


def segment_of(kept: timedelta) -> timedelta:
    """The time that a segment of a topic with this retention covers."""
    return min(timedelta(days=1), kept / 7)


def _compacted(steps: ErasureSteps) -> dict[str, str]:
    """Rolled, cleaned and deleted in time for an erasure to reach every segment within ``data.erase_within``. A quiet
    partition isn't rolled by time alone: its owner writes to it (``app/streaming/reclaim.py``)."""
    return {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": str(64 * MIB),
        "segment.ms": _ms(steps.roll),
        "min.compaction.lag.ms": "0",
        "max.compaction.lag.ms": _ms(steps.roll),
        "file.delete.delay.ms": _ms(steps.linger),
    }


def _changelog(steps: ErasureSteps) -> dict[str, str]:
    """A row that came late is the last word on its key until the partition's owner has seen it and said it again: that
    takes seconds (``app/streaming/checkpoints.py``), and compaction may not be faster."""
    return _compacted(steps) | {"min.compaction.lag.ms": _ms(steps.settle)}


def _journal(steps: ErasureSteps) -> dict[str, str]:
    """All entries have one key, so that compaction takes what is surely carried out, and never the last of them."""
    return _changelog(steps) | {"segment.ms": _ms(steps.settle)}


def declare(kafka: Kafka, internal: Internal, steps: ErasureSteps = _DEFAULT_STEPS) -> tuple[Topic, ...]:
    """The public topics and those of our own: the owners', the providers', the erasures', the replays', the audit
    log, and for each role its tables' and its journal. ``steps``: of ``data.erase_within``."""
    configs = {name: _kept_for(kept) for name, kept in retentions(kafka).items()}
    for role, tables in internal.items():
        configs |= {topics.changelog_topic(role, table): _changelog(steps) for table in tables}
        configs[topics.journal_topic(role)] = _journal(steps)
    compacted = (
        topics.CONFIG,
        topics.OWNERS,
        topics.PROVIDERS,
        topics.ERASURES,
        topics.REPLAYS,
        topics.CAMPAIGNS,
        topics.CAMPAIGN_RECIPIENTS,
        topics.HOOKS,
        topics.HOOK_POSITIONS,
    )
    configs |= {name: _compacted(steps) for name in compacted}
    configs[topics.KEYS] = _changelog(steps)  # here it is the gateways who say it again
    durable = {"min.insync.replicas": str(max(1, kafka.replication - 1))}
    return tuple(
        Topic(
            name,
            1 if name in topics.SINGLE else kafka.partitions,
            config | durable | {"max.message.bytes": str(limit_of(name))},
        )
        for name, config in configs.items()
    )


def retentions(kafka: Kafka) -> dict[str, timedelta]:
    """How long each topic is kept that has a time limit."""
    return {
        name: timedelta(seconds=kafka.retention[name]) if name in kafka.retention else timedelta(days=days)
        for name, days in topics.KEPT_DAYS.items()
    }


def wrong_partitions(declared: Sequence[Topic], found: Mapping[str, Topic]) -> list[str]:
    """What can't be corrected: a topic with another number of partitions would part a user from his state."""
    return [
        f"{topic.name} has {there.partitions} partitions, the settings say {topic.partitions}"
        for topic in declared
        if (there := found.get(topic.name)) and there.partitions != topic.partitions
    ]


def wrong_config(declared: Sequence[Topic], found: Mapping[str, Topic]) -> list[tuple[Topic, dict[str, str]]]:
    """(topic, the values that differ or aren't set) of topics that are there."""
    wrong = []
    for topic in declared:
        if there := found.get(topic.name):
            differing = {key: value for key, value in topic.config.items() if there.config.get(key) != value}
            if differing:
                wrong.append((topic, differing))
    return wrong


async def check(kafka: Kafka, internal: Internal, steps: ErasureSteps = _DEFAULT_STEPS) -> list[str]:
    """What is wrong with the topics, a sentence each; empty when all are as declared. Raises KafkaError."""
    declared = declare(kafka, internal, steps)
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        found = await _find(admin, declared)
    finally:
        await admin.close()
    return [
        *(f"{topic.name} is missing" for topic in declared if topic.name not in found),
        *wrong_partitions(declared, found),
        *(
            f"{topic.name}: {', '.join(sorted(values))} not as declared"
            for topic, values in wrong_config(declared, found)
        ),
    ]


@dataclass(frozen=True, slots=True)
class BrokerProblems:
    """What of the brokers' settings is in the way, a sentence each: of the log cleaner's, and of transactions'."""

    cleaner: list[str]
    transactions: list[str]


async def check_brokers(kafka: Kafka, steps: ErasureSteps = _DEFAULT_STEPS) -> BrokerProblems:
    """Raises KafkaError."""
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        brokers = (await admin.describe_cluster())["brokers"]
        named = [ConfigResource(ConfigResourceType.BROKER, str(broker["node_id"])) for broker in brokers]
        problems = BrokerProblems([], [])
        for response in [await admin.describe_configs([resource]) for resource in named]:
            for resource in response[0].to_object()["resources"]:
                _raise_on(resource["error_code"], resource["error_message"])
                values = {entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]}
                name = f"broker {resource['resource_name']}"
                problems.cleaner.extend(f"{name}: {problem}" for problem in cleaner_problems(values, steps))
                problems.transactions.extend(f"{name}: {problem}" for problem in transaction_problems(values))
        return problems
    finally:
        await admin.close()


#: What lies behind an open transaction waits; a producer that has died keeps it open for as long as it asked for.
MOST_TRANSACTION_MS = 60_000
_TRANSACTION_TIMEOUT = "transaction.max.timeout.ms"


def cleaner_problems(broker: Mapping[str, str | None], steps: ErasureSteps) -> list[str]:
    """What is wrong with a broker's log cleaner, given all its settings."""
    problems = []
    if broker.get("log.cleaner.enable") == "false":
        problems.append("log.cleaner.enable is false, must be true")
    most_ms = steps.linger // timedelta(milliseconds=1)
    backoff = broker.get("log.cleaner.backoff.ms")
    if backoff is not None and int(backoff) > most_ms:
        problems.append(f"log.cleaner.backoff.ms is {backoff}, at most {most_ms}")
    return problems


def transaction_problems(broker: Mapping[str, str | None]) -> list[str]:
    """What is wrong with how long a broker lets a transaction stay open, given all its settings."""
    longest = broker.get(_TRANSACTION_TIMEOUT)
    if longest is not None and int(longest) > MOST_TRANSACTION_MS:
        return [f"{_TRANSACTION_TIMEOUT} is {longest}, better at most {MOST_TRANSACTION_MS}"]
    return []


async def apply(kafka: Kafka, internal: Internal, steps: ErasureSteps = _DEFAULT_STEPS) -> Applied:
    """Creates what is missing and corrects what is kept differently; doing it again changes nothing.

    Raises TopicsError, before anything is changed, where the number of partitions differs; KafkaError otherwise.
    """
    declared = declare(kafka, internal, steps)
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        found = await _find(admin, declared)
        if wrong := wrong_partitions(declared, found):
            raise TopicsError(f"{'; '.join(wrong)}. Set kafka.partitions to that number: it can't be changed later")
        missing = [topic for topic in declared if topic.name not in found]
        await _create(admin, missing, kafka.replication)
        differing = wrong_config(declared, found)
        await _correct(admin, {topic.name: {**found[topic.name].config, **topic.config} for topic, _ in differing})
        if missing or differing:
            await _seen_by_clients(admin, declared)
    finally:
        await admin.close()
    return Applied(tuple(topic.name for topic in missing), tuple(topic.name for topic, _ in differing))


async def _find(admin: AIOKafkaAdminClient, declared: Sequence[Topic]) -> dict[str, Topic]:
    names = {topic.name for topic in declared}
    partitions = {
        there["topic"]: len(there["partitions"]) for there in await admin.describe_topics() if there["topic"] in names
    }
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in partitions]
    found = {}
    for response in await admin.describe_configs(resources) if resources else ():
        for resource in response.to_object()["resources"]:
            _raise_on(resource["error_code"], resource["error_message"])
            values = {
                entry["config_names"]: entry["config_value"]
                for entry in resource["config_entries"]
                if entry["config_source"] == _SET_ON_TOPIC
            }
            name = resource["resource_name"]
            found[name] = Topic(name, partitions[name], values)
    return found


async def _create(admin: AIOKafkaAdminClient, missing: Sequence[Topic], replication: int) -> None:
    if not missing:
        return
    new = [NewTopic(topic.name, topic.partitions, replication, topic_configs=dict(topic.config)) for topic in missing]
    response = await admin.create_topics(new)
    for name, code, message in response.topic_errors:
        if code != _TOPIC_EXISTS:  # someone else made it at this moment, from the same declaration
            _raise_on(code, f"{name}: {message}")


async def _correct(admin: AIOKafkaAdminClient, configs: Mapping[str, Mapping[str, str]]) -> None:
    if not configs:
        return
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict(config)) for name, config in configs.items()]
    for response in await admin.alter_configs(resources):
        for code, message, _, name in response.resources:
            _raise_on(code, f"{name}: {message}")


async def _seen_by_clients(admin: AIOKafkaAdminClient, declared: Sequence[Topic]) -> None:
    """Waits for the brokers: the controller answers before they have heard of what it did."""
    deadline = time.monotonic() + _SEEN_LIMIT_S
    while len(found := await _find(admin, declared)) < len(declared) or wrong_config(declared, found):
        if time.monotonic() > deadline:
            raise TopicsError(f"the brokers don't show the topics as declared after {_SEEN_LIMIT_S:.0f} s")
        await asyncio.sleep(0.05)


def _raise_on(code: int, message: str | None) -> None:
    error: type[KafkaError] = for_code(code)
    if code:
        raise error(message)
