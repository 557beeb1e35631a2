"""What an observer takes out of topics to which anybody may write."""

import pytest

from faults.observing import read_object


@pytest.mark.parametrize("value", [None, b"", b"null", b"[1]", b"5", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_passed_over(value: bytes | None) -> None:
    assert read_object(value) is None


def test_an_object_is_read() -> None:
    assert read_object(b'{"status": "sent"}') == {"status": "sent"}
