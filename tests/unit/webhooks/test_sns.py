"""SNS's envelope: which signatures, topics and addresses count."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from app.webhooks.events import NotGenuine
from app.webhooks.sns import FRESH_MS, check_envelope, check_signature, check_url, read_envelope
from tests.unit.webhooks import signing
from tests.unit.webhooks.signing import NOW, TOPIC, sns_signer

CERT = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem"


def taken(said: Any, hosts: tuple[str, ...] = ()) -> None:
    envelope = read_envelope(json.dumps(said).encode())
    check_envelope(envelope, (TOPIC,), hosts, NOW)
    check_signature(envelope, sns_signer().key.public_key())


def refused(said: Any) -> str:
    with pytest.raises(NotGenuine) as error:
        taken(said)
    return error.value.why


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("more", [{}, {"Subject": "Amazon SES Email Event Notification"}])
def test_both_versions_of_the_signature_count_with_and_without_a_subject(version: str, more: Any) -> None:
    taken(signing.sns({"eventType": "Send"}, CERT, version=version, **more))


def test_a_subscription_is_signed_with_its_address_and_token() -> None:
    said = signing.sns(
        "You have chosen to subscribe",
        CERT,
        Type="SubscriptionConfirmation",
        SubscribeURL="https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription",
        Token="t",
    )
    taken(said)
    for name in ("SubscribeURL", "Token"):
        assert "signature" in refused(said | {name: "other"})


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp", "Subject"])
def test_nothing_that_is_signed_can_be_changed(name: str) -> None:
    said = signing.sns("m", CERT, Subject="s")

    assert refused(said | {name: "2026-11-30T00:00:00.000Z" if name == "Timestamp" else "other"})


def test_a_subject_that_was_added_is_refused() -> None:
    assert "signature" in refused(signing.sns("m", CERT) | {"Subject": "s"})


def test_a_signature_by_another_key_is_refused() -> None:
    key = rsa.generate_private_key(65537, 2048)

    assert "signature" in refused(signing.sns("m", CERT, key=key))


def test_another_topic_is_refused_before_anybody_is_called() -> None:
    assert "topic" in refused(signing.sns("m", "https://attacker.example/c.pem", TopicArn=f"{TOPIC}x"))


@pytest.mark.parametrize("version", ["", "0", "3", "SHA256"])
def test_another_version_is_refused(version: str) -> None:
    assert "version" in refused(signing.sns("m", CERT) | {"SignatureVersion": version})


def test_a_message_is_good_for_an_hour() -> None:
    taken(signing.sns("m", CERT, at_ms=NOW - FRESH_MS + 1_000))
    for at_ms in (NOW - FRESH_MS - 1_000, NOW + FRESH_MS + 1_000):
        assert "time" in refused(signing.sns("m", CERT, at_ms=at_ms))


@pytest.mark.parametrize(
    "change",
    [
        lambda said: {},
        lambda said: [],
        lambda said: said | {"Type": "Other"},
        lambda said: said | {"Type": ["Notification"]},
        lambda said: said | {"Signature": "é"},
        lambda said: said | {"Signature": "A"},
        lambda said: said | {"Message": 7},
        lambda said: said | {"Timestamp": "now"},
        *(
            lambda said, name=name: {each: value for each, value in said.items() if each != name}
            for name in ("Type", "MessageId", "TopicArn", "Message", "Timestamp", "SignatureVersion", "Signature")
        ),
        lambda said: {each: value for each, value in said.items() if each != "SigningCertURL"},
    ],
)
def test_what_sns_does_not_send_is_refused(change: Callable[[Any], Any]) -> None:
    assert refused(change(signing.sns("m", CERT)))


@pytest.mark.parametrize("body", [b"", b"null", b"\xff", b"{", b'{"a":' * 9_000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(NotGenuine):
        read_envelope(body)


@pytest.mark.parametrize(
    "url",
    [
        CERT,
        CERT.replace("us-east-1", "eu-central-2"),
        CERT.replace("us-east-1", "us-gov-west-1"),
        CERT.replace("us-east-1.amazonaws.com", "cn-north-1.amazonaws.com.cn"),
    ],
)
def test_amazons_own_addresses_count(url: str) -> None:
    check_url(url, (), "it", of_certificate=True)


@pytest.mark.parametrize(
    "url",
    [
        CERT.replace("https", "http"),
        CERT.replace(".com/", ".com:443/"),
        CERT.replace(".com/", ".com:8443/"),
        CERT.replace("://", "://user@"),
        CERT.replace("://", "://user:p@"),
        CERT.replace("amazonaws.com", "amazonaws.com.attacker.example"),
        CERT.replace("sns.", "sns."[:-1] + "x."),
        CERT.replace("sns.us-east-1.amazonaws.com", "attacker.example"),
        CERT.replace("sns.us-east-1", "bucket.s3"),
        CERT.replace("sns.us-east-1.amazonaws.com", "SNS.us-east-1.amazonaws.com"),
        CERT.replace("sns.us-east-1.amazonaws.com", "sns.us-east-1.amazonaws.com\\@attacker.example"),
        CERT.replace("sns.us-east-1.amazonaws.com", "169.254.169.254"),
        CERT.replace("sns.us-east-1.amazonaws.com", "[::1]"),
        CERT.replace("SimpleNotificationService-", "../x/SimpleNotificationService-"),
        CERT.replace(".pem", ".pem.txt"),
        CERT + "?a=b",
        CERT + "#a",
        CERT + "\n",
        "https://sns.us-east-1.amazonaws.com/other.pem",
        "file:///etc/passwd",
        "//sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.us-east-1.amazonaws.com:port/x.pem",
        "https://[/x.pem",
        "",
        "x" * 5_000,
    ],
)
def test_no_other_address_is_called(url: str) -> None:
    with pytest.raises(NotGenuine):
        check_url(url, (), "it", of_certificate=True)


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://sns.vpce.example/a.pem", True),
        ("https://sns.vpce.example:443/a.pem", True),
        ("https://sns.vpce.example:8443/a.pem", False),
        ("http://sns.vpce.example/a.pem", False),
        ("https://sns.vpce.example/a.txt", False),
        ("https://x.sns.vpce.example/a.pem", False),
        ("https://other.example:9443/a.pem", True),
        ("https://other.example/a.pem", False),
        ("http://127.0.0.1:1234/a.pem", True),
        ("http://user@127.0.0.1:1234/a.pem", False),
        (CERT, False),
    ],
)
def test_hosts_that_are_set_take_the_place_of_amazons(url: str, is_allowed: bool) -> None:
    hosts = ("sns.vpce.example", "other.example:9443", "127.0.0.1")
    if is_allowed:
        check_url(url, hosts, "it", of_certificate=True)
    else:
        with pytest.raises(NotGenuine):
            check_url(url, hosts, "it", of_certificate=True)
