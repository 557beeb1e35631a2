"""What all vendors' wires share."""

from pathlib import Path

import pytest

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
