"""What waits for a partition's runner: urgency, positions, and what a question about the commands covers."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.kafka.records import Unreadable
from app.ports import Subscription, Urgency
from app.streaming.buffers import Buffer, Fetch, FetchBuffers
from tests.records import Record


def read(offset: int, **fields: Any) -> Record:
    return Record("events", 0, offset, **fields)


def fetched(topic: str, records: Sequence[Any], start: int | None = None, position: int | None = None) -> Fetch:
    """What a fetch brought; no offset without a record before or after them unless it is said."""
    begin = records[0].offset if start is None else start
    return Fetch(topic, 0, records, begin, records[-1].offset + 1 if position is None else position)


EVENTS = Subscription("events", Urgency.NORMAL)
COMMANDS = Subscription("commands", Urgency.COMMANDS, gated=False)


def offsets_taken(subscriptions: FetchBuffers, topic: str, through_fetch: int | None = None) -> list[int]:
    taken = []
    while (record := subscriptions.take(subscriptions.buffers[topic], through_fetch)) is not None:
        taken.append(record.offset)
    return taken


def test_the_most_urgent_lane_comes_first() -> None:
    subscriptions = FetchBuffers([EVENTS, COMMANDS], {})

    assert list(subscriptions.buffers) == ["commands", "events"]


def test_what_lies_before_the_start_position_is_dropped() -> None:
    subscriptions = FetchBuffers([EVENTS], {"events": 5})
    subscriptions.offer(fetched("events", [read(n) for n in range(3, 8)]), now=0)

    assert offsets_taken(subscriptions, "events") == [5, 6, 7]
    assert subscriptions.positions() == {"events": 8}


def test_records_fetched_twice_are_taken_once() -> None:
    subscriptions = FetchBuffers([EVENTS], {})
    subscriptions.offer(fetched("events", [read(0), read(1)]), now=0)
    subscriptions.offer(fetched("events", [read(0), read(1), read(2)]), now=0)

    assert offsets_taken(subscriptions, "events") == [0, 1, 2]


def test_gaps_in_the_offsets_are_passed_over() -> None:
    subscriptions = FetchBuffers([EVENTS], {"events": 4})
    subscriptions.offer(fetched("events", [read(4), read(9)]), now=0)

    assert offsets_taken(subscriptions, "events") == [4, 9]
    assert subscriptions.positions() == {"events": 10}


def test_a_record_fetched_after_the_question_waits_for_the_next_one() -> None:
    subscriptions = FetchBuffers([EVENTS], {})
    subscriptions.offer(fetched("events", [read(0)]), now=0)
    asked_after = subscriptions.fetches
    subscriptions.offer(fetched("events", [read(1)]), now=0)

    assert offsets_taken(subscriptions, "events", asked_after) == [0]
    assert offsets_taken(subscriptions, "events", subscriptions.fetches) == [1]


def test_a_lane_without_records_has_no_position_to_commit() -> None:
    assert FetchBuffers([EVENTS, COMMANDS], {"commands": 7}).positions() == {"commands": 7}


def test_records_that_are_missing_before_what_was_fetched_are_fetched_again() -> None:
    subscriptions = FetchBuffers([EVENTS], {"events": 5})

    assert subscriptions.offer(fetched("events", [read(8), read(9)]), now=0) == 5
    assert subscriptions.offer(fetched("events", [read(10)]), now=0) == 5
    assert subscriptions.offer(fetched("events", [read(n) for n in range(5, 11)]), now=0) is None
    assert offsets_taken(subscriptions, "events") == [5, 6, 7, 8, 9, 10]


def test_offsets_that_the_log_does_not_have_are_not_waited_for() -> None:
    subscriptions = FetchBuffers([EVENTS], {"events": 5})

    assert subscriptions.offer(fetched("events", [read(7)]), now=0) == 5
    assert subscriptions.offer(fetched("events", [read(7)]), now=0) is None
    assert offsets_taken(subscriptions, "events") == [7]


def test_what_is_missing_between_two_fetches_is_fetched_again() -> None:
    subscriptions = FetchBuffers([EVENTS], {"events": 0})

    assert subscriptions.offer(fetched("events", [read(0)]), now=0) is None
    assert subscriptions.offer(fetched("events", [read(2)]), now=0) == 1
    assert subscriptions.offer(fetched("events", [read(1), read(2)]), now=0) is None
    assert offsets_taken(subscriptions, "events") == [0, 1, 2]


def test_a_lane_whose_position_is_unknown_begins_where_the_first_fetch_does() -> None:
    subscriptions = FetchBuffers([EVENTS], {})

    assert subscriptions.offer(fetched("events", [read(7)]), now=0) is None
    assert offsets_taken(subscriptions, "events") == [7]


def test_receipts_wait_a_moment_for_what_comes_next_and_nothing_else_does() -> None:
    subscriptions = FetchBuffers([EVENTS, Subscription("receipts", Urgency.RECEIPTS, patient=True)], {})
    assert subscriptions.due_ms(now=1_000) is None

    subscriptions.offer(fetched("receipts", [read(0)]), now=1_000)
    subscriptions.offer(fetched("receipts", [read(1)]), now=1_040)
    assert subscriptions.due_ms(now=1_040) == 1_000 + FetchBuffers.PATIENCE_MS

    subscriptions.offer(fetched("events", [read(0)]), now=1_041)
    assert subscriptions.due_ms(now=1_041) == 0


def test_receipts_dont_wait_for_a_clock_that_was_set_back() -> None:
    subscriptions = FetchBuffers([Subscription("receipts", Urgency.RECEIPTS, patient=True)], {})
    subscriptions.offer(fetched("receipts", [read(0)]), now=9_000_000)

    assert subscriptions.due_ms(now=1_000) == 0


def test_a_hole_is_passed_though_it_is_all_that_was_fetched() -> None:
    subscriptions = FetchBuffers([EVENTS], {"events": 4})

    assert subscriptions.offer(fetched("events", [], 4, 9), now=0) is None
    assert subscriptions.positions() == {"events": 9}


def test_a_hole_after_records_is_passed_when_the_last_of_them_is_taken() -> None:
    subscriptions = FetchBuffers([EVENTS], {"events": 4})
    subscriptions.offer(fetched("events", [read(4), read(6)], 4, 9), now=0)
    subscriptions.offer(fetched("events", [], 9, 12), now=0)
    assert subscriptions.positions() == {"events": 4}

    assert subscriptions.take(subscriptions.buffers["events"], None) == read(4)
    assert subscriptions.positions() == {"events": 5}
    assert subscriptions.take(subscriptions.buffers["events"], None) == read(6)
    assert subscriptions.positions() == {"events": 12}


def test_a_hole_between_two_fetches_is_no_gap() -> None:
    """A transaction's marker, as every transaction leaves one."""
    subscriptions = FetchBuffers([EVENTS], {"events": 0})

    assert subscriptions.offer(fetched("events", [read(0)], 0, 2), now=0) is None
    assert subscriptions.offer(fetched("events", [read(7)], 2, 9), now=0) is None
    assert subscriptions.offer(fetched("events", [read(9)], 9, 10), now=0) is None
    assert offsets_taken(subscriptions, "events") == [0, 7, 9]


