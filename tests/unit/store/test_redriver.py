"""Putting letters back: each place once, whatever dies in the middle; and what is refused, or left out."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.origin import FIRST_LETTER, origin_of
from app.domain.redrive import KNOWN_MS, why_not
from app.store import redriver as module
from app.store.dead_letters import TooMany, Wanted
from app.store.publisher import Outgoing, PublishError
from app.store.redriver import Redriver, Result
from schemas import topics
from schemas.dead import DeadLetter, dead_letter
from tables.applied import REMEMBERED_MS
from tables.routed import RECEIPTS_MS
from tests.agents.harness import HOUR, NOON, SECRET
from tests.records import Record
from tests.redriving import DAY, MemoryDead, MemoryRedriven, redriver_of

ALL = Wanted(from_ms=0)


class Killed(BaseException):
    """The process ended."""


class Kafka:
    """Takes records; ``dies_after``: so many calls."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.records: list[Outgoing] = []
        self.dies_after = dies_after

    async def publish_many(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        if self.dies_after is not None:
            if self.dies_after == 0:
                raise Killed
            self.dies_after -= 1
        start = len(self.records)
        self.records += records
        return [(record.partition or 0, 1_000 + start + number) for number, record in enumerate(records)]


class DyingRedriven(MemoryRedriven):
    dies = False

    async def add(self, redriven: Any) -> None:
        if self.dies:
            raise Killed
        await super().add(redriven)


def a_letter(
    offset: int = 7,
    topic: str = topics.EVENTS,
    *,
    user: str = "ann",
    recorded: int = NOON,
    at: int = NOON,
    reason: str = "is required",
    headers: Any = (),
    value: bytes | None = b"{}",
    partition: int = 2,
) -> DeadLetter:
    record = Record(topic, partition, offset, recorded, user.encode(), value, headers)
    return dead_letter(record, "invalid", reason, "event_type", "router", at)


def again(record: Outgoing, offset: int, at: int) -> DeadLetter:
    """The letter of a redriven record that failed again."""
    lies = Record(record.topic, record.partition or 0, offset, record.timestamp_ms or 0, record.key, record.value)
    lies.headers = list(record.headers)
    return dead_letter(lies, "invalid", "is required", "event_type", "router", at)


def made(letters: list[DeadLetter], kafka: Kafka, *, now: int = NOON, **given: Any) -> Redriver:
    return redriver_of(MemoryDead(lambda: letters), kafka, SECRET, lambda: now, **given)


async def test_a_letter_goes_back_as_it_was_with_its_place_signed() -> None:
    kafka, headers = Kafka(), [("ce_id", b"1"), ("empty", None), ("twice", b"a"), ("twice", b"b")]
    letter = a_letter(headers=headers, value=b"\xff\x00", recorded=NOON - HOUR)

    result = await made([letter], kafka).redrive(["0-0"], "ops")

    [record] = kafka.records
    assert result == Result(1, 1, [], 0)
    assert (record.topic, record.partition, record.key, record.value) == (topics.EVENTS, 2, b"ann", b"\xff\x00")
    assert record.timestamp_ms == NOON - HOUR
    assert list(record.headers)[:4] == headers
    assert origin_of(SECRET, record.key, record.value, record.headers) == f"{topics.EVENTS}:2:7"
    assert dict(record.headers)[FIRST_LETTER] == b"0-0"


@pytest.mark.parametrize("recorded", [-1, NOON + 2 * HOUR])
async def test_a_timestamp_that_could_not_be_is_the_one_that_counted(recorded: int) -> None:
    kafka = Kafka()
    await made([a_letter(recorded=recorded)], kafka, now=NOON + HOUR).redrive(["0-0"], "ops")

    assert [record.timestamp_ms for record in kafka.records] == [NOON]


async def test_letters_of_one_place_count_as_one_and_the_newest_goes_back() -> None:
    kafka, redriven, letters = Kafka(), MemoryRedriven(), [a_letter(), a_letter(), a_letter(9)]
    first = await made(letters, kafka, redriven=redriven).redrive(ALL, "ops")
    letters.append(again(kafka.records[0], 1_000, NOON + 1))
    second = await made(letters, kafka, redriven=redriven).redrive(ALL, "ops")
    both = await made(letters, kafka).dry_run(ALL, lambda _: "dead")

    assert (first.matched, first.redriven, second.matched, second.redriven) == (2, 2, 1, 1)
    assert (both.matched, both.would["dead"]) == (2, 2)
    assert set(redriven.known) == {"0-0", "0-1", "0-2", "0-3"}
    assert made(letters, kafka).original(_letter(letters, 3)).first == "0-1"


def _letter(letters: list[DeadLetter], number: int) -> Any:
    return MemoryDead(lambda: letters)._all()[number]


async def test_what_was_put_back_is_not_put_back_again() -> None:
    kafka, redriven = Kafka(), MemoryRedriven()
    once = made([a_letter()], kafka, redriven=redriven)
    await once.redrive(["0-0"], "ops")
    by_id, by_filter = await once.redrive(["0-0"], "ops"), await once.redrive(ALL, "ops")

    assert len(kafka.records) == 1
    assert (by_id.matched, by_id.redriven, by_filter.matched) == (1, 0, 0)
    assert by_id.refused[0].why == f"it was redriven at 2026-03-04T12:00:00.000Z, to {topics.EVENTS}:2:1000"


@pytest.mark.parametrize("dies", ["before", "between"])
async def test_killed_midway_and_run_again_all_goes_back_and_each_place_is_known(
    dies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIECE", 3)
    letters = [a_letter(offset) for offset in range(10)]
    kafka, redriven = Kafka(dies_after=2 if dies == "before" else None), DyingRedriven()
    redriven.dies = dies == "between"
    with pytest.raises(Killed):
        await made(letters, kafka, redriven=redriven).redrive(ALL, "ops")
    produced = len(kafka.records)
    kafka.dies_after, redriven.dies = None, False
    result = await made(letters, kafka, redriven=redriven).redrive(ALL, "ops")

    places = [origin_of(SECRET, r.key, r.value, r.headers) for r in kafka.records]
    assert set(places) == {f"{topics.EVENTS}:2:{offset}" for offset in range(10)}
    assert result.redriven == (4 if dies == "before" else 10)
    assert produced == (6 if dies == "before" else 3)  # (a further copy of a place changes nothing)


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (a_letter(value=b"x" * 600_000), "truncated"),
        (a_letter(value=None), "holds no record"),
        (a_letter(-1), "holds no record"),
        (a_letter(recorded=NOON - 7 * DAY), "older than notify_events keeps"),
        (a_letter(topic=topics.RECEIPTS, recorded=NOON - 8 * DAY), "older than notify_receipts keeps"),
        (a_letter(headers=[("\udcff", b"1")]), "isn't UTF-8"),
        *((a_letter(topic=topic), "only what services write") for topic in topics.KEPT_DAYS if "_events" not in topic
          and topic not in (topics.COMMANDS, topics.RECEIPTS)),
    ],
)  # fmt: skip
async def test_what_cannot_go_back_is_refused_by_name(letter: DeadLetter, why: str) -> None:
    kafka = Kafka()
    result = await made([letter], kafka).redrive(ALL, "ops")

    assert kafka.records == []
    assert (result.matched, result.redriven) == (1, 0)
    assert why in result.refused[0].why


