"""Erased users in ClickHouse: rows stay and are counted, what came of the user goes, also out of replaced parts, and
doesn't come back with the log."""

import os
import random
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver import AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from app.config import Settings
from app.domain.erasure import ErasureSteps, user_hash
from app.store.clickhouse import connect
from app.store.erased import ErasedUsers
from app.store.lifecycle_rows import COLUMNS, by_day, read_rows, row_of
from app.store.lifecycle_sink import MAX_DAYS
from app.store.migrations import Kept, migrate
from app.store.redacting import Redactor
from app.store.settling import Settler
from schemas.erasures import REDACT, USER, Erased, ToRedact, encode_erasure
from schemas.instants import rfc3339
from schemas.lifecycle import CAME_BACK
from schemas.topics import ERASURES
from tests.conftest import eventually
from tests.records import Record
from tests.unit.store.conftest import T0, event, record, recorded, store
from tests.unit.store.parts import contents

SECRET = "Planted-4711"
#: Less than may be set, so that replaced parts go within a second or two.
_QUICK = ErasureSteps(timedelta(seconds=12))
STRANGE_USER = "it's \\ \" %(user0)s {x} 😀"


def said(key: bytes, value: Any) -> Record:
    return Record(ERASURES, key=key, value=None if value is None else encode_erasure(value))


def user_key(user_id: str) -> bytes:
    return USER + user_hash(user_id).hex().encode()


def erase(users: ErasedUsers, user_id: str, at: int = T0 + 1_000, until: int | None = None) -> None:
    users.take(said(user_key(user_id), Erased(erased_at=at, until=until)))
    users.take(said(REDACT + f"erasure of {user_id}".encode(), ToRedact(user_id=user_id, partition=3, erased_at=at)))


class Reports:
    """Says on the topic what the redactor publishes."""

    def __init__(self, users: ErasedUsers) -> None:
        self._users = users

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, **_: Any) -> tuple[int, int]:
        self._users.take(Record(topic, key=key, value=value))
        return 0, 0


def redactor(users: ErasedUsers, settings: Settings, settle_s: float = 0.0) -> Redactor:
    async def connected() -> AsyncClient:
        return await connect(settings, database=None)

    return Redactor(users, connected, Reports(users), instance="1", settle_s=settle_s, now_ms=lambda: T0)


async def rows(client: AsyncClient, sql: str) -> list[Any]:
    return list((await client.query(sql)).result_rows)


def secrets_of(user: str, name: str) -> list[Any]:
    told = {"channel": "push", "send_id": name, "notification_id": name, "user_id": user, "provider": "apns"}
    return [
        event("accepted", notification_id=name, user_id=user, detail={"trail": [["zone", SECRET]]}),
        event("suppressed", 1, notification_id=name, user_id=user, reason="rate_cap", detail={"cap": "user-day"}),
        event("sent", 5, **told, provider_message_id=SECRET, detail={"device_id": SECRET}),
        event("opened", 9, **told, reason=SECRET),
        event("bounced", 10, **told, reason="hard"),
    ]


async def test_rows_of_an_erased_user_keep_the_id_and_lose_what_came_of_the_user(
    client: AsyncClient, settings: Settings
) -> None:
    users = ErasedUsers()
    await store(client, *secrets_of(STRANGE_USER, "a"), *secrets_of("neighbour", "b"))
    views = ("notifications", "decisions", "engagement", "latency_hourly")
    before = [await rows(client, f"SELECT * FROM notify.{view} ORDER BY ALL") for view in views]

    erase(users, STRANGE_USER)
    mine = redactor(users, settings)
    await mine.step()
    await mine.step()

    shown = await rows(client, "SELECT user_id, status, reason, detail, provider_message_id FROM notify.lifecycle")
    assert len(shown) == 10
    assert SECRET not in str([row for row in shown if row[0] == STRANGE_USER])
    assert {(status, reason) for user, status, reason, *_ in shown if user == STRANGE_USER} == {
        ("accepted", None),
        ("suppressed", "rate_cap"),
        ("sent", None),
        ("opened", None),
        ("bounced", "hard"),
    }
    assert str([row for row in shown if row[0] == "neighbour"]).count(SECRET) == 4
    assert [await rows(client, f"SELECT * FROM notify.{view} ORDER BY ALL") for view in views] == before
    name = f"erasure of {STRANGE_USER}"
    assert (users.to_redact, users.redacted[name].partition) == ({}, 3)


