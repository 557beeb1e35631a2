"""What browsers are sent is encrypted as RFC 8291 says, byte for byte, and as others encrypt it."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.providers.webpush_encryption import MAX_PLAINTEXT, RECORD_SIZE, encrypt, public_bytes
from app.sandbox.webpush import Browser, NotForUs, decrypted

#: RFC 8291, section 5 and appendix A.
RFC_MESSAGE = b"When I grow up, I want to be a watermelon"
RFC_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
RFC_BROWSER = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
RFC_BROWSER_PUBLIC = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
RFC_SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
RFC_SALT = "DGv6ra1nlYgDCS1FRnbzlw"
RFC_BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_y"
    "l95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
#: What the library http_ece 1.2.1 makes of this, for the keys 7 (browser) and 11 (sender) and the bytes 0 to 31.
OTHERS_MESSAGE = "Zürich → Köln 🚆".encode()
OTHERS_BODY = (
    "AAECAwQFBgcICQoLDA0ODwAAEABBBD7RE7eIO0xZBjg3nbDCHNoWdC7QJVBIv0MzkdN0vCHRkJkgmszEyKIkyEOvpPTGigkNBNpemIna4vju_O"
    "gqN0Bh7bWg1GefyZKmBLCOTMC652Q9OlDe_N4L7AjAc4eIO8jyGVVoPKw"
)


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def key_of(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(decoded(text)), ec.SECP256R1())


def test_the_rfcs_own_example_comes_out_byte_for_byte() -> None:
    sender, salt = key_of(RFC_SENDER), decoded(RFC_SALT)

    body = encrypt(RFC_MESSAGE, decoded(RFC_BROWSER_PUBLIC), decoded(RFC_AUTH), private_key=sender, salt=salt)

    assert encoded(body) == RFC_BODY


def test_the_sandboxs_browser_reads_the_rfcs_own_example() -> None:
    assert decrypted(decoded(RFC_BODY), Browser(key_of(RFC_BROWSER), decoded(RFC_AUTH))) == RFC_MESSAGE


def test_another_library_encrypts_alike() -> None:
    browser, sender = (ec.derive_private_key(number, ec.SECP256R1()) for number in (7, 11))
    salt, auth = bytes(range(16)), bytes(range(16, 32))

    body = encrypt(OTHERS_MESSAGE, public_bytes(browser), auth, private_key=sender, salt=salt)

    assert encoded(body) == OTHERS_BODY
    assert decrypted(body, Browser(browser, auth)) == OTHERS_MESSAGE


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=MAX_PLAINTEXT), st.text(min_size=16, max_size=20))
def test_whatever_is_encrypted_is_read_by_its_browser_and_no_other(message: bytes, name: str) -> None:
    browser = Browser.of(name)

    body = encrypt(message, public_bytes(browser.key), browser.auth)

    assert decrypted(body, browser) == message
    with pytest.raises(NotForUs):
        decrypted(body, Browser.of(f"{name}'s neighbour"))
    with pytest.raises(NotForUs):
        decrypted(body, Browser(browser.key, bytes(16)))


def test_the_longest_message_makes_one_record_that_every_push_service_takes() -> None:
    browser = Browser.of("somebody")

    body = encrypt(b"x" * MAX_PLAINTEXT, public_bytes(browser.key), browser.auth)

    assert len(body) == RECORD_SIZE == 4096


def test_no_two_messages_share_a_key() -> None:
    browser = Browser.of("somebody")
    bodies = [encrypt(b"the same", public_bytes(browser.key), browser.auth) for _ in range(20)]

    assert len({body[:16] for body in bodies}) == len({body[21:86] for body in bodies}) == 20


@pytest.mark.parametrize("p256dh", [b"", b"\4" + bytes(64), b"\4" + b"\xff" * 64])
def test_a_key_that_is_no_point_of_the_curve_is_refused(p256dh: bytes) -> None:
    with pytest.raises(ValueError):
        encrypt(b"x", p256dh, bytes(16))