@pytest.mark.parametrize("topic", [*topics.EVENT_TOPICS, topics.COMMANDS, topics.RECEIPTS])
async def test_what_its_topic_still_keeps_goes_back(topic: str) -> None:
    kept, kafka = topics.KEPT_DAYS[topic] * DAY, Kafka()
    result = await made([a_letter(topic=topic, recorded=NOON - kept + HOUR)], kafka).redrive(ALL, "ops")

    assert result.redriven == 1


def test_roles_know_a_copy_for_as_long_as_one_may_go_back() -> None:
    assert {KNOWN_MS[topic] for topic in topics.EVENT_TOPICS} == {RECEIPTS_MS}
    assert KNOWN_MS[topics.COMMANDS] == REMEMBERED_MS


@pytest.mark.parametrize("topic", KNOWN_MS)
def test_what_roles_might_take_for_new_is_refused_however_long_its_topic_is_kept(topic: str) -> None:
    old = a_letter(topic=topic, recorded=NOON - KNOWN_MS[topic])

    assert "no longer be recognised" in (why_not(old, 400 * DAY, NOON) or "")
    assert why_not(a_letter(topic=topic, recorded=NOON - KNOWN_MS[topic] + 1), 400 * DAY, NOON) is None


async def test_a_letter_that_is_not_there_is_refused() -> None:
    result = await made([], Kafka()).redrive(["0-5", "3-1"], "ops")

    assert (result.matched, [refusal.id for refusal in result.refused]) == (2, ["0-5", "3-1"])