async def test_it_is_not_reported_before_another_sink_could_have_brought_its_rows_in(
    client: AsyncClient, settings: Settings
) -> None:
    users = ErasedUsers()
    erase(users, "u")
    mine = redactor(users, settings, settle_s=3_600)
    await mine.step()
    await store(client, *secrets_of("u", "late"))
    await mine.step()
    assert not users.redacted

    mine.settle_s = 0
    await mine.step()
    assert users.redacted
    assert SECRET not in str(await rows(client, "SELECT * FROM notify.lifecycle"))


async def test_who_begins_anew_keeps_what_was_recorded_since(client: AsyncClient, settings: Settings) -> None:
    users = ErasedUsers()
    old, new = event("sent", detail={"device_id": "old"}), event("sent", 5_000, detail={"device_id": "new"})
    for each, at in ((old, T0), (new, T0 + 5_000)):
        await client.insert(
            "notify.lifecycle",
            [row_of(recorded(msgspec.json.encode(each), at=at))],
            column_names=COLUMNS,
        )
    erase(users, "u", until=T0 + 3_000)

    await redactor(users, settings).step()

    assert await rows(client, "SELECT detail FROM notify.lifecycle ORDER BY occurred_at") == [
        (None,),
        ('{"device_id":"new"}',),
    ]


@pytest.mark.parametrize("wide", [False, True])
async def test_old_bytes_leave_the_folder_too(
    client: AsyncClient, settings: Settings, tmp_path: Path, wide: bool
) -> None:
    users = ErasedUsers()
    await migrate(client, Kept(), _QUICK)
    for column in ("detail", "provider_message_id", "reason"):
        await client.command(f"ALTER TABLE notify.lifecycle MODIFY COLUMN {column} CODEC(NONE)")
    if wide:
        await client.command("ALTER TABLE notify.lifecycle MODIFY SETTING min_bytes_for_wide_part = 0")
    await store(client, *secrets_of("u", "n"), event("sent", user_id="neighbour", detail={"device_id": "d"}))

    def found() -> list[str]:
        names = []
        for folder, _, files in os.walk(tmp_path / "clickhouse"):  # which passes over a part that was just deleted
            for path in (Path(folder, file) for file in files):
                with suppress(FileNotFoundError):
                    if SECRET.encode() in path.read_bytes():
                        names.append(str(path))
        return names

    assert found()
    erase(users, "u")
    mine = redactor(users, settings)
    await mine.step()

    async def is_gone() -> bool:
        return not found()

    await eventually(is_gone, 90)


def test_events_that_come_later_or_again_are_redacted_as_they_come() -> None:
    users = ErasedUsers()
    erase(users, "u")
    given_rows, refused, _ = read_rows([record(each) for each in secrets_of("u", "n")], users.hides)

    assert SECRET not in str(given_rows)
    assert "user-day" in str(given_rows)
    assert refused == []


