"""More than there is room for is asked to come back."""

import pytest

from app.api.problems import Problem
from app.api.room import Room


def test_what_would_not_fit_is_429_with_when_to_come_back() -> None:
    room = Room(records=10)

    with room.for_records(8), pytest.raises(Problem) as refused, room.for_records(3):
        pass

    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})


def test_room_comes_back_when_the_records_are_through_or_failed() -> None:
    room = Room(records=10)
    with pytest.raises(OSError, match="broken"), room.for_records(10):
        raise OSError("broken")

    with room.for_records(10):
        pass


def test_one_alone_always_has_room() -> None:
    with Room(records=10).for_records(11):
        pass
