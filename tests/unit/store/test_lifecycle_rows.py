"""Records become rows, or are refused with the name of the field that no row can hold."""

import json
from dataclasses import replace

import pytest

from app.store.lifecycle_rows import COLUMNS, batch_token, row_of
from schemas.decode import Invalid
from tests.unit.store.conftest import T0, event, record, recorded

GOOD = {
    "event_id": "e",
    "notification_id": "n",
    "user_id": "u",
    "status": "sent",
    "occurred_at": "2026-11-20T11:00:00.123+01:00",
}


def refusal(**fields: object) -> Invalid:
    with pytest.raises(Invalid) as refused:
        row_of(recorded(json.dumps({**GOOD, **fields}).encode()))
    return refused.value


def test_a_row_holds_the_event_and_where_it_lay() -> None:
    read = replace(
        record(event("held", 5, send_id="s", detail={"cap": "day"}), offset=7), partition=3, timestamp=T0 + 9
    )

    row = dict(zip(COLUMNS, row_of(read), strict=True))

    assert (row["status"], row["send_id"], row["reason"], row["detail"]) == ("held", "s", None, '{"cap":"day"}')
    assert (row["occurred_at"], row["recorded_at"]) == (T0 + 5, T0 + 9)
    assert (row["topic_partition"], row["topic_offset"]) == (3, 7)


def test_an_offset_from_utc_is_taken_into_account() -> None:
    row = dict(zip(COLUMNS, row_of(recorded(json.dumps(GOOD).encode())), strict=True))

    assert row["occurred_at"] == T0 + 123


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "lost"),
        ("attempt", -1),
        ("attempt", 2**32),
        ("template_version", 10**30),
        ("occurred_at", "yesterday"),
        ("occurred_at", "2026-11-20T10:00:00"),
        ("occurred_at", "1969-12-31T23:59:59Z"),
        ("occurred_at", "9999-01-01T00:00:00Z"),
        ("user_id", "somebody else"),
        ("detail", "text"),
    ],
)
def test_what_no_row_can_hold_is_refused_by_name(field: str, value: object) -> None:
    assert refusal(**{field: value}).field == field


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"\xff\xfe", b'{"event_id": "\\ud800"}'])
def test_what_is_no_event_at_all_is_refused(value: bytes) -> None:
    with pytest.raises(Invalid):
        row_of(recorded(value))


def test_a_batch_is_named_by_what_it_was_read_from() -> None:
    first, last = recorded(b"", offset=4), recorded(b"", offset=9)

    token = batch_token("t", [(first, last)])

    assert token == batch_token("t", [(first, last)])
    assert token != batch_token("t", [(first, replace(last, offset=10))])
    assert token != batch_token("t", [(replace(first, partition=1), replace(last, partition=1))])


def test_the_same_offsets_of_a_topic_made_anew_are_another_batch() -> None:
    first, last = recorded(b"", offset=0), recorded(b"", offset=9)
    anew = replace(last, timestamp=T0 + 1)

    assert batch_token("t", [(first, last)]) != batch_token("t", [(first, anew)])