@given(st.lists(st.integers(-4_000, 4_000), min_size=1, max_size=300))
def test_one_user_with_a_thousand_days_makes_no_more_parts_than_a_month_has_days(days: list[int]) -> None:
    events = [event("opened", occurred_at=rfc3339(T0 + day * 86_400_000)) for day in days]
    made, refused, _ = read_rows([record(each) for each in events])

    assert refused == []
    assert len({row[COLUMNS.index("occurred_at")] // 86_400_000 for row in made}) <= 33


def test_what_an_event_claimed_stays_in_its_detail() -> None:
    row = dict(zip(COLUMNS, row_of(record(event("opened", occurred_at="2100-01-01T00:00:00Z"))), strict=True))

    assert row["occurred_at"] == T0
    assert row["detail"] == '{"claimed_at":"2100-01-01T00:00:00Z"}'


@given(st.randoms(use_true_random=False), st.integers(1, 400))
def test_an_insert_has_no_more_days_than_it_may_and_the_latest_come_first(chance: random.Random, days: int) -> None:
    times = [T0 - chance.randrange(days) * 86_400_000 for _ in range(300)]
    events = [(event("sent", occurred_at=rfc3339(at)), at) for at in times]
    made = [row_of(recorded(msgspec.json.encode(each), at=at)) for each, at in events]
    groups = by_day(made, MAX_DAYS)
    at = COLUMNS.index("occurred_at")

    assert sorted(map(str, made)) == sorted(str(row) for group in groups for row in group)
    assert all(len({row[at] // 86_400_000 for row in group}) <= MAX_DAYS for group in groups)
    assert all(min(row[at] for row in a) > max(row[at] for row in b) for a, b in pairwise(groups))


STRANGE: dict[str, list[Any]] = {
    "event_id": ["\0", "x" * 100_000, "😀\u2028"],
    "notification_id": ["\0\0", ""],
    "send_id": ["\0", "not a uuid"],
    "status": ["lost", "", 7, None],
    "reason": ["\0", "y" * 100_000],
    "channel": ["fax", 1],
    "provider": ["nobody", []],
    "attempt": [-1, 2**32, 2**63, 10**30, 1.5, "1"],
    "event_type": ["\0", "z" * 100_000],
    "category": ["\0"],
    "priority": ["asap"],
    "source": ["\0"],
    "campaign_id": ["\0", "c" * 100_000],
    "template_id": ["\0"],
    "template_version": [-1, 2**64],
    "variant": ["\0"],
    "policy_version": [2**32, -(2**63)],
    "provider_message_id": ["\0", "p" * 100_000],
    "replay_id": ["\0"],
    "occurred_at": [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
        "9999-12-31T23:59:59Z",
        "1969-12-31T23:59:59Z",
        "2026-11-20T10:00:00",
        "",
        "\0",
        0,
    ],
    "detail": [
        *({"x": "d" * 3_900_000}, {"\0": "\0"}, {"cap": 7}, {"cap": "\0"}, {"n": 2**64 - 1}, {"n": 1e308}, [], "t")
    ],
}


@pytest.mark.parametrize("field", STRANGE)
async def test_whatever_stands_in_a_column_its_neighbours_get_in(client: AsyncClient, field: str) -> None:
    good = {"event_id": "good", "notification_id": "n", "user_id": "u", "status": "sent", "occurred_at": rfc3339(T0)}
    values = [{**good, "event_id": str(number), field: value} for number, value in enumerate(STRANGE[field])]
    records = [recorded(msgspec.json.encode(value), offset=offset) for offset, value in enumerate([*values, good])]

    made, refused, _ = read_rows(records)
    await client.insert("notify.lifecycle", list(zip(*made, strict=True)), column_names=COLUMNS, column_oriented=True)

    assert len(made) + len(refused) == len(records)
    assert all(error.code == "invalid" and error.field == field for _, error in refused)
    assert await client.command("SELECT count() FROM notify.lifecycle WHERE event_id = 'good'") == 1


@pytest.mark.parametrize("timestamp", [-1, 0, 2**62, -(2**62), 253_402_300_800_000])
async def test_whatever_a_records_timestamp_its_neighbours_get_in(client: AsyncClient, timestamp: int) -> None:
    strange = recorded(msgspec.json.encode(event("sent")), at=timestamp)
    made, refused, _ = read_rows([strange, record(event("sent"), 1)])

    await client.insert("notify.lifecycle", list(zip(*made, strict=True)), column_names=COLUMNS, column_oriented=True)

    assert refused == []
    assert await client.command("SELECT count() FROM notify.lifecycle") == 2


async def test_what_came_of_an_erased_user_is_in_no_part_of_any_table(
    client: AsyncClient, settings: Settings, tmp_path: Path
) -> None:
    fields = ("detail", "provider_message_id", "reason")
    planted = {name: f"Planted-in-{name}" for name in fields}
    told = {"channel": "push", "send_id": "n", "provider": "apns", "category": "orders"}
    events = [
        event("held", 1, **told, reason="quiet_hours", detail={"until": rfc3339(T0), "device_id": planted["detail"]}),
        event("sending", 3, **told, attempt=1, detail={"device_id": planted["detail"]}),
        event("sent", 5, **told, attempt=1, provider_message_id=planted["provider_message_id"]),
        *(event(status, 9, **told, reason=planted["reason"]) for status in CAME_BACK if status != "bounced"),
    ]
    await migrate(client, Kept(), _QUICK)

    async def connected() -> AsyncClient:
        return await connect(settings, database=None)

    settler = Settler(connected, Kept(), lambda: T0)
    await store(client, *events)
    await settler.step()
    await store(client, *events, event("opened", 10, **told, reason=planted["reason"]))

    def found() -> set[str]:
        texts = [text for _, text in contents(tmp_path / "clickhouse" / "store")]
        return {name for name, secret in planted.items() if any(secret.encode() in text for text in texts)}

    assert found() == set(fields)
    views = ("notifications", "engagement", "latency_hourly", "delivery_hourly", "users_reached", "provider_hourly")
    before = [await rows(client, f"SELECT * FROM notify.{view} ORDER BY ALL") for view in views]
    users = ErasedUsers()
    erase(users, "u")
    await redactor(users, settings).step()
    await settler.step()
    await settler.close()

    async def is_gone() -> bool:
        return not found()

    await eventually(is_gone, 90)
    assert [await rows(client, f"SELECT * FROM notify.{view} ORDER BY ALL") for view in views] == before
    assert all(before)
