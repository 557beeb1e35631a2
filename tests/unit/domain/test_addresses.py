"""Addresses: one form for each, and what isn't one is refused."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.addresses import (
    NotASubscription,
    address_hash,
    check_push_host,
    earlier_hash,
    parse_email,
    parse_phone,
    parse_subscription,
    parse_token,
    parsed_hash,
    token_hashes,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+442071838750", "+442071838750"),
        ("+44 20 7183 8750", "+442071838750"),
        ("+44 (0)20-7183-8750", "+442071838750"),
        ("+12025550123", "+12025550123"),
        ("+15550001234", "+15550001234"),
        ("020 7183 8750", None),  # whose country?
        ("442071838750", None),
        ("+44", None),
        ("+1", None),
        ("+442071838750 ext. 5", None),
        ("+44207183875012345678", None),
        ("whatsapp:+442071838750", None),
        ("+44207183\n8750;x", None),
        ("", None),
    ],
)
def test_a_phone_number_is_written_as_e164(text: str, number: str | None) -> None:
    assert parse_phone(text) == number


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Ann@Example.COM", "Ann@example.com"),
        ("ann.b+tag@mail.example.co.uk", "ann.b+tag@mail.example.co.uk"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann", None),
        ("@example.com", None),
        ("ann@", None),
        ("ann@localhost", None),
        ("ann@example..com", None),
        ("ann@-example.com", None),
        (".ann@example.com", None),
        ("ann b@example.com", None),
        ("ann@example.com\r\nBcc: eve@example.com", None),
        ("ann\n@example.com", None),
        ("ann@example.com\n", None),
        ("Ann <ann@example.com>", None),
        ("ann@bob@example.com", None),
        ("ann@example.com,bob@example.com", None),
        ("a" * 65 + "@example.com", None),
        ("ann@" + "a" * 64 + ".com", None),
        ("ann@" + "abcdefg." * 40 + "com", None),
        ("", None),
    ],
)
def test_a_mail_address_has_its_domain_in_lower_case(text: str, address: str | None) -> None:
    assert parse_email(text) == address


def test_an_address_is_suppressed_however_it_is_written() -> None:
    assert address_hash("email", "Ann@Example.com") == address_hash("email", " ann@example.COM ")
    assert address_hash("sms", "+44 20 7183 8750") == address_hash("sms", "+442071838750")


def test_addresses_and_channels_are_told_apart() -> None:
    hashes = {
        address_hash("email", "ann@example.com"),
        address_hash("email", "bob@example.com"),
        address_hash("sms", "+442071838750"),
        address_hash("push", "+442071838750"),
    }
    assert len(hashes) == 4
    assert {len(one) for one in hashes} == {16}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna@straße.example", "anna@xn--strae-oqa.example"),
        ("anna@STRASSE.example", "anna@strasse.example"),
        ("anna@xn--strae-oqa.example", "anna@xn--strae-oqa.example"),
        ("anna@XN--STRAE-OQA.example", "anna@xn--strae-oqa.example"),
        ("a@βόλος.example", "a@xn--nxasmm1c.example"),
        ("a@bücher。example", "a@xn--bcher-kva.example"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("a@bu\u0308cher.example", "a@xn--bcher-kva.example"),
        ("a@xn--zzzzzz.example", None),
        ("a@☕.example", None),
        ("a@-ü.example", None),
        ("a@" + "ü" * 400 + ".example", None),
        ("änna@example.com", None),
    ],
)
def test_an_international_domain_has_one_form_by_idna_2008(text: str, address: str | None) -> None:
    assert parse_email(text) == address


def test_what_idna_2003_made_of_a_domain_is_known_where_the_two_differ() -> None:
    assert earlier_hash("email", "anna@xn--strae-oqa.example") == address_hash("email", "anna@strasse.example")
    assert earlier_hash("email", "a@xn--bcher-kva.example") is None
    assert earlier_hash("email", "a@example.com") is None
    assert earlier_hash("sms", "+442071838750") is None


def test_a_number_that_is_only_possible_can_not_be_claimed() -> None:
    assert parse_phone("+44 20 7183 8750", claimed=True) == "+442071838750"
    assert (parse_phone("+15550001234"), parse_phone("+15550001234", claimed=True)) == ("+15550001234", None)


# --- tokens ---

APNS = "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad"
BLANKS = st.sampled_from(["", " ", "\n", "\t", "  ", "<", ">", "\u00a0"])


@given(st.binary(min_size=32, max_size=100), st.data())
def test_any_spelling_of_a_token_of_apples_is_the_same_token(token: bytes, data: st.DataObject) -> None:
    plain = token.hex()
    spelled = "".join(
        data.draw(BLANKS) + (digit.upper() if data.draw(st.booleans()) else digit) for digit in plain
    ) + data.draw(BLANKS)

    assert parse_token("ios", spelled) == plain


@pytest.mark.parametrize(
    "text",
    ["", "ab" * 31, "ab" * 101, "xy" * 32, APNS + "\0", APNS[:-1] + "\u0665", "0x" + APNS, APNS + "-", f"({APNS})"],
)
def test_what_apple_would_not_know_is_refused(text: str) -> None:
    assert parse_token("ios", text) is None


def test_a_token_of_googles_is_as_it_is_written_without_the_blanks_around() -> None:
    assert parse_token("android", " dK3:APA91b_x-Y \n") == "dK3:APA91b_x-Y"
    assert parse_token("android", "x" * 4096) == "x" * 4096
    for text in ("", " \n", "x" * 4097, "ü" * 2049):
        assert parse_token("android", text) is None


P256DH = "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM"
AUTH = "tBHItJI5svbpez7KI4CCXg"


def subscription(endpoint: object = "https://push.example.com/1", **keys: object) -> dict[str, object]:
    return {"endpoint": endpoint, "keys": {"p256dh": P256DH, "auth": AUTH, **keys}}


@pytest.mark.parametrize(
    "other",
    [
        {**subscription(), "expirationTime": None},
        {**subscription(), "expirationTime": 1772600000000, "more": ["x"]},
        subscription(p256dh=P256DH + "="),
        subscription(p256dh=P256DH.replace("-", "+").replace("_", "/") + "="),
        subscription(auth=AUTH + "=="),
        subscription(" https://push.example.com/1\n"),
        subscription("HTTPS://PUSH.example.com:443/1"),
        subscription("https://push.example.com/1#fragment"),
        {"keys": {"auth": AUTH, "p256dh": P256DH}, "endpoint": "https://push.example.com/1"},
    ],
)
def test_any_spelling_of_a_web_push_subscription_is_the_same_one(other: dict[str, object]) -> None:
    assert parse_subscription(other) == parse_subscription(subscription())


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (None, "endpoint"),
        ([], "endpoint"),
        ({}, "endpoint"),
        (subscription(7), "endpoint"),
        (subscription("http://push.example.com/1"), "endpoint"),
        (subscription("https:///1"), "endpoint"),
        (subscription("https://me:secret@push.example.com/1"), "endpoint"),
        (subscription("https://push.example.com/a b"), "endpoint"),
        (subscription("https://push.example.com:99999/"), "endpoint"),
        (subscription("https://[::1/"), "endpoint"),
        (subscription("https://push.example.com/" + "x" * 4096), "endpoint"),
        (subscription("javascript:alert(1)"), "endpoint"),
        ({"endpoint": "https://push.example.com/1"}, "keys.p256dh"),
        ({"endpoint": "https://push.example.com/1", "keys": []}, "keys.p256dh"),
        (subscription(p256dh="B"), "keys.p256dh"),
        (subscription(p256dh="C" + P256DH[1:]), "keys.p256dh"),
        (subscription(p256dh=P256DH[:-1] + "*"), "keys.p256dh"),
        (subscription(auth=None), "keys.auth"),
        (subscription(auth=AUTH[:-1]), "keys.auth"),
        (subscription(auth=AUTH + "AA"), "keys.auth"),
    ],
)
def test_what_is_no_web_push_subscription_names_the_field(other: object, field: str) -> None:
    with pytest.raises(NotASubscription) as refused:
        parse_subscription(other)
    assert refused.value.field == field


def test_a_token_without_its_platform_counts_as_each_that_it_can_be() -> None:
    mixed = "Ab" * 32
    assert set(token_hashes(f" {mixed} ")) == {parsed_hash("push", mixed.lower()), parsed_hash("push", mixed)}
    assert token_hashes("dK3:APA91b") == (parsed_hash("push", "dK3:APA91b"),)
    assert token_hashes(" ") == ()


CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xD800)]


@pytest.mark.parametrize("character", CONTROLS, ids=ascii)
def test_an_android_token_holds_no_control_character(character: str) -> None:
    assert parse_token("android", f"dK3:APA{character}91b") is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://localhost/",
        "https://kafka/",
        "https://metadata.google.internal/",
        "https://push.example.com:8443/",
        "https://push.example.com:22/",
    ],
)
def test_a_push_service_is_on_a_public_host_unless_it_is_allowed(endpoint: str) -> None:
    parsed = parse_subscription(subscription(endpoint))
    with pytest.raises(NotASubscription, match=r"providers\.webpush\.allow_hosts") as refused:
        check_push_host(parsed, ())
    assert refused.value.field == "endpoint"
    parts = urlsplit(endpoint)
    check_push_host(parsed, {parts.hostname or ""})
    if parts.port is not None:
        check_push_host(parsed, {f"{parts.hostname}:{parts.port}"})


@pytest.mark.parametrize("endpoint", ["https://fcm.googleapis.com/fcm/send/x", "https://web.push.apple.com:443/y"])
def test_a_public_push_service_is_taken(endpoint: str) -> None:
    check_push_host(parse_subscription(subscription(endpoint)), ())
