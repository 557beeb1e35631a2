"""Rows of an upload: the same however its bytes come, and a bad one harms no other."""

import csv
import io
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.campaigns.rows import MAX_ROW_BYTES, Format, Refused, rows_of
from schemas.campaigns import Row
from schemas.decode import Malformed

FORMATS: list[Format] = ["application/x-ndjson", "text/csv"]


def read(kind: Format, *pieces: bytes) -> list[Row | Refused]:
    rows = rows_of(kind)
    return [row for piece in pieces for row in rows.feed(piece)] + list(rows.end())


def plain(found: list[Row | Refused]) -> list[Any]:
    return [
        (row.line, row.invalid.field)
        if isinstance(row, Refused)
        else (row.user_id, None if row.data is None else json.loads(row.data))
        for row in found
    ]


def ndjson(*rows: str) -> list[Any]:
    return plain(read("application/x-ndjson", "\n".join(rows).encode()))


def of_csv(text: str) -> list[Any]:
    return plain(read("text/csv", text.encode()))


def test_a_row_is_a_user_and_maybe_their_data() -> None:
    assert ndjson('{"user_id": "ann", "data": {"n": 1}, "x": 1}', "", '{"user_id": "bob", "data": null}') == [
        ("ann", {"n": 1}),
        ("bob", None),
    ]


def test_columns_become_data_as_strings() -> None:
    assert of_csv("user_id,n,name\r\nann,1,\r\n\r\nbob,2,Bo\r\n") == [
        ("ann", {"n": "1", "name": ""}),
        ("bob", {"n": "2", "name": "Bo"}),
    ]
    assert of_csv("\ufeffuser_id\nann") == [("ann", None)]


def test_quotes_commas_and_lines_in_quotes_are_of_the_value() -> None:
    assert of_csv('n,user_id\n"a ""b"",\r\nc",ann\nd,"bob"') == [("ann", {"n": 'a "b",\r\nc'}), ("bob", {"n": "d"})]


@pytest.mark.parametrize(
    "bad",
    [
        "no JSON",
        "[]",
        "{}",
        '{"user_id": 1}',
        '{"user_id": ""}',
        '{"user_id": "%s"}' % ("a" * 129),
        '{"user_id": "a\\u0000"}',
        '{"user_id": "a", "data": []}',
        '{"user_id": "a", "data": {"n": 1e999}}',
        '{"user_id": "a", "data": %s}' % ("[" * 5000),
        "x" * (MAX_ROW_BYTES + 1),
    ],
)
def test_a_bad_row_of_json_harms_no_other(bad: str) -> None:
    found = ndjson('{"user_id": "ann"}', bad, '{"user_id": "bob"}')
    assert (found[0], found[1][0], found[2]) == (("ann", None), 2, ("bob", None))


@pytest.mark.parametrize(
    "bad",
    ["a", "a,b,c", ",b", '"a"b,c', '"a,b', 'a,"b', "a,\0", "x" * (MAX_ROW_BYTES + 1), '"' + "x" * (MAX_ROW_BYTES + 1)],
)
def test_a_bad_row_of_csv_harms_no_other(bad: str) -> None:
    found = of_csv(f"user_id,n\nann,1\n{bad}\nbob,2\ncid,3\n")
    assert (found[0], found[1][0], found[2:]) == (("ann", {"n": "1"}), 3, [("bob", {"n": "2"}), ("cid", {"n": "3"})])


def test_what_is_not_utf_8_harms_no_other() -> None:
    found = plain(read("text/csv", b"user_id\nann\n\xff\xfe\nbob\n"))
    assert found == [("ann", None), (3, None), ("bob", None)]
    found = plain(read("application/x-ndjson", b'{"user_id": "\xff"}\n{"user_id": "bob"}\n'))
    assert (found[0][0], found[1]) == (1, ("bob", None))


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("", "body"),
        ("name,n\n", "user_id"),
        ("user_id,n,n\n", "n"),
        ("user_id,\n", "body"),
        ('"user_id\n', "body"),
        ("x" * (MAX_ROW_BYTES + 1) + "\n", "body"),
    ],
)
def test_a_header_that_cant_be_read_refuses_the_upload(header: str, field: str) -> None:
    with pytest.raises(Malformed) as refused:
        of_csv(header)
    assert refused.value.field == field


_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def _pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(body) + 1) for cut in cuts} | {0, len(body)})
    return [body[start:end] for start, end in pairwise(ends)]


@given(st.lists(st.tuples(_texts, _texts), max_size=12), st.lists(st.integers(0, 10_000), max_size=8))
def test_what_a_csv_library_writes_is_read_however_it_is_cut(rows: list[tuple[str, str]], cuts: list[int]) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("user_id", "n"), *((f"u{number}", f"{a}{b}") for number, (a, b) in enumerate(rows))])
    found = plain(read("text/csv", *_pieces(written.getvalue().encode(), cuts)))
    assert found == [(f"u{number}", {"n": f"{a}{b}"}) for number, (a, b) in enumerate(rows)]


@given(st.sampled_from(FORMATS), st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=8))
def test_whatever_comes_is_read_alike_however_it_is_cut(kind: Format, body: bytes, cuts: list[int]) -> None:
    body = (b"user_id,n\n" if kind == "text/csv" else b"") + body
    assert plain(read(kind, *_pieces(body, cuts))) == plain(read(kind, body))


@given(st.lists(st.sampled_from(['"', '""', "a", ",", "\n", 'a,"', '"\n', "\r\n"]), max_size=60).map("".join))
def test_rows_behind_any_quotes_are_read_unless_they_are_in_quotes(garbage: str) -> None:
    found = of_csv(f'user_id,n\n{garbage}\n"ann",1\n')
    assert found[-1:] == [("ann", {"n": "1"})] or isinstance(found[-1][0], int) or '"ann",1' in str(found[-1])
