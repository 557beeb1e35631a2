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
    people = Passengers(seed, read_airports(), 2, NOW, "https://push.example")
    people.board(flights)
    return people


def test_two_days_have_1614_flights_of_which_865_never_left(flights: list[Flight]) -> None:
    assert len(flights) == 1614
    assert sum(flight.departed_min is None for flight in flights) == 865


def test_every_flight_ends_cancelled_or_departed(flights: list[Flight]) -> None:
    told = Counter(event.happening for event in events_of(flights))

    assert told["flight.cancelled"] == told["offer.rebooking"] == 865
    assert told["flight.departed"] == told["flight.boarding"] == told["survey.flown"] == 1614 - 865
    assert told["checkin.open"] == 1614
    assert 0 < told["flight.gate_changed"] < told["flight.departed"]


def test_a_late_flight_is_said_to_be_later_and_later_until_it_is_as_late_as_it_was(flights: list[Flight]) -> None:
    late = next(flight for flight in flights if flight.delay_min > 160)
    told = [event for event in events_of([late]) if event.happening == "flight.delayed"]

    assert [event.delay_min for event in told] == [
        *[m for m in (40, 80, 160, 320) if m < late.delay_min],
        late.delay_min,
    ]
    assert all(event.at_min < late.scheduled_min + event.delay_min for event in told)
    announced = {event.flight for event in events_of(flights) if event.happening == "flight.delayed"}
    assert announced == {flight for flight in flights if flight.delay_min > 15}


def test_a_reminder_is_asked_for_before_a_cancellation_and_due_after_it(flights: list[Flight]) -> None:
    for flight in flights:
        told = {event.happening: event for event in events_of([flight])}
        if (cancelled := told.get("flight.cancelled")) is not None:
            reminder = told["checkin.open"]
            assert reminder.due_min is not None
            assert reminder.at_min <= cancelled.at_min < reminder.due_min


def test_offers_go_out_on_the_next_morning(flights: list[Flight]) -> None:
    offers = [event for event in events_of(flights) if event.happening == "offer.rebooking"]

    assert all(event.due_min is not None and event.due_min % 1440 == 540 for event in offers)
    assert all(0 < (event.due_min or 0) - event.at_min <= 1440 for event in offers)


def test_events_come_in_the_order_in_which_they_become_known(flights: list[Flight]) -> None:
    moments = [event.at_min for event in events_of(flights)]

    assert moments == sorted(moments)


def test_the_same_seed_makes_the_same_people(flights: list[Flight]) -> None:
    assert passengers(flights).everyone == passengers(flights).everyone
    assert passengers(flights).everyone != passengers(flights, seed=2).everyone


def test_every_passenger_has_preferences_that_are_valid(flights: list[Flight]) -> None:
    for person in passengers(flights).everyone:
        parse_preferences(dict(person.preferences))
