"""Whatever a broker may hold is read: one bad batch, or record, is marked once and costs its neighbours nothing."""

import gzip
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.structs import TopicPartition
from hypothesis import example, given
from hypothesis import strategies as st

from app.kafka import parsing, records, unpacking
from app.kafka.batches import Pieces
from app.kafka.records import REST, TolerantRecords, Unreadable
from tests.unit.kafka.wire import batch, built, marker, plain, record, spoilt, transactional

AT = TopicPartition("events", 3)
COMMITTED, UNCOMMITTED = 1, 0
PACKERS: dict[int, Callable[[bytes], bytes]] = {
    1: gzip.compress,
    2: snappy_encode,
    3: lambda data: bytes(cramjam.lz4.compress(data)),
    4: lambda data: bytes(cramjam.zstd.compress(data)),
}


def read(data: bytes, start: int = 0, aborted: Sequence[tuple[int, int]] = (), isolation: int = COMMITTED) -> Any:
    """(offset, value) of each record, or (offset, next offset, reason) of what can't be read; the position after."""
    fetched = TolerantRecords(AT, Pieces(data), aborted, start, None, None, True, isolation)
    found: list[Any] = []
    for one in fetched:
        if isinstance(one, Unreadable):
            assert one.key is None
            assert one.value is None
            assert not one.headers
            found.append((one.offset, one.next_offset, one.reason))
        else:
            found.append((one.offset, one.value))
    return found, fetched.next_fetch_offset


def codes(data: bytes) -> list[str]:
    """Of what can't be read."""
    fetched = TolerantRecords(AT, Pieces(data), (), 0, None, None, True, COMMITTED)
    return [one.code for one in fetched if isinstance(one, Unreadable)]


def test_batches_are_read_one_after_the_other() -> None:
    assert read(plain(0, b"a", b"b") + plain(2, b"c")) == ([(0, b"a"), (1, b"b"), (2, b"c")], 3)


@pytest.mark.parametrize("codec", [0, *PACKERS])
def test_every_codec_is_read_as_aiokafkas_producer_writes_it(codec: int) -> None:
    assert read(built(7, codec, b"a" * 500, b"b")) == ([(7, b"a" * 500), (8, b"b")], 9)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80"])
def test_a_header_name_that_is_not_utf_8_keeps_its_bytes(name: bytes) -> None:
    data = batch(
        5, [record(0, b"k", b"a"), record(1, b"k", b"b", [(name, b"v"), (b"ok", None)]), record(2, b"k", b"c")]
    )
    found = list(TolerantRecords(AT, Pieces(data), (), 5, None, None, True, COMMITTED))

    assert [one.value for one in found] == [b"a", b"b", b"c"]
    (first, content), second = found[1].headers
    assert (first.encode(errors="surrogateescape"), content, second) == (name, b"v", ("ok", None))


def test_a_header_without_a_name_has_the_empty_one() -> None:
    data = batch(0, [record(0, b"k", b"a", [(None, b"v")])])
    (found,) = TolerantRecords(AT, Pieces(data), (), 0, None, None, True, COMMITTED)

    assert found.headers == (("", b"v"),)


def test_a_batch_with_a_wrong_checksum_is_marked_and_those_after_it_are_read() -> None:
    found, position = read(plain(0, b"a") + spoilt(plain(1, b"b", b"c")) + plain(3, b"d"))

    assert found == [(0, b"a"), (1, 3, "a batch that has a wrong checksum"), (3, b"d")]
    assert position == 4


def test_a_last_batch_with_a_wrong_checksum_is_marked_once_and_passed_by_offsets() -> None:
    """Its own word of where it ends is as doubtful as the rest."""
    data = spoilt(plain(1, b"b", b"c", b"d"))
    assert read(data, start=1) == ([(1, 2, "a batch that has a wrong checksum")], 2)
    assert read(data, start=2) == ([], 3)
    assert read(data, start=3) == ([], 4)
    assert read(data + plain(4, b"e"), start=3) == ([(4, b"e")], 5)


