"""What all vendors' wires share."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.outcome import LONGEST_WAIT_MS
from app.providers.wire import answered, kind_of_status, retry_after_ms, tls_context


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7000),
        ("0", 0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90_000),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, expected: int | None) -> None:
    assert retry_after_ms(header, now_s=10.0) == expected


@pytest.mark.parametrize(
    "header",
    [
        "Fri, 02 Jan 1970 00:01:40 GMT",
        "Friday, 02-Jan-70 00:01:40 GMT",
        "Fri Jan  2 00:01:40 1970",
        "Fri, 02 Jan 1970 02:01:40 +0200",
        "Fri, 02 Jan 1970 00:01:40 -0000",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_an_http_date_is_utc_whatever_the_process_zone(header: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert retry_after_ms(header, now_s=86_400.0) == 100_000
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "header",
    [
        *("9" * 20, "9" * 60, "9" * 10_000, "1e999", "inf", "nan", "-5", "²", "٣", "١٢", "\x00", ",", "0x10", "1_0"),
        "Fri, 31 Dec 9999 23:59:59 -1200",
        "Mon, 99 Xxx 0000 99:99:99 GMT",
        "Fri, 02 Jan 0000 00:00:00 GMT",
    ],
)
def test_no_retry_after_makes_a_wait_without_an_end(header: str) -> None:
    wait_ms = retry_after_ms(header, now_s=1_700_000_000.0)

    assert wait_ms is None or 0 <= wait_ms <= LONGEST_WAIT_MS


@settings(deadline=None)
@given(st.text(max_size=80), st.floats(0, 4e9))
def test_whatever_a_retry_after_says_is_a_bounded_wait_or_nothing(header: str, now_s: float) -> None:
    wait_ms = retry_after_ms(header, now_s)

    assert wait_ms is None or 0 <= wait_ms <= LONGEST_WAIT_MS


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "drop"),
        (401, "config"),
        (403, "config"),
        (404, "config"),
        (413, "drop"),
        (429, "throttle"),
        (302, "in_doubt"),
        (500, "in_doubt"),
        (502, "in_doubt"),
        (504, "in_doubt"),
    ],
)
def test_a_bare_status_is_judged_by_whether_it_proves_a_refusal(status: int, kind: str) -> None:
    assert kind_of_status(status) == kind


def test_a_wait_is_kept_only_where_the_send_is_tried_again() -> None:
    assert answered("throttle", "429", 5000).retry_after_ms == 5000
    assert answered("retry", "503", 5000).retry_after_ms == 5000
    assert answered("drop", "400", 5000).retry_after_ms is None


def test_an_unreadable_ca_file_is_refused_by_name(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")

    for path in (empty, tmp_path / "absent.pem"):
        with pytest.raises(ValueError, match="ca_file"):
            tls_context(path)
