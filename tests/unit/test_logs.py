"""No address and no secret reaches a log, whoever logs it and wherever in the entry it stands."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    written = io.StringIO()
    logs.configure(console=False, stream=written)
    yield written
    root.handlers[:] = before
    structlog.reset_defaults()


def only_entry(stream: io.StringIO) -> dict[str, object]:
    [line] = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert isinstance(entry, dict)
    return entry


@pytest.mark.parametrize(
    "secret",
    [
        "ada.lovelace+x@example.org",
        "+4915112345678",
        "a" * 64,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl",
        "Bearer abc.def",
        "demo." + "k" * 43,
        "clickhouse://notify:hunter2@host:8123",
        "d" * 22 + ":APA91b" + "x-Y_" * 33,
    ],
)
def test_addresses_tokens_and_keys_are_masked_inside_any_text(stream: io.StringIO, secret: str) -> None:
    structlog.get_logger("t").info("call", error=f"refused {secret} today", nested={"to": [secret]})

    entry = only_entry(stream)

    assert secret not in json.dumps(entry)
    assert str(entry["error"]).startswith("refused ")
    assert str(entry["error"]).endswith(" today") or "host:8123 today" in str(entry["error"])


def test_what_is_named_a_secret_is_hidden_whole(stream: io.StringIO) -> None:
    structlog.get_logger("t").info("call", auth_token="short", nested={"Password": "p"})

    entry = only_entry(stream)

    assert (entry["auth_token"], entry["nested"]) == ("<secret>", {"Password": "<secret>"})


def test_ids_times_and_numbers_stay_readable(stream: io.StringIO) -> None:
    send_id = "6f1c9a52-0d57-5b0e-9a39-5f5c1d3f7a10"
    structlog.get_logger("t").info("sent", send_id=send_id, attempt=2, at="2013-02-08T10:00:00+00:00")

    entry = only_entry(stream)

    assert (entry["send_id"], entry["attempt"], entry["at"]) == (send_id, 2, "2013-02-08T10:00:00+00:00")


def test_libraries_and_exceptions_are_masked_too(stream: io.StringIO) -> None:
    try:
        raise ValueError("no such mailbox ada@example.org")
    except ValueError:
        logging.getLogger("some.library").exception("failed for %s", "+4915112345678")

    written = json.dumps(only_entry(stream))

    assert "ada@example.org" not in written
    assert "+4915112345678" not in written
    assert "no such mailbox <email>" in written


def test_what_twilio_logs_of_its_requests_is_dropped(stream: io.StringIO) -> None:
    logging.getLogger("twilio.http_client").info("POST Request: https://x?To=1")

    assert stream.getvalue() == ""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def limiter() -> logs.RepeatLimiter:
    (handler,) = (h for h in logging.getLogger().handlers if isinstance(h, logs.RepeatLimiter))
    return handler


@pytest.fixture
def clock(stream: io.StringIO) -> Clock:
    """The handler's own."""
    limiter()._monotonic = clock = Clock()
    return clock


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


LOGGERS: dict[str, Callable[[str], None]] = {
    "ours": lambda error: structlog.get_logger("ours").warning("commit failed", error=error),
    "aiokafka": lambda error: logging.getLogger("aiokafka.consumer.fetcher").error(
        "Failed fetch from %s: %s", 0, error
    ),
    "mode": lambda error: logging.getLogger("mode.timers").warning(f"late: {error}"),
    "faust": lambda error: logging.getLogger("faust.transport.consumer").error("Committed: %r", error),
}


@pytest.mark.parametrize("logger", LOGGERS)
def test_what_is_logged_again_and_again_is_written_once_in_a_while_with_a_count(
    stream: io.StringIO, clock: Clock, logger: str
) -> None:
    for _ in range(200):  # four a second
        LOGGERS[logger]("no broker")
        clock.now += 0.25

    assert [entry.get("repeated", 0) for entry in entries(stream)] == [0, 119]  # at once, and after 30 s


def test_of_entries_that_differ_in_details_a_few_are_written_and_the_rest_counted(
    stream: io.StringIO, clock: Clock
) -> None:
    for attempt in range(100):
        LOGGERS["aiokafka"](f"correlation {attempt}")
    assert len(entries(stream)) == logs.RepeatLimiter.ALIKE
    clock.now += logs.RepeatLimiter.EVERY_S
    LOGGERS["aiokafka"]("correlation 100")

    assert [entry.get("repeated", 0) for entry in entries(stream)] == [0] * 10 + [90]


def test_what_does_not_come_again_is_counted_with_the_next_entry_of_any_kind(stream: io.StringIO, clock: Clock) -> None:
    for _ in range(5):
        LOGGERS["ours"]("no broker")
    clock.now += logs.RepeatLimiter.EVERY_S
    LOGGERS["mode"]("something else")

    assert [(entry["event"], entry.get("repeated", 0)) for entry in entries(stream)] == [
        ("commit failed", 0),
        ("commit failed", 4),
        ("late: something else", 0),
    ]


def test_what_was_left_out_is_counted_at_the_end_at_the_latest(stream: io.StringIO, clock: Clock) -> None:
    for _ in range(5):
        LOGGERS["ours"]("no broker")
    limiter().close()

    assert [entry.get("repeated", 0) for entry in entries(stream)] == [0, 4]


def test_different_errors_and_all_that_is_no_warning_are_written(stream: io.StringIO, clock: Clock) -> None:
    for name, say in LOGGERS.items():
        say(f"by {name}")
    for _ in range(50):
        structlog.get_logger("ours").info("partition ready", partition=3)

    assert len(entries(stream)) == len(LOGGERS) + 50
    assert not any("repeated" in entry for entry in entries(stream))


def test_kinds_without_end_take_no_memory_without_end(stream: io.StringIO, clock: Clock) -> None:
    handler = limiter()
    for number in range(handler._MOST_KINDS * 2):
        structlog.get_logger("ours").warning(f"event {number}")

    assert len(handler._windows) <= handler._MOST_KINDS
    assert len(entries(stream)) == handler._MOST_KINDS * 2


@pytest.mark.parametrize(
    "part", ["a", "a.", "-", "a-", "1", ":", "a:", "://", "://a:", "eyJ", "eyJ-", "-eyJa.", "a@", "basic ", "%2B", "+1"]
)
@pytest.mark.parametrize("begin", ["", "a@", "eyJ", "Bearer "])
def test_a_long_word_takes_no_longer_than_many_short_ones(begin: str, part: str) -> None:
    """If each place in the word looked at all that follow, this would take many minutes."""
    logs.mask(begin + part * (200_000 // len(part)))


def test_a_token_within_a_word_is_masked_and_the_rest_of_it_is_kept() -> None:
    assert logs.mask("session-eyJhbGci.eyJzdWIi.c2lnbmF0") == "session-<jwt>"
    assert logs.mask("eyJ-eyJhbGci eyJhbGci.eyJzdWIi.c2lnbmF0") == "eyJ-eyJhbGci <jwt>"


def test_a_renamed_event_carries_its_former_name(stream: io.StringIO) -> None:
    structlog.get_logger("somewhere").warning("a commit failed: retrying")

    entry = only_entry(stream)
    assert (entry["event"], entry["formerly"]) == ("a commit failed: retrying", "commit failed, will be tried again")


def test_every_renamed_event_is_still_logged() -> None:
    sources = "".join(path.read_text() for top in ("app", "agents") for path in Path(top).rglob("*.py"))

    assert [name for name in logs.FORMERLY if sources.count(f'"{name}"') < 2] == []