@pytest.mark.parametrize("magic", [3, 127])
def test_a_batch_of_an_unknown_format_is_marked(magic: int) -> None:
    found, position = read(batch(0, [record(0, b"k", b"a")], magic=magic) + plain(1, b"b"))

    assert found == [(0, 1, f"a batch that has the unknown format {magic}"), (1, b"b")]
    assert position == 2


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_batch_with_an_unknown_codec_is_marked_as_far_as_it_goes(codec: int) -> None:
    found, position = read(batch(4, [record(0, b"k", b"a"), record(1, b"k", b"b")], codec=codec), start=4)

    assert found == [(4, 6, f"a batch that is compressed with the unknown codec {codec}")]
    assert position == 6


@pytest.mark.parametrize("codec", PACKERS)
def test_a_batch_that_does_not_unpack_is_marked(codec: int) -> None:
    data = batch(0, [record(0, b"k", b"a" * 900)], codec=codec, pack=lambda data: PACKERS[codec](data)[:-9])
    found, position = read(data + plain(1, b"b"))

    assert [one[:2] for one in found] == [(0, 1), (1, b"b")]
    assert position == 2


@pytest.mark.parametrize("codec", PACKERS)
def test_a_batch_that_unpacks_to_over_64_mib_is_marked_and_its_neighbours_are_read(codec: int) -> None:
    bomb = batch(1, [record(0, b"k", bytes(unpacking.MOST_BYTES + 1))], codec=codec, pack=PACKERS[codec])
    found, position = read(plain(0, b"a") + bomb + plain(2, b"b"))

    assert found == [(0, b"a"), (1, 2, f"a batch that unpacks to more than {64 * 2**20} bytes"), (2, b"b")]
    assert position == 3
    assert codes(bomb) == ["too_large"]
    assert codes(bomb[:-1] + b"!") == ["undecodable"]


@pytest.mark.parametrize("codec", PACKERS)
def test_after_each_that_unpacks_to_too_much_others_get_their_turn(codec: int) -> None:
    packed = [
        batch(n, [record(0, b"k", bytes(unpacking.MOST_BYTES + 1))], codec=codec, pack=PACKERS[codec]) for n in range(3)
    ]
    data = b"".join(packed) + plain(3, b"a") + plain(4, b"b")
    portion = TolerantRecords(AT, Pieces(data), (), 0, None, None, True, COMMITTED).portion()

    turns = "".join("|" if each is REST else "x" if isinstance(each, Unreadable) else "r" for each in portion)
    assert turns == "x|x|x|rr"


@pytest.mark.parametrize("codec", PACKERS)
def test_what_packs_well_is_unpacked_a_portion_at_a_time(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "AT_ONCE_BYTES", 2_000)
    packed = [batch(n, [record(0, b"k", bytes(1_000))], codec=codec, pack=PACKERS[codec]) for n in range(7)]
    fetched = TolerantRecords(AT, Pieces(b"".join(packed)), (), 0, None, None, True, COMMITTED)

    assert "".join("|" if each is REST else "r" for each in fetched.portion()) == "rr|rr|rr|r"
    assert len(list(TolerantRecords(AT, Pieces(b"".join(packed)), (), 0, None, None, True, COMMITTED))) == 7


@pytest.mark.parametrize("codec", PACKERS)
@pytest.mark.parametrize("size", [0, 1, 999, 1_000])
def test_what_unpacks_to_the_limit_is_unpacked(codec: int, size: int) -> None:
    assert unpacking.unpack(codec, PACKERS[codec](bytes(size)), most=1_000) == bytes(size)
    with pytest.raises(unpacking.Unpackable, match="more than 1000 bytes"):
        unpacking.unpack(codec, PACKERS[codec](bytes(1_001)), most=1_000)


class Panic(BaseException):
    """As a library in Rust raises it."""


