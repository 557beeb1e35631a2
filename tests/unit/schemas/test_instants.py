"""One reader of RFC 3339, neither more nor less; and what an instant may be."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cloudevents import read_event
from schemas.commands import read_command
from schemas.decode import Invalid
from schemas.instants import LAST_MS, counted_ms, from_ms, instant_ms, parse_ms, rfc3339, to_ms
from schemas.receipts import happened_ms, read_receipt

NOW = parse_ms("2026-03-04T12:00:00Z")
DAY = 24 * 3_600_000


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-29t10:00:00z", "2026-11-29T10:00:00Z"),
        ("2026-11-29T10:00:00+01:30", "2026-11-29T08:30:00Z"),
        ("2026-11-29T10:00:00-00:00", "2026-11-29T10:00:00Z"),
        ("2026-11-29T00:00:00+23:59", "2026-11-28T00:01:00Z"),
        ("2026-11-29T10:00:00.1239999999999999999999Z", "2026-11-29T10:00:00.123Z"),
        ("2026-11-29T23:59:59.9999999Z", "2026-11-29T23:59:59.999Z"),
        ("2026-11-29T10:00:00.5Z", "2026-11-29T10:00:00.500Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.9Z", "2017-01-01T00:00:00Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z"),
    ],
)
def test_what_rfc_3339_allows_is_read(text: str, same: str) -> None:
    assert rfc3339(parse_ms(text)) == rfc3339(parse_ms(same))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-29",
        "2026-11-29 10:00:00Z",
        "2026-11-29_10:00:00Z",
        "2026-11-29T10:00Z",
        "2026-11-29T10:00:00",
        "2026-11-29T10:00:00+0100",
        "2026-11-29T10:00:00+01",
        "2026-11-29T10:00:00+24:00",
        "2026-11-29T10:00:00-01:60",
        "2026-11-29T10:00:00.Z",
        "2026-11-29T10:00:00,5Z",
        "2026-11-29T24:00:00Z",
        "2026-11-29T10:60:00Z",
        "2026-11-29T10:00:61Z",
        "2026-02-29T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-00-01T10:00:00Z",
        "2026-W48-7T10:00:00Z",
        "2026-333T10:00:00Z",
        "20261129T100000Z",
        "+002026-11-29T10:00:00Z",
        " 2026-11-29T10:00:00Z",
        "2026-11-29T10:00:00Z\n",
        "2026-11-29T10:00:00\N{MINUS SIGN}01:00",
        "\N{ARABIC-INDIC DIGIT TWO}026-11-29T10:00:00Z",
        "1764410400",
    ],
)
def test_what_rfc_3339_does_not_allow_is_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 3339|out of range|month must"):
        parse_ms(text)


@given(st.datetimes(timezones=st.integers(-1_439, 1_439).map(lambda m: timezone(timedelta(minutes=m)))))
def test_whatever_python_writes_is_read_as_python_means_it(instant: datetime) -> None:
    assert parse_ms(instant.isoformat()) == (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(st.integers())
def test_any_number_can_be_shown(ms: int) -> None:
    rfc3339(ms)
    assert to_ms(from_ms(ms)) == ms or not to_ms(datetime.min.replace(tzinfo=UTC)) <= ms <= 253402300799999


#: Bounds and beyond: Go's zero time, years that Python or ClickHouse can't hold in UTC.
BEYOND = [
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+12:00",
    "1969-12-31T23:59:59.999Z",
    "1970-01-01T00:59:59+01:00",
    "2200-01-01T00:00:00.001Z",
    "9999-12-31T23:59:59-12:00",
    "9999-12-31T23:59:60-23:59",
]


@pytest.mark.parametrize("text", BEYOND)
@pytest.mark.parametrize("field", ["send_at", "expires_at", "created_at", "inbox.expires_at", "at", "time", "until"])
def test_an_instant_out_of_bounds_is_refused_with_its_field(text: str, field: str) -> None:
    def read() -> None:
        plain: dict[str, Any] = {"user_id": "ann", "event_type": "a.b"}
        match field:
            case "at":
                read_command(msgspec.json.encode({"id": "c", "type": "activity.seen", "user_id": "ann", "at": text}))
            case "time":
                event = {"specversion": "1.0", "id": "1", "source": "s", "type": "a.b", "subject": "ann", "time": text}
                read_event(msgspec.json.encode(event), (), NOW)
            case "inbox.expires_at":
                read_event(msgspec.json.encode({**plain, "inbox": {"expires_at": text}}), (), NOW)
            case "until":
                instant_ms(text, field)
            case _:
                read_event(msgspec.json.encode({**plain, field: text}), (), NOW)

    with pytest.raises(Invalid) as refusal:
        read()
    assert refusal.value.field == field


def test_the_bounds_themselves_are_taken() -> None:
    assert instant_ms("1970-01-01T00:00:00Z", "at") == 0
    assert instant_ms("2200-01-01T00:00:00Z", "at") == LAST_MS


@pytest.mark.parametrize(
    ("timestamp", "counts"),
    [(-1, NOW), (0, 0), (NOW, NOW), (NOW + 3_600_000, NOW + 3_600_000), (NOW + 3_600_001, NOW), (2**62, NOW)],
)
def test_a_records_timestamp_that_cannot_be_means_now(timestamp: int, counts: int) -> None:
    assert counted_ms(timestamp, NOW) == counts


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        (rfc3339(NOW + 5 * 60_000), True),
        (rfc3339(NOW + 5 * 60_000 + 1), False),
        (rfc3339(NOW - 30 * DAY), True),
        (rfc3339(NOW - 30 * DAY - 1), False),
        *((text, False) for text in BEYOND),
    ],
)
def test_a_receipt_from_a_wrong_clock_is_kept_but_not_believed(text: str, possible: bool) -> None:
    said = {"id": "r", "user_id": "ann", "notification_id": "n", "status": "opened", "occurred_at": text}
    receipt = read_receipt(msgspec.json.encode(said))
    assert happened_ms(receipt, NOW) == (parse_ms(text) if possible else None)


@pytest.mark.parametrize("text", ["yesterday", "2026-03-04", 7, None])
def test_a_receipt_whose_time_is_none_is_refused(text: Any) -> None:
    said = {"id": "r", "user_id": "ann", "notification_id": "n", "status": "opened", "occurred_at": text}
    with pytest.raises(Invalid) as refusal:
        read_receipt(msgspec.json.encode(said))
    assert refusal.value.field == "occurred_at"
