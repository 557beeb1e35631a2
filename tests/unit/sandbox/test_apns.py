"""APNs' rules, as Apple states them."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.sandbox.apns import Apns
from app.sandbox.certificates import new_ec_key
from app.sandbox.journal import Journal
from tests.unit.sandbox.requests import DEVICE, NOW_S, SEND_ID, at, body_of, provider_token, push


@pytest.fixture
def vendor(tmp_path: Path) -> Apns:
    return Apns(tmp_path, Journal(tmp_path))


@pytest.fixture
def token(vendor: Apns) -> str:
    return provider_token(Path(vendor.open_at("127.0.0.1", 1, "ca.pem")["key_file"]))


def test_a_right_push_is_accepted_and_answered_with_its_apns_id(vendor: Apns, token: str) -> None:
    judged = vendor.judge(push(token), at())

    assert judged.code is None
    assert (judged.reply.status, judged.reply.body, judged.reply.headers) == (200, b"", {"apns-id": SEND_ID})
    assert (judged.address, judged.send_id, judged.notification_id) == (DEVICE, SEND_ID, "n-1")
    assert judged.shown is not None
    shown = (judged.shown.title, judged.shown.body, judged.shown.collapse_id, judged.shown.expiration)
    assert shown == ("Gate 7", "Boarding", "one", NOW_S + 60)


def test_the_payloads_send_id_names_the_send_when_the_apns_id_is_another(vendor: Apns, token: str) -> None:
    judged = vendor.judge(push(token, apns_id="00000000-0000-4000-8000-000000000000"), at())

    assert judged.send_id == SEND_ID


def test_an_apns_id_is_made_where_none_is_given(vendor: Apns, token: str) -> None:
    judged = vendor.judge(push(token, apns_id=None, body={"aps": {"alert": "hello"}}), at())

    assert judged.code is None
    assert judged.reply.headers["apns-id"] == str(at().id).upper()
    assert judged.send_id is None


@pytest.mark.parametrize(
    ("reason", "status", "changes"),
    [
        ("MissingProviderToken", 403, {"authorization": None}),
        ("MissingProviderToken", 403, {"authorization": "basic abc"}),
        ("InvalidProviderToken", 403, {"authorization": "bearer not.a.token"}),
        ("BadPath", 404, {"path": "/4/device/" + DEVICE}),
        ("MissingDeviceToken", 400, {"path": "/3/device/"}),
        ("BadDeviceToken", 400, {"path": "/3/device/" + "zz" * 32}),
        ("BadDeviceToken", 400, {"path": "/3/device/abcd"}),
        ("BadMessageId", 400, {"apns_id": "17"}),
        ("BadMessageId", 400, {"apns_id": SEND_ID.replace("-", "")}),
        ("MissingTopic", 400, {"apns_topic": None}),
        ("BadTopic", 400, {"apns_topic": "not a topic"}),
        ("TopicDisallowed", 400, {"apns_topic": "com.example.other"}),
        ("TopicDisallowed", 400, {"apns_push_type": "voip"}),
        ("InvalidPushType", 400, {"apns_push_type": "loud"}),
        ("BadPriority", 400, {"apns_priority": "7"}),
        ("BadPriority", 400, {"apns_priority": "10", "apns_push_type": "background"}),
        ("BadExpirationDate", 400, {"apns_expiration": "tomorrow"}),
        ("BadExpirationDate", 400, {"apns_expiration": "-1"}),
        ("BadCollapseId", 400, {"apns_collapse_id": "é" * 33}),
        ("BadCollapseId", 400, {"apns_collapse_id": ""}),
        ("PayloadEmpty", 400, {"body": b""}),
        ("PayloadEmpty", 400, {"body": b"{}"}),
        ("PayloadEmpty", 400, {"body": b"not json"}),
        ("PayloadTooLarge", 413, {"body": b'{"aps":{"alert":"' + b"x" * 4080 + b'"}}'}),
    ],
)
def test_a_wrong_push_gets_apples_reason(vendor: Apns, token: str, reason: str, status: int, changes: dict) -> None:  # type: ignore[type-arg]
    judged = vendor.judge(push(token, **changes), at())

    assert (judged.code, judged.reply.status, body_of(judged.reply.body)) == (reason, status, {"reason": reason})
    assert judged.shown is None


def test_4096_bytes_and_64_bytes_of_collapse_id_are_just_right(vendor: Apns, token: str) -> None:
    body = b'{"aps":{"alert":"' + b"x" * 4076 + b'"}}'
    assert len(body) == 4096

    assert vendor.judge(push(token, body=body, apns_collapse_id="é" * 32), at()).code is None


def test_a_repeated_header_is_refused(vendor: Apns, token: str) -> None:
    request = push(token)
    twice = replace(request, headers=(*request.headers, ("apns-priority", "10")))

    assert vendor.judge(twice, at()).code == "DuplicateHeaders"


def test_only_post_is_allowed(vendor: Apns, token: str) -> None:
    assert vendor.judge(replace(push(token), method="GET"), at()).code == "MethodNotAllowed"


@pytest.mark.parametrize(
    ("reason", "claims"),
    [
        ("ExpiredProviderToken", {"iat": NOW_S - 3601}),
        ("InvalidProviderToken", {"iat": NOW_S + 61}),
        ("InvalidProviderToken", {"iss": "OTHERTEAM1"}),
        ("InvalidProviderToken", {"kid": "OTHERKEY12"}),
    ],
)
def test_a_token_must_name_key_and_team_and_be_an_hour_old_at_most(vendor: Apns, reason: str, claims: dict) -> None:  # type: ignore[type-arg]
    token = provider_token(Path(vendor.open_at("127.0.0.1", 1, "ca.pem")["key_file"]), **claims)

    assert vendor.judge(push(token), at()).code == reason


def test_a_token_that_was_genuine_expires_all_the_same(vendor: Apns, token: str) -> None:
    assert vendor.judge(push(token), at(NOW_S + 3600)).code is None
    assert vendor.judge(push(token), at(NOW_S + 3601)).code == "ExpiredProviderToken"


def test_a_token_signed_by_another_key_is_invalid(vendor: Apns, tmp_path: Path) -> None:
    (tmp_path / "other.p8").write_bytes(new_ec_key())

    assert vendor.judge(push(provider_token(tmp_path / "other.p8")), at()).code == "InvalidProviderToken"


def test_unregistered_tells_since_when(vendor: Apns, token: str) -> None:
    reply = vendor.failure("Unregistered", vendor.judge(push(token), at()), since_ms=1_700_000_000_123)

    assert reply.status == 410
    assert body_of(reply.body) == {"reason": "Unregistered", "timestamp": 1_700_000_000_123}
    assert reply.headers["apns-id"] == SEND_ID
