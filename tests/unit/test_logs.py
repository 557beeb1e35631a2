"""No address and no secret reaches a log, whoever logs it and wherever in the entry it stands."""

import io
import json
import logging
from collections.abc import Iterator

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