def test_a_codec_that_panics_harms_its_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(packed: bytes, most: int) -> bytes:
        raise Panic("index out of range")

    monkeypatch.setattr(unpacking, "_CODECS", {3: ("lz4", panic)})
    found, position = read(built(0, 3, b"a" * 900) + plain(1, b"b"))

    assert found == [(0, 1, "a batch that is not valid lz4: index out of range"), (1, b"b")]
    assert position == 2


@given(st.integers(1, 4), st.binary(max_size=200))
def test_any_bytes_unpack_or_are_refused(codec: int, packed: bytes) -> None:
    with suppress(unpacking.Unpackable):
        assert len(unpacking.unpack(codec, packed, most=10_000)) <= 10_000


def test_a_snappy_block_that_says_it_is_huge_is_not_believed() -> None:
    with pytest.raises(unpacking.Unpackable):
        unpacking.unpack(2, b"\xff\xff\xff\xff\x0fab")


def test_a_record_that_is_broken_is_marked_alone() -> None:
    broken = record(1, b"k", b"b").replace(b"b", b"")  # its value is shorter than it says
    broken = struct.pack("B", (len(broken) - 1) * 2) + broken[1:]
    found, position = read(batch(0, [record(0, b"k", b"a"), broken, record(2, b"k", b"c")]))

    assert [one[:2] for one in found] == [(0, b"a"), (1, 2), (2, b"c")]
    assert position == 3


def test_what_follows_a_record_of_impossible_length_is_marked_up_to_the_batchs_end() -> None:
    found, position = read(batch(0, [record(0, b"k", b"a"), b"\xfe\x7f", record(2, b"k", b"c")]) + plain(3, b"d"))

    assert [one[:2] for one in found] == [(0, b"a"), (1, 3), (3, b"d")]
    assert position == 4


def test_headers_by_the_million_are_not_taken_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_FAST_BYTES", 1_000)
    headers = [(b"", None)] * (parsing.MOST_HEADERS + 1)
    found, position = read(batch(0, [record(0, b"k", b"a", headers), record(1, b"k", b"b")]))

    assert [one[:2] for one in found] == [(0, 1), (1, b"b")]
    assert position == 2


def test_a_large_batch_is_read_record_by_record_and_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = batch(0, [record(0, b"k", b"a", [(b"h", b"v")]), record(1, None, None)])
    fast = list(TolerantRecords(AT, Pieces(data), (), 0, None, None, True, COMMITTED))
    monkeypatch.setattr(records, "_FAST_BYTES", 0)

    assert list(TolerantRecords(AT, Pieces(data), (), 0, None, None, True, COMMITTED)) == fast


def test_aborted_records_are_left_out_and_the_position_passes_them() -> None:
    data = transactional(0, 9, b"a") + plain(1, b"b") + marker(2, 9, commit=False)

    assert read(data, aborted=[(9, 0)]) == ([(1, b"b")], 3)


def test_a_transaction_after_an_aborted_one_counts() -> None:
    data = (
        transactional(0, 9, b"a") + marker(1, 9, commit=False) + transactional(2, 9, b"b") + marker(3, 9, commit=True)
    )

    assert read(data, aborted=[(9, 0)]) == ([(2, b"b")], 4)


def test_an_aborted_batch_that_cannot_be_read_is_left_out_like_any_other() -> None:
    data = transactional(0, 9, b"a")
    unreadable = batch(1, [b"\xfe\x7f"], producer=9, attributes=0x10)

    assert read(data + unreadable + marker(2, 9, commit=False), aborted=[(9, 0)]) == ([], 3)


@pytest.mark.parametrize("commit", [True, False])
def test_a_marker_that_is_all_there_is_is_passed(commit: bool) -> None:
    assert read(marker(4, 9, commit=commit), start=4) == ([], 5)


def test_a_control_batch_of_an_unknown_kind_is_passed() -> None:
    assert read(batch(4, [record(0, b"?", None)], producer=9, attributes=0x30), start=4) == ([], 5)


