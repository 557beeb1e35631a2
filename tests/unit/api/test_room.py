"""More than there is room for is asked to come back, and nobody takes all of it."""

import pytest

from app.api.problems import Problem
from app.api.room import Room, Size

ROOM = Size(records=100, octets=1_000_000)


def refusal(room: Room, caller: str, records: int, octets: int = 0, *, critical: bool = False) -> Problem:
    with room.hold(caller) as hold, pytest.raises(Problem) as refused:
        hold.take_records(records, octets, critical=critical)
    return refused.value


@pytest.mark.parametrize(("records", "octets"), [(41, 0), (1, 400_001)])
def test_a_caller_has_two_fifths_of_records_and_of_bytes(records: int, octets: int) -> None:
    room = Room(ROOM)
    assert refusal(room, "shop", records, octets, critical=True).status == 429

    with room.hold("shop") as hold:
        hold.take_records(40, 400_000, critical=False)
        assert refusal(room, "shop", 1, critical=True).headers == {"Retry-After": "1"}


@pytest.mark.parametrize(("records", "octets"), [(40, 0), (0, 400_000)])
def test_others_flooding_leave_room_for_what_is_critical(records: int, octets: int) -> None:
    room = Room(ROOM)
    with room.hold("a") as a, room.hold("b") as b, room.hold("auth") as auth:
        a.take_records(records, octets, critical=False)
        b.take_records(records, octets, critical=False)

        assert refusal(room, "shop", 1, 1).status == 429
        auth.take_body(1)
        auth.take_records(1, 1, critical=True)


def test_a_large_body_has_no_use_of_what_is_kept_for_critical_calls() -> None:
    room = Room(ROOM)
    with room.hold("a") as a, room.hold("b") as b, room.hold("shop") as shop:
        a.take_body(400_000)
        b.take_body(400_000)
        shop.take_body(60_000)
        with pytest.raises(Problem):
            shop.take_body(60_000)


def test_who_takes_nothing_is_not_remembered() -> None:
    room = Room(ROOM)
    for number in range(3):
        with room.hold(f"address {number}") as hold:
            hold.take_body(0)
    assert room.callers == 0


def test_room_comes_back_when_the_call_is_over_or_failed() -> None:
    room = Room(ROOM)
    with room.hold("shop") as hold:
        hold.take_records(40, 1, critical=False)
    assert refusal(room, "shop", 41).status == 429

    with room.hold("shop") as hold:
        hold.take_records(40, 400_000, critical=False)
