"""Rows of ClickHouse against the log: the same marks on both sides, and every kind of difference named."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from clickhouse_connect.driver import AsyncClient

from app.audit.findings import Finding
from app.audit.recorded import Span
from app.audit.sink import SinkTerms, _Check
from app.config import Settings
from app.store.lifecycle_rows import COLUMNS, row_of
from app.store.queries import Queries
from schemas.instants import rfc3339
from schemas.lifecycle import LifecycleEvent, encode_lifecycle
from schemas.topics import LIFECYCLE

T0 = 1_795_168_800_000
PLACE = TopicPartition(LIFECYCLE, 3)


def record(offset: int, **fields: Any) -> ConsumerRecord:
    given = {
        "event_id": f"event {offset}",
        "notification_id": f"n'{offset}\\",
        "user_id": "ann",
        "status": "sent",
        "channel": "push",
        "occurred_at": rfc3339(T0 + offset),
        "detail": {"trail": [["x", True]]},
        **fields,
    }
    value = encode_lifecycle(LifecycleEvent(**given))
    return ConsumerRecord(LIFECYCLE, 3, offset, T0 + offset, 0, b"ann", value, None, 3, len(value), ())


async def insert(client: AsyncClient, records: list[ConsumerRecord]) -> None:
    rows = [row_of(each) for each in records]
    await client.insert("notify.lifecycle", list(zip(*rows, strict=True)), column_names=COLUMNS, column_oriented=True)


async def compared(settings: Settings, records: list[ConsumerRecord]) -> Finding:
    queries = Queries(settings)
    check = _Check(queries, SinkTerms(8, None, T0 + 10_000_000, 36_500))
    await check.take(PLACE, records)
    await check.end(PLACE)
    await queries.close()
    return check.finding


RECORDS = [record(n, status=status, send_id=f"s{n}") for n, status in enumerate(["queued", "sent", "opened"] * 5)]


async def test_what_was_inserted_is_held(settings: Settings, client: AsyncClient) -> None:
    await insert(client, RECORDS)
    found = await compared(settings, RECORDS)

    assert (found.differences, found.covered["events"]) == ([], 15)


async def test_an_insert_that_was_made_twice_is_no_difference(settings: Settings, client: AsyncClient) -> None:
    await insert(client, RECORDS)
    await insert(client, RECORDS[3:9])

    assert (await compared(settings, RECORDS)).differences == []


async def test_a_missing_row_is_named(settings: Settings, client: AsyncClient) -> None:
    await insert(client, [each for each in RECORDS if each.offset != 7])
    [found] = (await compared(settings, RECORDS)).differences

    assert (found.partition, found.position, found.key) == (3, 7, "ann")
    assert "event 7 (sent) is missing" in found.what


@pytest.mark.parametrize(
    "changed", [{"status": "failed"}, {"provider": "fcm"}, {"attempt": 2}, {"user_id": "ann", "campaign_id": "x"}]
)
async def test_a_row_that_is_another_is_named(settings: Settings, client: AsyncClient, changed: dict[str, Any]) -> None:
    await insert(client, [*RECORDS[:4], record(4, send_id="s4", **changed), *RECORDS[5:]])
    [found] = (await compared(settings, RECORDS)).differences

    assert (found.position, "differs in ClickHouse" in found.what) == (4, True)


async def test_a_row_of_no_record_is_named(settings: Settings, client: AsyncClient) -> None:
    await insert(client, [*RECORDS, record(12, event_id="made up")])
    log = [each for each in RECORDS if each.offset != 12]
    names = {each.what for each in (await compared(settings, log)).differences}

    assert len(names) == 2  # of both rows at offset 12
    assert any("made up" in what for what in names)


async def test_an_event_that_lies_in_the_log_twice_is_held_once(settings: Settings, client: AsyncClient) -> None:
    """Merging keeps one of two rows, at either's offset."""
    fields = {"notification_id": "n'2\\", "status": "opened", "send_id": "s2", "occurred_at": rfc3339(T0 + 2)}
    twin = record(20, event_id="event 2", **fields)
    await insert(client, [*[each for each in RECORDS if each.offset != 2], twin])
    found = await compared(settings, [*RECORDS, twin])

    assert found.differences == []
    assert found.covered["events that are in the log twice"] == 1


async def test_what_erasure_takes_is_no_difference(settings: Settings, client: AsyncClient) -> None:
    await insert(client, RECORDS)
    await client.command(
        "ALTER TABLE notify.lifecycle UPDATE detail = NULL, provider_message_id = NULL WHERE 1 "
        "SETTINGS mutations_sync = 2"
    )

    assert (await compared(settings, RECORDS)).differences == []


async def test_what_the_sink_has_not_carried_is_said(settings: Settings, client: AsyncClient) -> None:
    check = _Check(Queries(settings), SinkTerms(8, None, T0 + 10_000_000, 36_500))

    assert check.carried(Span(0, 100), 60) == Span(0, 60)
    assert check.finding.not_covered["events that the sink hasn't written yet"] == 40
