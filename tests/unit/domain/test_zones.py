"""Wall clocks: zones are IANA's, and a wall time is reached once, whatever the clocks do."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.zones import first_moment, is_zone, local_time, zone_names, zone_of
from schemas.instants import parse_ms

MINUTE = 60_000


@pytest.mark.parametrize("name", ["Europe/London", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_iana_names_are_zones(name: str) -> None:
    assert is_zone(name)
    assert zone_of(name).key == name


@pytest.mark.parametrize("name", ["", "Europe/Lundun", "../../etc/passwd", "/etc/localtime", "localtime", "+01:00"])
def test_nothing_else_is_a_zone(name: str) -> None:
    assert not is_zone(name)
    with pytest.raises(ValueError, match="zone"):
        zone_of(name)


@pytest.mark.parametrize(
    ("zone", "wall", "instant"),
    [
        ("Europe/London", "2026-07-01T22:00", "2026-07-01T21:00:00Z"),
        ("Europe/London", "2026-03-29T01:30", "2026-03-29T01:00:00Z"),  # skipped: passed when the gap ends
        ("Europe/London", "2026-10-25T01:30", "2026-10-25T00:30:00Z"),  # shown twice: the first time counts
        ("America/New_York", "2026-03-08T02:00", "2026-03-08T07:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30:00Z"),  # a gap of half an hour
        ("Pacific/Apia", "2011-12-30T08:00", "2011-12-30T10:00:00Z"),  # a day that never was
    ],
)
def test_a_wall_time_is_reached_at_its_first_moment(zone: str, wall: str, instant: str) -> None:
    assert first_moment(zone, datetime.fromisoformat(wall)) == parse_ms(instant)


ZONES = [
    "Europe/London",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
]


@given(
    zone=st.sampled_from([*ZONES, "America/Sao_Paulo", "America/St_Johns", "Asia/Tehran"]),
    wall=st.datetimes(min_value=datetime(2009, 1, 1), max_value=datetime(2027, 1, 1)),  # noqa: DTZ001
)
def test_nothing_earlier_reads_the_time_and_the_moment_does(zone: str, wall: datetime) -> None:
    wall = wall.replace(second=0, microsecond=0)
    moment = first_moment(zone, wall)
    assert local_time(zone, moment) >= wall
    for back in (1, 1000, MINUTE, 30 * MINUTE):  # clocks go back by an hour at most, just after a moment reached
        assert local_time(zone, moment - back) < wall


def test_the_wall_clock_reads_as_the_standard_library_says() -> None:
    moment = datetime(2026, 10, 25, 0, 30, tzinfo=ZoneInfo("UTC"))
    for minutes in range(0, 180, 7):
        instant = moment + timedelta(minutes=minutes)
        expected = instant.astimezone(ZoneInfo("Europe/London")).replace(tzinfo=None)
        assert local_time("Europe/London", round(instant.timestamp() * 1000)) == expected


@pytest.mark.parametrize(
    "name", ["Factory", "localtime", "posixrules", "posix/Europe/London", "right/UTC", "leapseconds", "tzdata.zi"]
)
def test_what_is_the_time_of_no_place_is_no_zone(name: str) -> None:
    assert not is_zone(name)


def test_a_zone_that_an_earlier_revision_took_is_still_known() -> None:
    assert zone_of("Factory").key == "Factory"


@given(st.sampled_from(sorted(zone_names())))
def test_every_zone_that_is_taken_has_rules(name: str) -> None:
    assert local_time(name, 0).year in (1969, 1970)
