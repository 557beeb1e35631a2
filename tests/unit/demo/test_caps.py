"""The demonstration's caps and those for whom they are, in virtual time."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from app.demo.flights import events_of, read_airports, read_flights
from app.demo.passengers import Passengers
from app.demo.staging import demo_policy
from app.testing import World

SPEED = 2400
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_who_flies_far_more_than_others_meets_every_cap() -> None:
    flights, people = read_flights(), Passengers(2013, read_airports(), 2, NOON, "https://push.example")
    aboard = people.board(flights)
    seats = Counter(passenger.user_id for each in aboard.values() for passenger in each)
    frequent = {user_id for user_id, count in seats.items() if count > 1}
    world = World(demo_policy(SPEED), at=NOON)
    for passenger in people.everyone:
        if passenger.user_id in frequent:
            world.user(passenger.user_id, devices=["ios"])
    for event in events_of(flights):
        moment = NOON + timedelta(minutes=event.at_min / SPEED)
        for passenger in aboard[event.flight]:
            if passenger.user_id in frequent:
                data = {"flight": event.flight.number}
                world.request(passenger.user_id, event.happening, data=data, at=moment)

    capped = {(event.detail or {}).get("cap") for event in world.events()}
    assert capped == {None, "user-day", "push-hour", "offers-week"}
    assert 1 <= len(frequent) <= 4
