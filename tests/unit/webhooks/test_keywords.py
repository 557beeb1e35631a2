"""Which texts stop and start SMS."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.keywords import START, STOP, opt_out_of


@pytest.mark.parametrize(
    "written",
    ["STOP", "stop", " Stop. ", "STOP!", '"stop"', "S T O P", "stop\n", "Stop 🙏", "ＳＴＯＰ", "opt-out", "Opt out"],
)
def test_stop_may_be_written_as_people_write_it(written: str) -> None:
    assert opt_out_of(written) == "stop"


@pytest.mark.parametrize("word", sorted(STOP))
def test_every_word_that_stops_stops(word: str) -> None:
    assert opt_out_of(word.upper()) == opt_out_of(f" {word}.") == "stop"


@pytest.mark.parametrize("word", sorted(START))
def test_every_word_that_starts_starts(word: str) -> None:
    assert opt_out_of(word.title()) == "start"


def test_french_canada_stops_with_or_without_the_accent() -> None:
    assert opt_out_of("ARRÊT") == opt_out_of("arret") == "stop"


@pytest.mark.parametrize(
    "text", [None, "", " ", "HELP", "please don't stop", "Stop by the shop on Friday", "stopwatch", "1", "stop" * 100]
)
def test_any_other_text_says_something_else(text: str | None) -> None:
    assert opt_out_of(text) is None


def test_no_word_both_stops_and_starts() -> None:
    assert not STOP & START


@given(st.text(max_size=300))
def test_whatever_is_written_is_read(text: str) -> None:
    assert opt_out_of(text) in ("stop", "start", None)
