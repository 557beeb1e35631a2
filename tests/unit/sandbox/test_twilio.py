"""Twilio's rules for a new message, and its magic numbers."""

import pytest

from app.sandbox.twilio import FROM, objection

RIGHT = {"To": "+14155550123", "From": FROM, "Body": "hello", "StatusCallback": "https://tocsin.example/cb?send_id=1"}


def test_a_right_message_is_taken() -> None:
    assert objection(RIGHT) is None


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("20001", {"Colour": "red"}),
        ("21604", {"To": ""}),
        ("21603", {"From": ""}),
        ("21701", {"From": "", "MessagingServiceSid": "MG0"}),
        ("21602", {"Body": ""}),
        ("21211", {"To": "4155550123"}),
        ("21211", {"To": "whatsapp:+14155550123"}),
        ("21212", {"From": "Tocsin"}),
        ("21606", {"From": "+14155550100"}),
        ("21617", {"Body": "x" * 1601}),
        ("21609", {"StatusCallback": "tocsin.example/cb"}),
        ("21211", {"To": "+15005550001"}),
        ("21612", {"To": "+15005550002"}),
        ("21408", {"To": "+15005550003"}),
        ("21610", {"To": "+15005550004"}),
        ("21614", {"To": "+15005550009"}),
        ("21212", {"From": "+15005550001"}),
        ("21606", {"From": "+15005550007"}),
        ("21611", {"From": "+15005550008"}),
    ],
)
def test_a_wrong_message_gets_twilios_code(code: str, changes: dict[str, str]) -> None:
    assert objection({**RIGHT, **changes}) == code


def test_1600_characters_are_just_right() -> None:
    assert objection({**RIGHT, "Body": "x" * 1600}) is None