def test_a_hole_beyond_a_gap_is_not_passed_before_what_is_missing_came() -> None:
    subscriptions = FetchBuffers([EVENTS], {"events": 0})

    assert subscriptions.offer(fetched("events", [], 3, 9), now=0) == 0
    assert subscriptions.positions() == {"events": 0}
    assert subscriptions.offer(fetched("events", [read(1)], 0, 9), now=0) is None
    assert offsets_taken(subscriptions, "events") == [1]
    assert subscriptions.positions() == {"events": 9}


def test_what_was_fetched_and_handled_before_leaves_the_position_at_its_end() -> None:
    subscriptions = FetchBuffers([EVENTS], {"events": 3})
    subscriptions.offer(fetched("events", [read(1), read(2)], 0, 5), now=0)

    assert offsets_taken(subscriptions, "events") == []
    assert subscriptions.positions() == {"events": 5}


def test_what_cannot_be_read_is_handled_once_as_a_whole() -> None:
    """A restart from within it would write a second letter."""
    subscriptions = FetchBuffers([EVENTS], {"events": 0})
    unreadable = Unreadable("events", 0, 0, 7, "a batch that has a wrong checksum")
    subscriptions.offer(fetched("events", [unreadable, read(7)], 0, 8), now=0)

    assert subscriptions.take(subscriptions.buffers["events"], None) is unreadable
    assert subscriptions.positions() == {"events": 7}


def buffer(*times: int, position: int | None = 5, since: int = 700) -> Buffer:
    waiting = [(1, read(5 + n, timestamp=time)) for n, time in enumerate(times)]
    return Buffer(EVENTS, deque(waiting), position, since=since)


def test_the_oldest_that_waits_is_as_old_as_it_says_unless_that_cannot_be() -> None:
    assert buffer(400, 100).waits_since(7, now=1_000) == 400
    assert buffer(-1).waits_since(6, now=1_000) == 700
    assert buffer(99_999).waits_since(6, now=1_000) == 700


def test_what_cannot_be_read_yet_is_as_old_as_the_position_has_stood_before_the_end() -> None:
    behind = buffer()
    assert behind.waits_since(None, now=1_000) is None
    assert behind.waits_since(5, now=1_000) is None
    assert behind.waits_since(9, now=2_000) == 2_000
    assert behind.waits_since(9, now=3_000) == 2_000
    behind.position = 6
    assert behind.waits_since(9, now=4_000) == 4_000
    behind.position = 9
    assert behind.waits_since(9, now=5_000) is None


@pytest.mark.parametrize(
    "large", [read(0, value=b"x" * 900_000), read(0, value=b"", headers=[("name", b"x" * 900_000)])]
)
def test_a_lane_is_full_by_bytes_as_by_records_and_empties_again(large: Record) -> None:
    subscriptions = FetchBuffers([EVENTS], {})
    buffer = subscriptions.buffers["events"]
    for number in range(20):
        subscriptions.offer(fetched("events", [replace(large, offset=number)]), now=0)
        assert buffer.is_full == (buffer.bytes > FetchBuffers.HIGH_BYTES)
    assert buffer.is_full

    while subscriptions.take(buffer, None) is not None:
        assert buffer.has_room == (buffer.bytes < FetchBuffers.LOW_BYTES)
    assert (buffer.bytes, buffer.has_room) == (0, True)
