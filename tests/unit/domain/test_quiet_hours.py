"""Quiet hours against a walk through real zones minute by minute, and what is said of them one by one."""

from bisect import bisect_left
from datetime import datetime, time, timedelta
from functools import cache
from itertools import accumulate
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.quiet_hours import (
    DAYS,
    EVERY_DAY,
    Hours,
    days_mask,
    hold_until,
    minutes_of,
    spread_offset_ms,
)
from schemas.instants import from_ms, parse_ms, rfc3339

MINUTE = 60_000
NIGHT = Hours(22 * 60, 8 * 60)


def until(hours: Hours, zone: str, instant: str) -> str | None:
    found = hold_until(hours, zone, parse_ms(instant))
    return None if found is None else rfc3339(found).replace(":00.000Z", "Z")


@pytest.mark.parametrize(
    ("instant", "ends"),
    [
        ("2026-01-10T21:59:59.999Z", None),
        ("2026-01-10T22:00:00Z", "2026-01-11T08:00Z"),  # start inclusive
        ("2026-01-11T00:00:00Z", "2026-01-11T08:00Z"),  # across midnight
        ("2026-01-11T07:59:59.999Z", "2026-01-11T08:00Z"),
        ("2026-01-11T08:00:00Z", None),  # end exclusive
        ("2026-01-11T12:00:00Z", None),
    ],
)
def test_start_is_inclusive_end_exclusive_and_midnight_is_crossed(instant: str, ends: str | None) -> None:
    assert until(NIGHT, "UTC", instant) == ends


def test_hours_of_one_day_do_not_cross_midnight() -> None:
    siesta = Hours(13 * 60, 15 * 60)
    assert until(siesta, "Europe/Madrid", "2026-01-10T12:30:00Z") == "2026-01-10T14:00Z"
    assert until(siesta, "Europe/Madrid", "2026-01-10T14:00:00Z") is None
    assert until(siesta, "Europe/Madrid", "2026-01-10T01:00:00Z") is None


def test_hours_are_in_the_users_zone() -> None:
    at = "2026-01-10T02:00:00Z"
    assert until(NIGHT, "Asia/Kolkata", at) == "2026-01-10T02:30Z"
    assert until(NIGHT, "America/New_York", at) is None


def test_a_long_night_is_known_far_west_where_it_began_the_day_before_yesterday() -> None:
    long = Hours(13 * 60, 12 * 60 + 59)
    assert until(long, "Etc/GMT+12", "2026-01-10T00:30:00Z") == "2026-01-10T00:59Z"
    assert until(long, "Pacific/Kiritimati", "2026-01-10T23:30:00Z") == "2026-01-11T22:59Z"


def test_days_are_those_on_which_a_night_begins() -> None:
    weekend = Hours(22 * 60, 8 * 60, days_mask(["fri", "sat"]))
    assert until(weekend, "UTC", "2026-01-08T23:00:00Z") is None  # Thursday
    assert until(weekend, "UTC", "2026-01-09T07:00:00Z") is None  # Friday morning: Thursday's night
    assert until(weekend, "UTC", "2026-01-09T23:00:00Z") == "2026-01-10T08:00Z"
    assert until(weekend, "UTC", "2026-01-11T07:00:00Z") == "2026-01-11T08:00Z"  # Sunday morning: Saturday's night
    assert until(weekend, "UTC", "2026-01-11T23:00:00Z") is None


def test_no_days_are_no_nights() -> None:
    assert until(Hours(22 * 60, 8 * 60, 0), "UTC", "2026-01-10T23:00:00Z") is None


def test_an_end_that_the_clock_skips_is_the_end_of_the_gap() -> None:
    assert until(Hours(22 * 60, 2 * 60 + 30), "America/New_York", "2026-03-08T05:00:00Z") == "2026-03-08T07:00Z"


def test_an_end_that_the_clock_shows_twice_ends_the_night_the_first_time() -> None:
    hours = Hours(22 * 60, 90)
    assert until(hours, "Europe/London", "2026-10-25T00:15:00Z") == "2026-10-25T00:30Z"
    assert until(hours, "Europe/London", "2026-10-25T00:45:00Z") is None
    assert until(hours, "Europe/London", "2026-10-25T01:15:00Z") is None  # 01:15 again: the night is over


def test_a_night_longer_by_the_clock_change_ends_at_the_wall_clocks_end() -> None:
    assert until(NIGHT, "Europe/London", "2026-10-24T22:00:00Z") == "2026-10-25T08:00Z"
    assert until(NIGHT, "Europe/London", "2026-03-28T23:00:00Z") == "2026-03-29T07:00Z"


def test_a_skipped_day_joins_its_two_nights() -> None:
    assert until(NIGHT, "Pacific/Apia", "2011-12-30T09:00:00Z") == "2011-12-30T18:00Z"  # the 31st, 08:00
    thursday = Hours(22 * 60, 8 * 60, days_mask(["thu"]))
    assert until(thursday, "Pacific/Apia", "2011-12-30T09:00:00Z") == "2011-12-30T10:00Z"  # the day that ends it


