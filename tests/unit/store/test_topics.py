"""Topics as they are declared: what is compacted is compacted in time, what has a time limit keeps to it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import ConfigError, Kafka, Settings
from app.domain.erasure import ErasureSteps
from app.store.topics import Topic, cleaner_problems, declare, transaction_problems
from schemas import topics
from schemas.topics import KEPT_DAYS

TABLES = {"router": ["profiles"], "push": ["attempts"]}
WITHIN = st.integers(60, 86_400).map(lambda seconds: ErasureSteps(timedelta(seconds=seconds)))


def number(topic: Topic, key: str) -> int:
    return int(topic.config[key])


@given(WITHIN)
def test_every_compacted_topic_lets_go_of_what_was_deleted_within_the_time(steps: ErasureSteps) -> None:
    for topic in declare(Kafka(), TABLES, steps):
        if topic.config["cleanup.policy"] != "compact":
            continue
        rolled = 2 * number(topic, "segment.ms")
        cleaned = max(number(topic, "min.compaction.lag.ms"), number(topic, "max.compaction.lag.ms"))
        lingers = number(topic, "file.delete.delay.ms")
        assert rolled + cleaned + lingers < steps.within / timedelta(milliseconds=1), topic.name
        # Kafka refuses the other order:
        assert number(topic, "min.compaction.lag.ms") <= number(topic, "max.compaction.lag.ms"), topic.name


def test_a_record_of_a_topic_with_a_time_limit_outlives_it_by_a_day_at_most() -> None:
    limited = [topic for topic in declare(Kafka(), TABLES) if topic.config["cleanup.policy"] == "delete"]

    assert {topic.name for topic in limited} == set(KEPT_DAYS)
    assert all(number(topic, "segment.ms") <= timedelta(days=1) / timedelta(milliseconds=1) for topic in limited)


def test_the_retention_of_each_topic_is_a_setting() -> None:
    for name in KEPT_DAYS:
        kafka = Settings.load({"TOCSIN_KAFKA__RETENTION": f'{{"{name}": "36h"}}'}).kafka
        [topic] = [topic for topic in declare(kafka, TABLES) if topic.name == name]
        assert topic.config["retention.ms"] == str(36 * 3_600_000)


@pytest.mark.parametrize("wrong", ['{"tocsin_owners": "1h"}', '{"notify_config": "1d"}', '{"notify_dead": "59m"}'])
def test_a_retention_that_makes_no_sense_is_refused_with_its_key(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"^kafka\.retention: "):
        Settings.load({"TOCSIN_KAFKA__RETENTION": wrong})


@pytest.mark.parametrize(("text", "seconds"), [("1m", 60), ("24h", 86_400), ("1d", 86_400), ("90", 90)])
def test_the_time_of_an_erasure_is_a_setting(text: str, seconds: float) -> None:
    assert Settings.load({"TOCSIN_DATA__ERASE_WITHIN": text}).data.erasure.within == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["59s", "25h", "0", "-1", "soon"])
def test_a_time_out_of_bounds_is_refused_with_its_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^data\.erase_within: "):
        Settings.load({"TOCSIN_DATA__ERASE_WITHIN": text})


def test_a_broker_whose_cleaner_is_off_or_too_slow_is_named_with_the_value_it_needs() -> None:
    steps = ErasureSteps(timedelta(minutes=1))

    assert cleaner_problems({"log.cleaner.enable": "true", "log.cleaner.backoff.ms": "5000"}, steps) == []
    assert cleaner_problems({}, steps) == []
    assert cleaner_problems({"log.cleaner.enable": "false", "log.cleaner.backoff.ms": "15000"}, steps) == [
        "log.cleaner.enable is false, must be true",
        "log.cleaner.backoff.ms is 15000, at most 5000",
    ]


def test_what_remembers_erasures_is_compacted_and_has_one_partition() -> None:
    [topic] = [topic for topic in declare(Kafka(), TABLES) if topic.name == topics.ERASURES]

    assert (topic.partitions, topic.config["cleanup.policy"]) == (1, "compact")


@pytest.mark.parametrize(("ms", "is_named"), [("60000", False), ("60001", True), ("900000", True)])
def test_a_broker_that_lets_transactions_stay_open_for_more_than_a_minute_is_named(ms: str, is_named: bool) -> None:
    problems = transaction_problems({"transaction.max.timeout.ms": ms})

    assert problems == ([f"transaction.max.timeout.ms is {ms}, better at most 60000"] if is_named else [])
    assert transaction_problems({}) == []
