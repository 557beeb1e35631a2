"""The journal's entries come back as they were written, byte for byte."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.out import Produce
from app.streaming.journal import Entry, decode_entry, encode_entry

maybe_bytes = st.none() | st.binary(max_size=20)
records = st.builds(
    Produce,
    topic=st.text(min_size=1, max_size=10),
    key=maybe_bytes,
    value=maybe_bytes,
    partition=st.integers(-1, 100),
    timestamp_ms=st.none() | st.integers(0, 2**42),
    headers=st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2).map(tuple),
)
entries = st.builds(
    Entry,
    positions=st.dictionaries(st.text(max_size=8), st.integers(0, 2**60), max_size=4),
    changes=st.dictionaries(st.text(max_size=8), st.dictionaries(st.binary(max_size=8), maybe_bytes, max_size=3)),
    outputs=st.lists(records, max_size=3),
)


@given(entries)
def test_an_entry_survives_the_log(entry: Entry) -> None:
    again = decode_entry(encode_entry(entry))

    assert again.positions == entry.positions
    assert again.changes == entry.changes
    assert encode_entry(again) == encode_entry(entry)