Minutes = list[tuple[int, datetime]]


@cache
def clock(zone: str, start_ms: int, minutes: int) -> Minutes:
    """What the clock on the wall reads, minute after minute."""
    rules = ZoneInfo(zone)
    instants = range(start_ms, start_ms + minutes * MINUTE, MINUTE)
    return [(now, from_ms(now).astimezone(rules).replace(tzinfo=None)) for now in instants]


def quiet_minutes(hours: Hours, clock: Minutes) -> set[int]:
    """The quiet ones of a clock's minutes, by nothing but what it reads.

    A night begins when the clock reads its start or later on a day of ``days`` for the first time, and ends when it
    reads its end or later for the first time.
    """
    latest = list(accumulate((wall for _, wall in clock), max))
    first, last = latest[0].date() - timedelta(days=2), latest[-1].date() + timedelta(days=2)
    quiet: set[int] = set()
    while first <= last:
        midnight = datetime.combine(first, time())
        if hours.days >> first.weekday() & 1:
            ends = midnight + timedelta(minutes=hours.end, days=1 if hours.end <= hours.start else 0)
            begin = bisect_left(latest, midnight + timedelta(minutes=hours.start))
            quiet.update(now for now, _ in clock[begin : bisect_left(latest, ends)])
        first += timedelta(days=1)
    return quiet


WEEK = 7 * 1440
PLACES = [
    ("Europe/London", "2026-03-26T00:00:00Z"),
    ("Europe/London", "2026-10-22T00:00:00Z"),
    ("America/New_York", "2026-03-05T00:00:00Z"),
    ("America/New_York", "2026-10-29T00:00:00Z"),
    ("Asia/Kolkata", "2026-03-26T00:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-02T00:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-01T00:00:00Z"),
    ("Pacific/Apia", "2011-12-27T00:00:00Z"),
    ("Africa/Casablanca", "2026-02-12T00:00:00Z"),
    ("Africa/Casablanca", "2026-03-19T00:00:00Z"),
    ("America/Sao_Paulo", "2018-02-14T00:00:00Z"),  # back from midnight to the day before
    ("America/St_Johns", "2010-11-04T00:00:00Z"),  # back from one minute past midnight
]
KINDS = [
    NIGHT,
    Hours(90, 7 * 60),
    Hours(22 * 60, 90),
    Hours(0, 60),
    Hours(130, 135),
    Hours(23 * 60 + 30, 15),
    Hours(8 * 60, 7 * 60 + 59),
    Hours(22 * 60, 0, days_mask(["fri", "sun"])),
    Hours(75, 105, days_mask(["sun"])),
]


@pytest.mark.parametrize(("zone", "begins"), PLACES)
def test_as_a_walk_minute_by_minute_says(zone: str, begins: str) -> None:
    for hours in KINDS:
        check(hours, zone, parse_ms(begins), WEEK)


@settings(max_examples=60, deadline=None)
@given(
    place=st.sampled_from(PLACES),
    start=st.integers(0, 1439),
    length=st.integers(1, 1439),
    days=st.integers(0, EVERY_DAY),
)
def test_any_hours_as_a_walk_minute_by_minute_says(place: tuple[str, str], start: int, length: int, days: int) -> None:
    check(Hours(start, (start + length) % 1440, days), place[0], parse_ms(place[1]) + 2 * 1440 * MINUTE, 2 * 1440)


def check(hours: Hours, zone: str, start_ms: int, minutes: int) -> None:
    """The clock runs from days before, so that the nights under way are known, until days after, to see them end."""
    around = 4 * 1440
    walked = clock(zone, start_ms - around * MINUTE, minutes + 2 * around)
    quiet = quiet_minutes(hours, walked)
    ends: int | None = None
    for place in range(len(walked) - 1, around - 1, -1):
        now = walked[place][0]
        if now not in quiet:
            ends = None
        elif ends is None:
            ends = now + MINUTE
        if place < around + minutes:
            assert hold_until(hours, zone, now) == ends, (hours, rfc3339(now))


@pytest.mark.parametrize("text", ["", "22", "22:0", "24:00", "12:60", "1a:00", "12:+4", "22:00:00", " 2:00", "２２:00"])
def test_a_time_is_hours_and_minutes_in_two_digits(text: str) -> None:
    with pytest.raises(ValueError):
        minutes_of(text)


def test_times_and_days_are_read() -> None:
    assert (minutes_of("00:00"), minutes_of("23:59")) == (0, 1439)
    assert days_mask(DAYS) == EVERY_DAY
    assert days_mask(["mon", "mon", "sun"]) == 0b1000001


def test_all_holds_of_a_user_are_let_go_together_within_the_spread() -> None:
    offsets = {spread_offset_ms(300_000, f"user-{number}") for number in range(500)}
    assert all(0 <= offset < 300_000 for offset in offsets)
    assert len(offsets) > 450
    assert spread_offset_ms(300_000, "ann") == spread_offset_ms(300_000, "ann")
    assert spread_offset_ms(0, "ann") == 0
