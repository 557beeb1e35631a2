"""FCM v1's rules: the discovery document's and those that it can't state."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from app.sandbox.exchange import Judged, Request
from app.sandbox.fcm import PROJECT, Fcm
from app.sandbox.journal import Journal
from tests.unit.sandbox.requests import NOW_S, SEND_ID, at, body_of, now_s

TOKEN = "t" * 140


@pytest.fixture
def vendor(tmp_path: Path) -> Fcm:
    vendor = Fcm(tmp_path, Journal(tmp_path))
    vendor.open_at("127.0.0.1", 4430, "ca.pem")
    return vendor


def account(folder: Path) -> Any:
    return json.loads((folder / "fcm-service-account.json").read_text())


def assertion(folder: Path, **claims: Any) -> str:
    given = account(folder)
    standard = {
        "iss": given["client_email"],
        "aud": given["token_uri"],
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "iat": now_s(),
        "exp": now_s() + 3600,
    }
    return jwt.encode({**standard, **claims}, given["private_key"], "RS256")


def token_answer(vendor: Fcm, grant: str) -> Judged:
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": grant}
    return vendor.judge(Request("POST", "/token", "", (), urlencode(form).encode()), at())


@pytest.fixture
def bearer(vendor: Fcm, tmp_path: Path) -> str:
    return str(body_of(token_answer(vendor, assertion(tmp_path)).reply.body)["access_token"])


def send(vendor: Fcm, bearer: str, body: Any, project: str = PROJECT, seconds: int = NOW_S) -> Judged:
    headers = (("authorization", f"Bearer {bearer}"),)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return vendor.judge(Request("POST", f"/v1/projects/{project}/messages:send", "", headers, content), at(seconds))


def test_a_right_message_is_accepted_under_its_send_id(vendor: Fcm, bearer: str) -> None:
    message = {
        "token": TOKEN,
        "notification": {"title": "Gate 7", "body": "Boarding"},
        "data": {"send_id": SEND_ID, "notification_id": "n-1", "attempt": "2"},
        "android": {"ttl": "60s", "collapse_key": "one", "notification": {"tag": "two"}},
    }
    judged = send(vendor, bearer, {"message": message})

    assert judged.code is None
    assert body_of(judged.reply.body)["name"].startswith(f"projects/{PROJECT}/messages/")
    named = (judged.address, judged.send_id, judged.notification_id, judged.attempt)
    assert named == (TOKEN, SEND_ID, "n-1", 2)
    assert judged.shown is not None
    shown = (judged.shown.title, judged.shown.body, judged.shown.collapse_id, judged.shown.expiration)
    assert shown == ("Gate 7", "Boarding", "two", NOW_S + 60)


def test_on_an_iphone_behind_fcm_apples_collapse_id_replaces(vendor: Fcm, bearer: str) -> None:
    judged = send(vendor, bearer, {"message": {"token": TOKEN, "apns": {"headers": {"apns-collapse-id": "one"}}}})

    assert judged.shown is not None
    assert judged.shown.collapse_id == "one"


def test_validate_only_is_answered_but_nothing_accepted(vendor: Fcm, bearer: str) -> None:
    judged = send(vendor, bearer, {"validate_only": True, "message": {"token": TOKEN}})

    assert (judged.reply.status, judged.shown) == (200, None)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("message", {"token": TOKEN, "colour": "red"}),
        ("message.android", {"token": TOKEN, "android": {"time_to_live": "60s"}}),
        ("message.android.ttl", {"token": TOKEN, "android": {"ttl": 60}}),
        ("message.android.ttl", {"token": TOKEN, "android": {"ttl": "a minute"}}),
        ("message.android.ttl", {"token": TOKEN, "android": {"ttl": "2419201s"}}),
        ("message.android.priority", {"token": TOKEN, "android": {"priority": "urgent"}}),
        ("message.data.count", {"token": TOKEN, "data": {"count": 7}}),
        ("message.data", {"token": TOKEN, "data": {"google.id": "7"}}),
        ("message.notification.title", {"token": TOKEN, "notification": {"title": ["a"]}}),
        ("message.token", {"token": "short"}),
        ("message", {"notification": {"title": "to nobody"}}),
        ("message", {"token": TOKEN, "topic": "news"}),
        ("message", {"token": TOKEN, "data": {"text": "x" * 4096}}),
        ("message", ["not", "an", "object"]),
    ],
)
def test_a_wrong_message_is_an_invalid_argument_that_names_the_field(
    vendor: Fcm, bearer: str, field: str, message: Any
) -> None:
    judged = send(vendor, bearer, {"message": message})

    assert (judged.code, judged.reply.status) == ("INVALID_ARGUMENT", 400)
    error = body_of(judged.reply.body)["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    violations = [v for d in error["details"] if d["@type"].endswith("BadRequest") for v in d["fieldViolations"]]
    assert [violation["field"] for violation in violations] == [field]


def test_what_is_no_json_is_an_invalid_argument(vendor: Fcm, bearer: str) -> None:
    assert send(vendor, bearer, b"{").code == "INVALID_ARGUMENT"


def test_free_form_parts_may_hold_anything(vendor: Fcm, bearer: str) -> None:
    apns = {"headers": {"apns-priority": "5"}, "payload": {"aps": {"content-available": 1}, "my_own": [1, None]}}

    assert send(vendor, bearer, {"message": {"token": TOKEN, "apns": apns}}).code is None


def test_another_project_is_denied(vendor: Fcm, bearer: str) -> None:
    judged = send(vendor, bearer, {"message": {"token": TOKEN}}, project="other")

    assert (judged.code, judged.reply.status) == ("PERMISSION_DENIED", 403)


@pytest.mark.parametrize("bearer", ["", "ya29.made-up", "ya29." + jwt.encode({"exp": 9**11}, "k" * 32, "HS256")])
def test_an_access_token_of_elsewhere_is_unauthenticated(vendor: Fcm, bearer: str) -> None:
    judged = send(vendor, bearer, {"message": {"token": TOKEN}})

    assert (judged.code, judged.reply.status) == ("UNAUTHENTICATED", 401)
    assert "details" not in body_of(judged.reply.body)["error"]


def test_an_access_token_lasts_an_hour(vendor: Fcm, bearer: str) -> None:
    body = {"message": {"token": TOKEN}}

    assert send(vendor, bearer, body, seconds=NOW_S + 3599).code is None
    assert send(vendor, bearer, body, seconds=NOW_S + 3600).code == "UNAUTHENTICATED"


def test_an_access_token_outlives_a_restart(vendor: Fcm, bearer: str, tmp_path: Path) -> None:
    again = Fcm(tmp_path, Journal(tmp_path))
    again.open_at("127.0.0.1", 4430, "ca.pem")

    assert send(again, bearer, {"message": {"token": TOKEN}}).code is None


@pytest.mark.parametrize(
    ("kind", "claims"),
    [
        ("invalid_grant", {"aud": "https://elsewhere.example/token"}),
        ("invalid_grant", {"iss": "somebody@else.example"}),
        ("invalid_grant", {"exp": 1}),
        ("invalid_scope", {"scope": "https://www.googleapis.com/auth/drive"}),
    ],
)
def test_a_grant_must_be_for_us_from_the_account_in_time_and_in_scope(
    vendor: Fcm, tmp_path: Path, kind: str, claims: dict[str, Any]
) -> None:
    judged = token_answer(vendor, assertion(tmp_path, **claims))

    assert (judged.code, judged.reply.status, body_of(judged.reply.body)["error"]) == (kind, 400, kind)


def test_a_grant_signed_by_another_key_is_invalid(vendor: Fcm, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Fcm(elsewhere, Journal(elsewhere)).open_at("127.0.0.1", 4430, "ca.pem")

    judged = token_answer(vendor, assertion(elsewhere))

    assert body_of(judged.reply.body) == {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}


def test_unregistered_carries_fcms_own_code_beside_googles(vendor: Fcm, bearer: str) -> None:
    reply = vendor.failure("UNREGISTERED", send(vendor, bearer, {"message": {"token": TOKEN}}), 0)

    error = body_of(reply.body)["error"]
    assert (reply.status, error["code"], error["status"]) == (404, 404, "NOT_FOUND")
    assert [detail.get("errorCode") for detail in error["details"]] == ["UNREGISTERED"]
