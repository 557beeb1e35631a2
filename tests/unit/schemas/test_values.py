"""One reading of JSON: what is taken, everybody downstream can decode and encode; what isn't is refused by its name."""

import json
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct

from schemas.cloudevents import read_event
from schemas.commands import read_command
from schemas.decode import Invalid, Reader, TooLarge
from schemas.instants import parse_ms
from schemas.receipts import read_receipt
from schemas.requests import content_hash
from schemas.values import MAX_DEPTH, BadValue, check_value, check_values, is_suspicious
from tests.hostile import (
    CLOUD_EVENT,
    COMMAND,
    FIELDS,
    RECEIPT,
    RECORDS,
    REFUSED,
    REQUEST,
    TAKEN,
    texts,
    written_with,
)

NOW = parse_ms("2026-03-04T12:00:00Z")


class Record(Struct):
    any: Any = None
    raw: Raw = Raw(b"null")


read_record: Reader[Record] = Reader(Record)

#: Where a value can stand: decoded, kept as it came, or skipped.
MEMBERS = ("any", "raw", "unknown")


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("value", REFUSED, ids=lambda value: value[:20])
def test_what_nobody_could_take_is_refused_with_the_field_wherever_it_stands(value: str, member: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read_record(f'{{"{member}": {value}}}'.encode())
    assert (refusal.value.field or "").startswith(member)


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("value", TAKEN, ids=lambda value: value[:20])
def test_what_can_be_taken_is_taken_wherever_it_stands(value: str, member: str) -> None:
    read_record(f'{{"{member}": {value}}}'.encode())


@pytest.mark.parametrize("bad", [b'"\xff"', b'"\xed\xa0\x80"', b'{"\xff": 1}', b'"\xf4\x90\x80\x80"'])
@pytest.mark.parametrize("member", MEMBERS)
def test_bytes_that_are_not_utf_8_are_refused_with_the_field(bad: bytes, member: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read_record(b'{"%s": %s}' % (member.encode(), bad))
    assert (refusal.value.code, (refusal.value.field or "").split(".")[0]) == ("undecodable", member)


def test_the_field_is_dotted_and_is_never_longer_or_stranger_than_a_name_may_be() -> None:
    for raw, field in (
        (rb'{"any": {"a": [1, {"b": "\u0000"}]}}', "any.a[1].b"),
        (rb'{"any": {"\ud800": 1e999}}', r"any.\ud800"),
        (b'{"": 1e999}', '""'),
        (b'{"": ' + b"[" * 100 + b"]" * 100 + b"}", '""'),
        (b'{"any": {"%s": 1e999}}' % (b"k" * 1_000), ("any." + "k" * 1_000)[:200]),
    ):
        with pytest.raises(Invalid) as refusal:
            read_record(raw)
        assert refusal.value.field == field
        msgspec.json.encode(refusal.value.field)


def test_a_refusal_repeats_no_more_of_what_was_sent_than_is_needed() -> None:
    class Kind(Struct):
        kind: str = msgspec.field(default="")

    with pytest.raises(Invalid) as refusal:
        Reader(list[Kind] | None)(b'"%s"' % (b"x" * 100_000))
    assert len(refusal.value.reason) < 400


# --- properties ---


def _refusal(read: Callable[[bytes], Any], raw: bytes) -> Invalid | None:
    try:
        read(raw)
    except Invalid as invalid:
        return invalid
    return None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.copysign(1, a) == math.copysign(1, b) and a == b
    return bool(a == b)


@given(texts, st.sampled_from(MEMBERS))
@settings(max_examples=400)
def test_what_is_taken_every_decoder_reads_alike_and_every_encoder_writes(text: str, member: str) -> None:
    raw = f'{{"{member}":{text}}}'.encode()
    if (refusal := _refusal(read_record, raw)) is not None:
        assert (refusal.field or "").startswith(member)
        return
    value = msgspec.json.decode(raw)
    assert _same(json.loads(raw), json.loads(msgspec.json.encode(value)) if "-0," not in text else json.loads(raw))
    assert _same(msgspec.msgpack.decode(msgspec.msgpack.encode(value)), value)
    assert _same(msgspec.json.decode(msgspec.json.encode(value)), value)
    check_value(value)


@given(texts)
@settings(max_examples=400)
def test_the_look_at_the_bytes_misses_nothing(text: str) -> None:
    raw = text.encode()
    try:
        msgspec.json.Decoder(Raw).decode(raw)
        check_values(raw)
    except BadValue:
        assert is_suspicious(raw) or _refused_by_the_reader(raw)
    except msgspec.DecodeError:
        pass


def _refused_by_the_reader(raw: bytes) -> bool:
    try:
        msgspec.json.decode(b'{"unknown":' + raw + b"}", type=Record)
    except msgspec.DecodeError:
        return True
    return False


def test_what_must_be_no_deeper_counts_from_the_whole_record() -> None:
    read_record(b'{"any":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}")


# --- every field of every record that others write ---


def _read(record: dict[str, Any], raw: bytes) -> Any:
    if record is RECEIPT:
        return read_receipt(raw)
    if "type" in record and record is not CLOUD_EVENT:
        return read_command(raw)
    request, kept = read_event(raw, (), NOW)
    content_hash(request, None)
    return request, kept


@given(st.sampled_from(FIELDS), st.one_of(texts, st.sampled_from(REFUSED + TAKEN)))
@settings(max_examples=1_500)
def test_any_value_in_any_field_is_taken_or_refused_with_a_field(where: tuple[dict[str, Any], str], text: str) -> None:
    record, field = where
    refusal = _refusal(lambda raw: msgspec.json.encode(_read(record, raw)), written_with(record, field, text))
    if refusal is not None:
        assert refusal.field is not None
        msgspec.json.encode((refusal.field, refusal.reason))


@pytest.mark.parametrize(("record", "field"), FIELDS, ids=lambda part: part if isinstance(part, str) else None)
@pytest.mark.parametrize("value", ["1e999", r'"\u0000"', "18446744073709551616"])
def test_no_field_takes_what_is_refused_elsewhere(record: dict[str, Any], field: str, value: str) -> None:
    for text in (value, f'{{"a": {value}}}', f"[{value}]"):
        with pytest.raises(Invalid) as refusal:
            _read(record, written_with(record, field, text))
        assert refusal.value.field is not None


# --- sizes ---


def test_a_request_is_at_most_512_kib_as_a_record_headers_included() -> None:
    rest = len(written_with(REQUEST, "other", '""'))
    largest = written_with(REQUEST, "other", json.dumps("x" * (512 * 1024 - rest)))
    read_event(largest, (), NOW)
    for raw, headers, field in (
        (written_with(REQUEST, "other", json.dumps("x" * (512 * 1024 - rest + 1))), [], "other"),
        (largest, [("h", b"")], "other"),
        (written_with(REQUEST, "other", "1"), [("h", b"x" * 512 * 1024)], "headers"),
    ):
        with pytest.raises(TooLarge) as refusal:
            read_event(raw, headers, NOW)
        assert refusal.value.field == field
    with pytest.raises(TooLarge):
        read_event(largest, (), NOW, key=b"a")


@pytest.mark.parametrize("record", [record for record, _ in RECORDS])
@pytest.mark.parametrize(
    "flood",
    [
        b"{" + b",".join(b'"%d":1' % number for number in range(150_000)) + b"}",  # (fits into its topic)
        b'{"":0,' * 150_000,
        b"\xff" * (5 * 1024 * 1024),  # (a batch of a few KiB unpacks to it)
        b"[" * (5 * 1024 * 1024),
        b'{"a":"' + b"x" * (5 * 1024 * 1024) + b'"}',
    ],
    ids=["members", "unclosed", "no UTF-8", "nesting", "text"],
)
def test_no_member_is_looked_for_where_that_would_hold_up_the_neighbours(record: dict[str, Any], flood: bytes) -> None:
    with pytest.raises(TooLarge) as refusal:
        _read(record, flood)
    assert refusal.value.field == "value"


@pytest.mark.parametrize("part", ["title", "body", "subject", "html"])
def test_content_is_at_most_256_kib_as_compact_json(part: str) -> None:
    def request(letters: int) -> bytes:
        content = {"title": "", "body": "", part: "\N{GRINNING FACE}" * letters}
        return json.dumps({"user_id": "ann", "event_type": "a.b", "content": content}, ensure_ascii=False).encode()

    read_event(request(60_000), (), NOW)
    with pytest.raises(TooLarge) as refusal:
        read_event(request(66_000), (), NOW)
    assert refusal.value.field == "content"


@pytest.mark.parametrize("record", [record for record, _ in RECORDS if record not in (REQUEST, CLOUD_EVENT)])
def test_a_command_or_receipt_is_at_most_64_kib(record: dict[str, Any]) -> None:
    with pytest.raises(TooLarge) as refusal:
        _read(record, written_with(record, "other", json.dumps("x" * 65_536)))
    assert refusal.value.field == "other"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"type": "device.add", "device_id": "d", "platform": "android", "token": "é" * 2_049}, "token"),
        (
            {"type": "device.add", "device_id": "d", "platform": "web", "subscription": {"x": "y" * 5000}},
            "subscription",
        ),
        (
            {"type": "consent.set", "channel": "sms", "category": "c", "granted": True, "evidence": "e" * 17_000},
            "evidence",
        ),
    ],
)
def test_what_a_user_has_many_of_is_small(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(TooLarge) as refusal:
        read_command(json.dumps({**COMMAND, **fields}).encode())
    assert refusal.value.field == field


def test_numbers_that_are_the_same_are_the_same_content_however_large() -> None:
    def hashed(number: str) -> bytes:
        raw = f'{{"user_id":"ann","event_type":"a.b","template_id":"t","data":{{"n":{number}}}}}'
        return content_hash(read_event(raw.encode(), (), NOW)[0], "t")

    assert hashed("1e19") == hashed("10000000000000000000")
    assert hashed("-0.0") == hashed("0")
    assert hashed("1e300") == hashed("1.0e300") != hashed("1e301")
