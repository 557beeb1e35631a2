"""Where a moved record lay first: believed only with the installation's signature over this very record."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.origin import ORIGIN, origin_of, signed_origin, without_origin

SECRET = b"a secret of the installation"
PLACE = "notify_events:3:17"

records = st.fixed_dictionaries(
    {
        "key": st.none() | st.binary(max_size=20),
        "value": st.none() | st.binary(max_size=50),
        "headers": st.lists(
            st.tuples(st.text(max_size=10).filter(lambda name: name != ORIGIN), st.binary(max_size=20)), max_size=4
        ),
    }
)


def moved(record: dict[str, Any], secret: bytes = SECRET) -> dict[str, Any]:
    signed = signed_origin(secret, PLACE, **record)
    return {**record, "headers": [*record["headers"], (ORIGIN, signed)]}


@given(records)
def test_a_signed_place_is_believed(record: dict[str, Any]) -> None:
    assert origin_of(SECRET, **moved(record)) == PLACE


@given(records, records)
def test_the_signature_holds_for_this_record_only(record: dict[str, Any], other: dict[str, Any]) -> None:
    header = moved(record)["headers"][-1]
    forged = {**other, "headers": [*other["headers"], header]}

    assert (origin_of(SECRET, **forged) == PLACE) == (record == other)


@given(records)
def test_another_secret_is_not_believed(record: dict[str, Any]) -> None:
    assert origin_of(SECRET, **moved(record, b"another secret")) is None


@pytest.mark.parametrize(
    "said",
    [
        None,
        b"",
        b"notify_events:3:17",
        b"notify_events:3:18:" + b"0" * 64,
        b"\xff:3:17:" + b"0" * 64,
        b"notify_events:3:17:\xff",
        b"x" * 10_000,
    ],
)
def test_what_others_write_there_is_passed_over(said: Any) -> None:
    assert origin_of(SECRET, b"u1", b"{}", [(ORIGIN, said)]) is None


names = st.sampled_from([ORIGIN, "tocsin-origin\udcff", "\udcff", "\ud800", ""]) | st.text(max_size=5)
contents = (
    st.none() | st.binary(max_size=60) | st.builds(lambda head, tail: head + b":" + tail, st.binary(), st.binary())
)


@given(records, st.lists(st.tuples(names, contents), max_size=5))
def test_no_header_of_anybody_is_believed_or_raises(record: dict[str, Any], headers: list[Any]) -> None:
    strange = {**record, "headers": headers}

    assert origin_of(SECRET, **strange) is None
    assert ORIGIN not in dict(without_origin(headers))
    others = {**record, "headers": without_origin(headers)}
    assert origin_of(SECRET, **moved(others)) == PLACE, "what was moved with such headers is known again"


def test_of_two_headers_none_is_believed() -> None:
    record = moved({"key": b"u1", "value": b"{}", "headers": []})

    assert origin_of(SECRET, **{**record, "headers": [*record["headers"], *record["headers"]]}) is None


def test_a_place_cannot_be_changed_under_its_signature() -> None:
    record = moved({"key": b"u1", "value": b"{}", "headers": []})
    name, signed = record["headers"][-1]
    forged = signed.replace(b":17:", b":18:")

    assert origin_of(SECRET, b"u1", b"{}", [(name, forged)]) is None


def test_all_other_headers_are_kept() -> None:
    assert without_origin([("a", b"1"), (ORIGIN, b"x"), ("b", b"2"), (ORIGIN, b"y")]) == [("a", b"1"), ("b", b"2")]
