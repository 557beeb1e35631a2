"""The row of a user's windows: what caps share lies there once, and every window is read as it was put."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tables.windows import Windows, windows_of

ENTRIES = [bytes([number]) * 24 for number in range(6)]
WHOLE = b"".join(ENTRIES)


@given(
    st.dictionaries(
        st.sampled_from(["hour", "day", "week", "push"]),
        st.binary(max_size=60) | st.builds(lambda first: WHOLE[24 * first :], st.integers(0, 6)),
    )
)
def test_windows_are_read_as_they_were_put(places: dict[str, bytes]) -> None:
    assert windows_of(places, {}, 5).places() == places


def test_windows_of_several_lengths_over_the_same_sends_lie_once() -> None:
    row = windows_of({"hour": WHOLE[-24:], "day": WHOLE[-48:], "week": WHOLE}, {}, 5)

    assert len(msgspec.msgpack.encode(row)) < len(WHOLE) + 40


def test_a_row_from_before_windows_were_shared_is_read() -> None:
    old = msgspec.msgpack.encode([{"hour": WHOLE[-24:], "day": WHOLE}, {"hour": [b"x" * 16]}, 7])
    row = msgspec.msgpack.decode(old, type=Windows)

    assert row.places() == {"hour": WHOLE[-24:], "day": WHOLE}
    assert (row.waiting, row.until_ms) == ({"hour": (b"x" * 16,)}, 7)
