"""Dead letters: whatever a record holds, there is a letter for it, and the letter fits into its topic."""

from base64 import b64decode, b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead import KEPT_BYTES, WHOLE_BYTES, DeadLetter, dead_key, dead_letter, encode_dead, read_dead, shortened
from schemas.sizes import RECORD_BYTES, size_on_wire
from tests.records import Record


def letter_of(record: Record, reason: str = "is required", blamed: str | None = "user_id") -> DeadLetter:
    return dead_letter(record, "invalid", reason, blamed, "router", 1_700_000_000_000)


def bytes_of(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)


def test_a_record_of_a_usual_size_is_whole() -> None:
    record = Record(key=None, value=b"\xff\x00", headers=[("a", b"1"), ("a", None), ("b", b"")])
    letter = letter_of(record)

    assert (letter.key, bytes_of(letter.value)) == (None, b"\xff\x00")
    assert letter.headers == [("a", b64encode(b"1").decode()), ("a", None), ("b", "")]
    assert (letter.code, letter.reason, letter.field) == ("invalid", "is required", "user_id")
    assert "truncated" not in msgspec.json.decode(encode_dead(letter))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("ce_id", "ce_id"),
        ("日本", "日本"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), "base64://4="),
        ("\ud800", "base64:7aCA"),
        # Else it could not be told from one that isn't UTF-8.
        ("base64:eA==", "base64:YmFzZTY0OmVBPT0="),
    ],
)
def test_a_header_name_that_is_not_utf_8_is_in_base64(name: str, written: str) -> None:
    letter = read_dead(encode_dead(letter_of(Record(headers=[(name, b"1")]))))
    assert letter.headers == [(written, "MQ==")]


def test_key_value_and_headers_are_whole_up_to_512_kib_together() -> None:
    rest = WHOLE_BYTES - len(b"ann") - len("name") - 2 - 100
    assert not letter_of(Record(value=b"x" * rest, headers=[("name", b"y" * 100)])).truncated

    cut = letter_of(Record(value=b"x" * (rest + 1), headers=[("name", b"y" * 100)]))
    assert (cut.truncated, cut.value_bytes, cut.headers) == (True, rest + 1, [])
    assert (bytes_of(cut.key), bytes_of(cut.value)) == (b"ann", b"x" * KEPT_BYTES)


@pytest.mark.parametrize(
    "record",
    [
        Record(value=b"\xff" * RECORD_BYTES),
        Record(key=b"\xff" * RECORD_BYTES),
        Record(value=b"", headers=[("", None)] * (RECORD_BYTES // 2)),
        Record(value=b"", headers=[("", None)] * (WHOLE_BYTES // 2 - 10)),
        Record(value=b"", headers=[("\x00", None)] * (WHOLE_BYTES // 3 - 10)),
        Record(value=b"", headers=[("\x00" * (WHOLE_BYTES - 10), b"")]),
        Record(value=b"", headers=[("\udcff" * (WHOLE_BYTES - 10), b"")]),
        Record(value=b"", headers=[("\ud800" * (WHOLE_BYTES // 4), b"")]),
        Record(value=b"x" * (WHOLE_BYTES // 2), headers=[("name", b"\x00" * (WHOLE_BYTES // 2 - 10))]),
    ],
    ids=["value", "key", "millions of headers", "nulls", "controls", "one name", "not UTF-8", "surrogates", "halves"],
)
def test_the_letter_of_the_worst_record_fits_into_its_topic(record: Record) -> None:
    letter = letter_of(record, "\x00" * 10_000_000, "\x00" * 10_000_000)
    assert size_on_wire(dead_key(letter), encode_dead(letter)) < RECORD_BYTES


names = st.text(st.characters(), max_size=5) | st.binary(max_size=5).map(lambda b: b.decode("utf-8", "surrogateescape"))


@settings(deadline=None)
@given(
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=20),
    st.lists(st.tuples(names, st.none() | st.binary(max_size=5)), max_size=5),
    st.text(st.characters()),
    st.none() | st.text(st.characters()),
)
def test_every_record_has_a_letter_that_can_be_read(
    key: bytes | None, value: bytes | None, headers: list[Any], reason: str, blamed: str | None
) -> None:
    letter = read_dead(encode_dead(letter_of(Record(key=key, value=value, headers=headers), reason, blamed)))
    assert (bytes_of(letter.key), bytes_of(letter.value)) == (key, value)
    assert [bytes_of(value) for _, value in letter.headers] == [value for _, value in headers]
    assert dead_key(letter) == key


def test_letters_of_before_there_were_kinds_are_read_and_brought_to_the_new_form() -> None:
    value, key = b"\xff" * 3_600_000, b"ann"
    old = {
        "topic": "notify_events", "partition": 0, "offset": 1, "timestamp": 2, "headers": [["a", None]],
        "key": b64encode(key).decode(), "value": b64encode(value).decode(), "reason": "is not UTF-8", "field": None,
        "role": "router", "at": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    letter = read_dead(msgspec.json.encode(old))
    assert (letter.code, letter.truncated) == (None, False)

    cut = shortened(letter)
    assert (bytes_of(cut.value), cut.value_bytes, cut.truncated) == (value[:KEPT_BYTES], len(value), True)
    assert (dead_key(cut), cut.headers, cut.reason, cut.offset) == (key, [], "is not UTF-8", 1)
    assert size_on_wire(dead_key(cut), encode_dead(cut)) < RECORD_BYTES
