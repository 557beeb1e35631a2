"""What a dead letter says of itself: a field that can be read, and a code that the documentation knows."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from schemas.commands import read_command
from schemas.dead import DeadLetter, dead_letter
from schemas.decode import Invalid, check_size
from schemas.receipts import read_receipt
from schemas.requests import read_request
from tests.records import Record

READERS: dict[str, Callable[[bytes], object]] = {
    "command": read_command,
    "receipt": read_receipt,
    "request": read_request,
}
#: What no name of a field has.
GARBAGE = re.compile(r"[^\w .\-\[\]*@:/+$\"]")

#: Bytes that were never meant as JSON, and such as look like it.
NOISE = st.one_of(
    st.binary(max_size=400),
    st.binary(max_size=60).map(lambda noise: b'{"' + noise + b'": ' + b"[" * 120),
    st.binary(max_size=60).map(lambda noise: b'{"' + noise + b'": 1e999}'),
    st.binary(max_size=60).map(lambda noise: b'{"a\\ud800' + noise + b'": "\xff"}'),
    st.lists(st.sampled_from([b'"', b"{", b"[", b"\\", b"\xff", b"\0", b":", b"a", b"\xc3\xbc", b",", b"1e999"]))
    .map(b"".join)
    .map(lambda noise: noise * 20),
)


def letter_of(raw: bytes, field: str | None, reason: str = "no") -> DeadLetter:
    return dead_letter(Record(key=None, value=raw), "invalid", reason, field, "router", 0)


@pytest.mark.parametrize("reader", READERS)
@given(NOISE)
@example(b'{"' + b"\xf3\x01" + b'": ' + b"[" * 200)
def test_the_field_of_random_bytes_is_a_plain_name_or_null(reader: str, raw: bytes) -> None:
    for read in (READERS[reader], partial(check_size, most=-1)):
        with pytest.raises(Invalid) as refused:
            read(raw)
        field = refused.value.field
        shown = letter_of(raw, field).field
        assert shown is None or (shown.isprintable() and not GARBAGE.search(shown) and len(shown) <= 500)


@pytest.mark.parametrize("field", ["data.items[3].price", "subscription.keys.auth", 'data.""', "data.größe", "headers"])
def test_a_name_that_can_be_read_stays(field: str) -> None:
    assert letter_of(b"{}", field).field == field


def codes(kind: type[Invalid]) -> set[str]:
    return {kind.code}.union(*(codes(each) for each in kind.__subclasses__()))


def test_every_code_of_a_letter_is_documented_and_none_else() -> None:
    page = (Path(__file__).parents[3] / "docs" / "records.md").read_text(encoding="utf-8")
    [row] = [line for line in page.splitlines() if line.startswith("| `code` |")]
    assert set(re.findall(r"`([a-z_]+)`", row.removeprefix("| `code` |"))) == codes(Invalid) | {"internal", "poison"}
