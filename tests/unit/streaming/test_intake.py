"""What waits for a partition's runner: urgency, positions, and what a question about the commands covers."""

from dataclasses import dataclass

from app.ports import Intake, Urgency
from app.streaming.intake import Intakes


@dataclass
class Read:
    offset: int
    topic: str = "events"


EVENTS = Intake("events", Urgency.NORMAL)
COMMANDS = Intake("commands", Urgency.COMMANDS, gated=False)


def offsets_taken(intakes: Intakes, topic: str, through_fetch: int | None = None) -> list[int]:
    taken = []
    while (record := intakes.take(intakes.lanes[topic], through_fetch)) is not None:
        taken.append(record.offset)
    return taken


def test_the_most_urgent_lane_comes_first() -> None:
    intakes = Intakes([EVENTS, COMMANDS], {})

    assert list(intakes.lanes) == ["commands", "events"]


def test_what_lies_before_the_start_position_is_dropped() -> None:
    intakes = Intakes([EVENTS], {"events": 5})
    intakes.offer("events", [Read(n) for n in range(3, 8)], now=0)

    assert offsets_taken(intakes, "events") == [5, 6, 7]
    assert intakes.positions() == {"events": 8}


def test_records_fetched_twice_are_taken_once() -> None:
    intakes = Intakes([EVENTS], {})
    intakes.offer("events", [Read(0), Read(1)], now=0)
    intakes.offer("events", [Read(0), Read(1), Read(2)], now=0)

    assert offsets_taken(intakes, "events") == [0, 1, 2]


def test_gaps_in_the_offsets_are_passed_over() -> None:
    intakes = Intakes([EVENTS], {"events": 4})
    intakes.offer("events", [Read(4), Read(9)], now=0)

    assert offsets_taken(intakes, "events") == [4, 9]
    assert intakes.positions() == {"events": 10}


def test_a_record_fetched_after_the_question_waits_for_the_next_one() -> None:
    intakes = Intakes([EVENTS], {})
    intakes.offer("events", [Read(0)], now=0)
    asked_after = intakes.fetches
    intakes.offer("events", [Read(1)], now=0)

    assert offsets_taken(intakes, "events", asked_after) == [0]
    assert offsets_taken(intakes, "events", intakes.fetches) == [1]


def test_a_lane_without_records_has_no_position_to_commit() -> None:
    assert Intakes([EVENTS, COMMANDS], {"commands": 7}).positions() == {"commands": 7}


def test_records_that_are_missing_before_what_was_fetched_are_fetched_again() -> None:
    intakes = Intakes([EVENTS], {"events": 5})

    assert intakes.offer("events", [Read(8), Read(9)], now=0) == 5
    assert intakes.offer("events", [Read(10)], now=0) == 5
    assert intakes.offer("events", [Read(n) for n in range(5, 11)], now=0) is None
    assert offsets_taken(intakes, "events") == [5, 6, 7, 8, 9, 10]


def test_offsets_that_the_log_does_not_have_are_not_waited_for() -> None:
    intakes = Intakes([EVENTS], {"events": 5})

    assert intakes.offer("events", [Read(7)], now=0) == 5
    assert intakes.offer("events", [Read(7)], now=0) is None
    assert offsets_taken(intakes, "events") == [7]


def test_what_is_missing_between_two_fetches_is_fetched_again() -> None:
    intakes = Intakes([EVENTS], {"events": 0})

    assert intakes.offer("events", [Read(0)], now=0) is None
    assert intakes.offer("events", [Read(2)], now=0) == 1
    assert intakes.offer("events", [Read(1), Read(2)], now=0) is None
    assert offsets_taken(intakes, "events") == [0, 1, 2]


def test_a_lane_whose_position_is_unknown_begins_where_the_first_fetch_does() -> None:
    intakes = Intakes([EVENTS], {})

    assert intakes.offer("events", [Read(7)], now=0) is None
    assert offsets_taken(intakes, "events") == [7]


def test_receipts_wait_a_moment_for_what_comes_next_and_nothing_else_does() -> None:
    intakes = Intakes([EVENTS, Intake("receipts", Urgency.RECEIPTS)], {})
    assert intakes.due_ms(now=1_000) is None

    intakes.offer("receipts", [Read(0)], now=1_000)
    intakes.offer("receipts", [Read(1)], now=1_040)
    assert intakes.due_ms(now=1_040) == 1_000 + Intakes.PATIENCE_MS

    intakes.offer("events", [Read(0)], now=1_041)
    assert intakes.due_ms(now=1_041) == 0


def test_receipts_dont_wait_for_a_clock_that_was_set_back() -> None:
    intakes = Intakes([Intake("receipts", Urgency.RECEIPTS)], {})
    intakes.offer("receipts", [Read(0)], now=9_000_000)

    assert intakes.due_ms(now=1_000) == 0
