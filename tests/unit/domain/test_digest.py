"""Digests: when they close and what becomes of them, against a replay by brute force."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.digest import (
    Aggregate,
    DigestItem,
    DigestRule,
    OpenDigest,
    Rhythm,
    Singly,
    close,
    due_of,
    join,
    key_of,
    lead,
)
from app.domain.zones import zone_of
from schemas.instants import from_ms, parse_ms
from schemas.words import Priority

RULE = DigestRule("daily", "summary", window_ms=100, max_wait_ms=250, max_items=4, min_items=2)


def item(name: str, at: int = 0, priority: Priority = "normal", **document: Any) -> DigestItem:
    fields = {"event_type": "comment.new", "campaign_id": None, "data": msgspec.Raw(b"\x80")} | document
    return DigestItem(notification_id=name, priority=priority, at=at, **fields)


def gathered(items: Sequence[tuple[DigestItem, int]], rule: DigestRule = RULE) -> OpenDigest:
    row: OpenDigest | None = None
    for one, now in items:
        row = join(row, rule, "", "push", one, now)
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("joined", "due"),
    [
        ([1000], 1100),  # window after the latest item
        ([1000, 1090], 1190),
        ([1000, 1090, 1180], 1250),  # max_wait after the first
        ([1000, 1001, 1002, 1003], 1003),  # at max_items, at once
    ],
)
def test_a_digest_closes_at_window_after_the_latest_max_wait_or_max_items(joined: list[int], due: int) -> None:
    row = gathered([(item(str(now)), now) for now in joined])
    assert due_of(row, RULE, None, "UTC") == due


def test_an_item_that_is_in_joins_only_once() -> None:
    row = gathered([(item("a"), 1000), (item("b"), 1010)])
    assert join(row, RULE, "", "push", item("a"), 1090) is row


def test_at_least_min_items_alive_are_one_notification_and_fewer_go_on_singly() -> None:
    row = gathered([(item("a"), 1), (item("b"), 2), (item("c"), 3)])
    both = close(row, RULE, {"a", "c"})
    assert isinstance(both, Aggregate)
    assert [one.notification_id for one in both.items] == ["a", "c"]
    assert close(row, RULE, {"c"}) == Singly((item("c"),))
    assert close(row, RULE, set()) == Singly(())
    assert isinstance(close(row, replace(RULE, min_items=1), {"c"}), Aggregate)


def test_items_are_told_oldest_first_and_their_highest_priority_is_the_digests() -> None:
    row = gathered([(item("late", 30, "low"), 1), (item("early", 10, "high"), 2), (item("middle", 20), 3)])
    closed = close(row, RULE, {"late", "early", "middle"})
    assert isinstance(closed, Aggregate)
    assert [one.notification_id for one in closed.items] == ["early", "middle", "late"]
    assert closed.priority == "high"


@pytest.mark.parametrize(
    ("types", "campaigns", "event_type", "campaign"),
    [
        (("a", "a"), (None, None), "a", None),
        (("a", "b"), (None, None), "daily", None),
        (("a", "a"), ("x", "x"), "a", "x"),
        (("a", "a"), ("x", "y"), "a", None),
        (("a", "a"), ("x", None), "a", None),
    ],
)
def test_event_type_and_campaign_are_the_items_where_all_agree(
    types: tuple[str, str], campaigns: tuple[str | None, str | None], event_type: str, campaign: str | None
) -> None:
    items = [item(str(n), event_type=types[n], campaign_id=campaigns[n]) for n in range(2)]
    closed = close(gathered([(one, 1) for one in items]), RULE, {"0", "1"})
    assert isinstance(closed, Aggregate)
    assert (closed.event_type, closed.campaign_id) == (event_type, campaign)


def test_the_item_that_opens_a_digest_with_first_send_is_not_among_its_items() -> None:
    row = lead(RULE, "", "push", 1000)
    assert due_of(row, RULE, None, "UTC") == 1100
    assert close(row, RULE, {"a"}) == Singly(())
    assert [one.notification_id for one in join(row, RULE, "", "push", item("b"), 1050).items] == ["b"]


@pytest.mark.parametrize(
    ("key", "data", "value"),
    [
        (None, {}, ""),
        (("thread",), {"thread": "t1"}, '"t1"'),
        (("thread",), {"thread": 1}, "1"),
        (("a", "b"), {"a": {"b": {"y": 1, "x": 2}}}, '{"x":2,"y":1}'),
        (("thread",), {}, None),
        (("thread",), {"thread": None}, None),
        (("a", "b"), {"a": "text"}, None),
        (("a", "b"), {"a": []}, None),
    ],
)
def test_a_digest_is_for_a_value_of_its_key_and_without_one_nothing_is_digested(
    key: tuple[str, ...] | None, data: dict[str, Any], value: str | None
) -> None:
    assert key_of(replace(RULE, key=key), data) == value


def test_long_values_of_a_key_are_told_apart_by_their_hash() -> None:
    rule = replace(RULE, key=("thread",))
    first, second = (key_of(rule, {"thread": "x" * 5000 + last}) for last in "ab")
    assert first != second
    assert first is not None
    assert len(first) == 32


HOURLY, DAILY, WEEKLY = Rhythm("hour", 0), Rhythm("day", 9 * 60), Rhythm("week", 9 * 60, 2)


@pytest.mark.parametrize(
    ("rhythm", "zone", "opened", "due"),
    [
        (DAILY, "UTC", "2026-01-10T08:59:59Z", "2026-01-10T09:00:00Z"),
        (DAILY, "UTC", "2026-01-10T09:00:00Z", "2026-01-11T09:00:00Z"),
        (DAILY, "America/New_York", "2026-03-07T15:00:00Z", "2026-03-08T13:00:00Z"),  # 23 hours later
        (DAILY, "America/New_York", "2026-10-31T14:00:00Z", "2026-11-01T14:00:00Z"),  # 25 hours
        (Rhythm("day", 150), "America/New_York", "2026-03-08T05:00:00Z", "2026-03-08T07:00:00Z"),  # 02:30 is skipped
        (Rhythm("day", 90), "Europe/London", "2026-10-25T00:40:00Z", "2026-10-26T01:30:00Z"),  # 01:30 comes twice
        (DAILY, "Pacific/Apia", "2011-12-30T05:00:00Z", "2011-12-30T10:00:00Z"),  # the 30th is skipped
        (WEEKLY, "UTC", "2026-01-07T08:00:00Z", "2026-01-07T09:00:00Z"),  # a Wednesday
        (WEEKLY, "UTC", "2026-01-07T09:00:00Z", "2026-01-14T09:00:00Z"),
        (WEEKLY, "UTC", "2026-01-08T00:00:00Z", "2026-01-14T09:00:00Z"),
        (HOURLY, "Asia/Kolkata", "2026-01-07T08:00:00Z", "2026-01-07T08:30:00Z"),
        (HOURLY, "UTC", "2026-01-07T08:00:00Z", "2026-01-07T09:00:00Z"),
        (HOURLY, "Europe/London", "2026-10-25T00:40:00Z", "2026-10-25T01:00:00Z"),  # 01:00 comes twice
        (HOURLY, "Europe/London", "2026-10-24T23:40:00Z", "2026-10-25T00:00:00Z"),
        (HOURLY, "Australia/Lord_Howe", "2026-04-04T14:40:00Z", "2026-04-04T15:30:00Z"),  # 01:30 to 02:00 comes twice
        (Rhythm("hour", 45), "Australia/Lord_Howe", "2026-04-04T14:50:00Z", "2026-04-04T15:15:00Z"),
        (Rhythm("hour", 15), "Australia/Lord_Howe", "2026-10-03T15:20:00Z", "2026-10-03T15:30:00Z"),  # 02:15 is skipped
    ],
)
def test_a_users_choice_closes_at_the_next_local_time(rhythm: Rhythm, zone: str, opened: str, due: str) -> None:
    row = gathered([(item("a"), parse_ms(opened)), (item("b"), parse_ms(opened) + 1)])
    assert due_of(row, RULE, rhythm, zone) == parse_ms(due)
    assert due_of(row, replace(RULE, rhythm=rhythm), None, zone) == parse_ms(due)


def test_a_users_choice_comes_before_the_rules_own_rhythm() -> None:
    row = gathered([(item("a"), parse_ms("2026-01-10T08:00:00Z"))])
    due = due_of(row, replace(RULE, rhythm=HOURLY), DAILY, "UTC")
    assert due == parse_ms("2026-01-10T09:00:00Z")
    assert due_of(row, replace(RULE, rhythm=DAILY), Rhythm("hour", 30), "UTC") == parse_ms("2026-01-10T08:30:00Z")


def test_a_clock_that_steps_back_does_not_close_a_digest_earlier() -> None:
    row = gathered([(item("a"), 1000), (item("b"), 1050), (item("c"), 1010)])
    assert due_of(row, RULE, None, "UTC") == 1150


def test_a_users_choice_still_closes_at_max_items() -> None:
    row = gathered([(item(str(n)), 1000 + n) for n in range(4)])
    assert due_of(row, RULE, DAILY, "UTC") == 1003


@given(
    zone=st.sampled_from(["Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]),
    after=st.datetimes(min_value=datetime(2011, 12, 1), max_value=datetime(2012, 11, 30)),  # noqa: DTZ001
    at=st.integers(0, 1439),
    on=st.none() | st.integers(0, 6),
)
def test_the_next_local_time_is_the_first_that_the_wall_clock_reads(
    zone: str, after: datetime, at: int, on: int | None
) -> None:
    rules = ZoneInfo(zone)
    opened = round(after.replace(second=0, microsecond=0, tzinfo=rules).timestamp()) * 1000
    rhythm = Rhythm("day", at) if on is None else Rhythm("week", at, on)
    due = due_of(gathered([(item("a"), opened)]), RULE, rhythm, zone)

    def wall(ms: int) -> datetime:
        return from_ms(ms).astimezone(rules).replace(tzinfo=None)

    first = wall(opened).date() - timedelta(days=1)
    dates = [first + timedelta(days=day) for day in range(16)]
    beats = [
        datetime(date.year, date.month, date.day) + timedelta(minutes=at)  # noqa: DTZ001
        for date in dates
        if on is None or date.weekday() == on
    ]
    latest = max(wall(opened - back * 60_000) for back in range(0, 181, 15))
    latest = max(latest, wall(opened))
    expected = min(beat for beat in beats if beat > latest)
    assert wall(due) >= expected
    assert wall(due - 1) < expected


#: Around clocks that go forward and back: by half an hour, by two hours, by a day, at midnight, at odd offsets.
CHANGES = [
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Europe/London", "2026-10-25T01:00:00Z"),
    ("Europe/London", "2026-03-29T01:00:00Z"),
    ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
    ("Antarctica/Troll", "2026-10-25T01:00:00Z"),
    ("America/St_Johns", "2006-10-29T02:31:00Z"),
    ("America/Havana", "2026-11-01T05:00:00Z"),
    ("America/Asuncion", "2024-03-24T03:00:00Z"),
    ("Pacific/Chatham", "2026-04-04T14:00:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("Pacific/Kwajalein", "1993-08-21T12:00:00Z"),
    ("Asia/Kathmandu", "1985-12-31T18:30:00Z"),
    ("Asia/Pyongyang", "2018-05-04T15:00:00Z"),
    ("UTC", "2026-01-01T00:00:00Z"),
]


@settings(max_examples=400)
@given(
    change=st.sampled_from(CHANGES),
    minutes=st.integers(-200, 200),
    seconds=st.integers(0, 59),
    minute=st.integers(0, 59),
)
def test_an_hourly_digest_closes_whenever_a_clock_that_is_watched_reads_its_minute(
    change: tuple[str, str], minutes: int, seconds: int, minute: int
) -> None:
    zone, at = change
    rules = zone_of(zone)
    opened = parse_ms(at) // 1000 + minutes * 60 + seconds
    due = due_of(gathered([(item("a"), opened * 1000)]), RULE, Rhythm("hour", minute), zone)

    def wall(moment: int) -> datetime:
        return datetime.fromtimestamp(moment, rules).replace(tzinfo=None)

    watched, before = opened // 60 * 60, wall(opened // 60 * 60)
    while True:  # minute by minute
        watched += 60
        now = wall(watched)
        passed = now - before > timedelta(minutes=1) and any(
            (before + timedelta(minutes=n)).minute == minute for n in range(1, (now - before) // timedelta(minutes=1))
        )
        if now.minute == minute or passed:
            break
        before = now
    assert due == watched * 1000


@settings(max_examples=200)
@given(
    change=st.sampled_from(CHANGES),
    hours=st.integers(-60, 60),
    at=st.integers(0, 1439),
    on=st.none() | st.integers(0, 6),
)
def test_a_daily_or_weekly_digest_closes_once_on_each_of_its_days_whatever_clocks_do(
    change: tuple[str, str], hours: int, at: int, on: int | None
) -> None:
    zone, moment = change
    rules = zone_of(zone)
    opened = parse_ms(moment) // 1000 + hours * 3600
    rhythm = Rhythm("day", at) if on is None else Rhythm("week", at, on)
    due = due_of(gathered([(item("a"), opened * 1000)]), RULE, rhythm, zone)

    def wall(second: int) -> datetime:
        return datetime.fromtimestamp(second, rules).replace(tzinfo=None)

    latest = max(wall(opened - back * 60) for back in range(60 * 27))  # how far the clock has been
    watched = opened
    while True:  # minute by minute: the first that reads a time of the rhythm, or has skipped it
        watched += 60
        now = wall(watched)
        days = [latest.date() + timedelta(days=n) for n in range((now.date() - latest.date()).days + 1)]
        times = [datetime(day.year, day.month, day.day) + timedelta(minutes=at) for day in days]  # noqa: DTZ001
        if any(latest < time <= now for time in times if on is None or time.weekday() == on):
            break
        latest = max(latest, now)
    assert due == watched * 1000


@given(
    window=st.integers(1, 30),
    max_wait=st.integers(1, 80),
    max_items=st.integers(2, 6),
    gaps=st.lists(st.integers(1, 25), min_size=1, max_size=40),
)
def test_any_stream_is_gathered_as_a_replay_moment_by_moment_gathers_it(
    window: int, max_wait: int, max_items: int, gaps: list[int]
) -> None:
    rule = replace(RULE, window_ms=window, max_wait_ms=max_wait, max_items=max_items)
    arrivals = {sum(gaps[: n + 1]): str(n) for n in range(len(gaps))}
    end = max(arrivals) + window + max_wait + 1

    replayed: list[tuple[int, list[str]]] = []
    waiting: list[tuple[int, str]] = []
    for now in range(end):
        if waiting and (now >= waiting[-1][0] + window or now >= waiting[0][0] + max_wait):
            replayed.append((now, [name for _, name in waiting]))
            waiting = []
        if now in arrivals:
            waiting.append((now, arrivals[now]))
        if len(waiting) == max_items:
            replayed.append((now, [name for _, name in waiting]))
            waiting = []

    closed: list[tuple[int, list[str]]] = []
    row: OpenDigest | None = None
    for now, name in [*arrivals.items(), (end, "")]:
        if row is not None and (due := due_of(row, rule, None, "UTC")) <= now:
            closed.append((due, [one.notification_id for one in row.items]))
            row = None
        if name:
            row = join(row, rule, "", "push", item(name), now)
            if due_of(row, rule, None, "UTC") <= now:
                closed.append((now, [one.notification_id for one in row.items]))
                row = None
    assert closed == replayed


def test_an_open_digest_fits_a_table() -> None:
    row = gathered([(item("a", data=msgspec.Raw(msgspec.msgpack.encode({"x": 1}))), 1)])
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=OpenDigest)
    assert msgspec.msgpack.decode(stored.items[0].data) == {"x": 1}
    assert msgspec.msgpack.encode(stored) == msgspec.msgpack.encode(row)


@pytest.mark.parametrize(
    ("document", "rhythm"),
    [
        ({"every": "day"}, Rhythm("day", 9 * 60, 0)),
        ({"every": "day", "at": "17:45"}, Rhythm("day", 17 * 60 + 45, 0)),
        ({"every": "week", "on": "wed"}, Rhythm("week", 9 * 60, 2)),
        ({"every": "hour"}, Rhythm("hour", 0, 0)),
        ({"every": "hour", "at": "08:15"}, Rhythm("hour", 15, 0)),
    ],
)
def test_a_schedule_without_a_time_closes_at_nine_and_hourly_only_the_minute_counts(
    document: dict[str, str], rhythm: Rhythm
) -> None:
    assert Rhythm.of(document) == rhythm
    assert Rhythm("day") == Rhythm("day", 540, 0)


def test_the_defaults_of_a_digest_are_the_contracts() -> None:
    rule = DigestRule("d", "t", window_ms=1, max_wait_ms=2)

    assert (rule.max_items, rule.min_items, rule.drop_when_active, rule.first) == (100, 2, False, "hold")
    assert rule.channels == {"push", "email", "sms"}


@pytest.mark.parametrize(("letters", "kept"), [(198, True), (199, False)])
def test_a_keys_value_of_up_to_200_bytes_is_kept_as_it_is(letters: int, kept: bool) -> None:
    value = "x" * letters

    assert (key_of(replace(RULE, key=("k",)), {"k": value}) == f'"{value}"') is kept
