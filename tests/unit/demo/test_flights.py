"""The real flights, as the README counts them, and the people who are made up for them."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from app.demo.flights import Flight, events_of, read_airports, read_flights
from app.demo.passengers import Passengers
from app.domain.preferences import parse_preferences

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def flights() -> list[Flight]:
    return read_flights()


def passengers(flights: list[Flight], seed: int = 1) -> Passengers:
    people = Passengers(seed, read_airports(), 2, NOW)
    people.board(flights)
    return people


def test_two_days_have_1614_flights_of_which_865_never_left(flights: list[Flight]) -> None:
    assert len(flights) == 1614
    assert sum(flight.departed_min is None for flight in flights) == 865


def test_every_flight_ends_cancelled_or_departed_and_a_late_one_is_announced(flights: list[Flight]) -> None:
    told = Counter(event.happening for event in events_of(flights))

    assert told["flight.cancelled"] == 865
    assert told["flight.departed"] == 1614 - 865
    assert told["flight.delayed"] == sum(flight.delay_min > 15 for flight in flights)


def test_events_come_in_the_order_in_which_they_become_known(flights: list[Flight]) -> None:
    moments = [event.at_min for event in events_of(flights)]

    assert moments == sorted(moments)


def test_the_same_seed_makes_the_same_people(flights: list[Flight]) -> None:
    assert passengers(flights).everyone == passengers(flights).everyone
    assert passengers(flights).everyone != passengers(flights, seed=2).everyone


def test_every_passenger_has_preferences_that_are_valid(flights: list[Flight]) -> None:
    for person in passengers(flights).everyone:
        parse_preferences(dict(person.preferences))