class Erased:
    """Ann was erased."""

    def since(self, user_id: str, at_ms: int) -> bool:
        return user_id == "ann" and at_ms <= NOON


async def test_users_who_were_erased_after_the_record_are_left_out() -> None:
    kafka = Kafka()
    letters = [
        a_letter(1),
        a_letter(2, user="bob"),
        a_letter(3, recorded=NOON + 1, at=NOON + 1),
        a_letter(4, user="bob", value=json.dumps({"user_id": "ann"}).encode()),
    ]
    result = await made(letters, kafka, erased=Erased()).redrive(ALL, "ops")

    assert (result.matched, result.redriven, result.left_out) == (4, 2, 2)
    assert sorted(r.headers[-1][1].split(b":")[2] for r in kafka.records) == [b"2", b"3"]  # type: ignore[union-attr]


async def test_a_dry_run_changes_nothing_and_adds_up() -> None:
    kafka, redriven = Kafka(), MemoryRedriven()
    letters = [a_letter(offset, topic=topics.DEAD if offset == 0 else topics.EVENTS) for offset in range(4)]
    outcomes = iter(("accepted", "expired", "dead"))
    result = await made(letters, kafka, redriven=redriven).dry_run(ALL, lambda _: next(outcomes))  # type: ignore[arg-type]

    assert (kafka.records, redriven.known) == ([], {})
    assert result.would == {"accepted": 1, "expired": 1, "dead": 1}
    assert result.matched == 4 == sum(result.would.values()) + len(result.refused) + result.left_out


async def test_more_than_one_call_may_match_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PLACES", 2)
    kafka = Kafka()
    with pytest.raises(TooMany):
        await made([a_letter(offset) for offset in range(3)], kafka).redrive(ALL, "ops")
    assert kafka.records == []


async def test_what_kafka_does_not_acknowledge_is_not_noted() -> None:
    class Broken(Kafka):
        async def publish_many(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
            raise PublishError("KafkaTimeoutError")

    redriven = MemoryRedriven()
    with pytest.raises(PublishError):
        await made([a_letter()], Broken(), redriven=redriven).redrive(ALL, "ops")
    assert redriven.known == {}


@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["a", "b"]), st.integers(0, 3)), max_size=12),
    st.sampled_from([Wanted(reason="a"), Wanted(topic=topics.EVENTS), Wanted(field="event_type"), Wanted(code="x")]),
)
def test_whatever_matches_is_put_back_refused_or_left_out(letters: list[tuple[int, str, int]], wanted: Wanted) -> None:
    import asyncio

    made_of = [a_letter(offset, reason=reason, at=NOON + late) for offset, reason, late in letters]
    kafka = Kafka()
    result = asyncio.run(made(made_of, kafka).redrive(wanted, "ops"))

    expected = {letter.offset for letter in made_of if wanted.takes(letter)}
    assert result.matched == result.redriven == len(expected) == len(kafka.records)
