"""How far the commands go: what fetches told, what was asked, and for which fetches that is enough."""

import pytest

from app.streaming.end_offsets import EndOffset, Known


def told(*ends: int | None) -> Known:
    """What is known after fetches, numbered from 1, that told these ends, or nothing."""
    known = Known()
    for fetch, end in enumerate(ends, 1):
        known.report(fetch, None if end is None else EndOffset(end, fetch * 10))
    return known


@pytest.mark.parametrize(
    ("ends", "enough_for", "end", "since"),
    [
        ((), -1, -1, -1),
        ((5,), 1, 5, 10),
        ((5, 6, 9), 3, 9, 30),
        ((None,), -1, -1, -1),
        ((5, None), -1, 5, 10),
        ((5, None, 7), -1, 7, 30),
    ],
)
def test_what_a_fetch_tells_is_enough_as_long_as_each_before_it_told(
    ends: tuple[int | None, ...], enough_for: int, end: int, since: int
) -> None:
    known = told(*ends)

    assert (known.fetches, known.end, known.since) == (enough_for, end, since)


@pytest.mark.parametrize(("asked_after", "enough_for"), [(1, 1), (2, 4), (3, 4), (4, 4)])
def test_an_answer_covers_all_fetches_before_the_question_and_later_ones_with_an_end(
    asked_after: int, enough_for: int
) -> None:
    known = told(5, None, 7, 8)
    known.answer(asked_after, EndOffset(6, 15))

    assert known.fetches == enough_for


def test_an_older_answer_takes_back_nothing_of_what_a_fetch_told() -> None:
    known = told(5, None, 9)
    known.answer(2, EndOffset(6, 15))

    assert known.end == 9


def test_an_answer_to_a_question_after_every_fetch_is_the_last_word() -> None:
    """A log that lost its tail is shorter than it was."""
    known = told(9)
    known.answer(1, EndOffset(4, 50))

    assert (known.fetches, known.end, known.since) == (1, 4, 50)


def test_a_clock_that_was_set_back_leaves_no_moment_in_the_future() -> None:
    known = told(9)
    known.answer(1, EndOffset(9, 3))

    assert known.since == 3