@pytest.mark.parametrize("left", [(), (0,), (1,), (0, 2)])
def test_what_compaction_took_is_passed_up_to_the_batchs_last_offset(left: tuple[int, ...]) -> None:
    data = batch(0, [record(n, b"k", b"v") for n in left], last_delta=3)

    assert read(data) == ([(n, b"v") for n in left], 4)


def test_what_the_broker_cut_off_at_the_end_comes_with_the_next_fetch() -> None:
    assert read(plain(0, b"a") + plain(1, b"b")[:-3]) == ([(0, b"a")], 1)


def test_a_batch_that_is_cut_off_and_all_there_is_is_marked_once_and_passed() -> None:
    found, position = read(plain(3, b"a" * 99)[:80], start=3)

    assert found == [(3, 4, "a batch that is cut off")]
    assert position == 4
    assert read(plain(3, b"a" * 99, b"b")[:80], start=4) == ([], 5)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1, 2])
def test_old_formats_are_read_and_a_time_that_they_lack_is_minus_one(magic: int, codec: int) -> None:
    builder: Any = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    builder.append(0, 77, b"k", b"a")
    data = bytes(builder.build())
    (found,) = TolerantRecords(AT, Pieces(data), (), 0, None, None, True, COMMITTED)

    assert (found.offset, found.key, found.value) == (0, b"k", b"a")
    assert found.timestamp == (-1 if magic == 0 else 77)


def test_an_old_format_that_unpacks_to_more_than_it_may_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    builder: Any = LegacyRecordBatchBuilder(1, 1, 1 << 20)
    builder.append(0, 77, b"k", bytes(10_000))
    monkeypatch.setattr("app.kafka.batches.MOST_BYTES", 9_000)
    found, position = read(bytes(builder.build()) + plain(1, b"b"))

    assert found == [(0, 1, "a batch that unpacks to more than 9000 bytes"), (1, b"b")]
    assert position == 2


def legacy(content: bytes, magic: int) -> bytes:
    """Of an old format, with the right checksum and anything in it."""
    checked = bytes([magic]) + content
    return struct.pack(">qiI", 0, len(checked) + 4, zlib.crc32(checked)) + checked


def checked(attributes: int, last_delta: int, count: int, content: bytes) -> bytes:
    """Of the format of today, with the right checksum and anything in it; the fields that the broker checks fit."""
    return batch(0, [content], attributes=attributes, last_delta=last_delta, count=count)


PIECES = st.one_of(
    st.tuples(st.binary(min_size=46, max_size=90), st.integers(0, 1)).map(lambda p: legacy(*p)),
    st.tuples(
        st.integers(0, 7) | st.sampled_from([0x10, 0x20, 0x30]),
        st.integers(0, 9),
        st.integers(-(2**31), 2**31 - 1),
        st.binary(max_size=80),
    ).map(lambda p: checked(*p)),
    st.binary(max_size=80).map(lambda value: plain(0, value)),
    st.binary(max_size=80).map(lambda content: batch(0, [content])),
    st.tuples(st.integers(0, 7), st.binary(max_size=80)).map(lambda p: batch(0, [p[1]], codec=p[0])),
    st.binary(min_size=61, max_size=90).map(lambda data: struct.pack(">qi", 0, len(data)) + data),
    st.binary(max_size=60),
)


@example(struct.pack(">qi", 0, 61) + bytes(14) + b"\x80" + bytes(46), 0)
@example(struct.pack(">qi", 0, 61) + bytes(13) + b"\1" + bytes(47), 0)
@given(PIECES, st.integers(0, 3))
def test_no_bytes_raise_or_keep_the_position_where_it_was_or_hide_the_batch_behind(piece: bytes, start: int) -> None:
    data = piece + plain(40, b"after") if len(piece) > 60 else piece
    found, position = read(data, start=start)

    if len(piece) > 60:
        assert (40, b"after") in found
        assert position == 41
    elif len(piece) >= 12:
        assert position > start
