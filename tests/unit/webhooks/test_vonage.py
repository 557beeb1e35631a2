"""Vonage's receipts and texts: whose signature counts, and what each status and text comes to."""

import json
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from vonage_http_client.auth import Auth
from vonage_jwt.verify_jwt import verify_signature

from app.webhooks.events import FRESH_MS, InboundText, NoInterest, NotGenuine, Report
from app.webhooks.vonage import events_of, verified
from schemas.decode import Invalid
from tests.unit.webhooks import signing
from tests.unit.webhooks.signing import API_KEY, NOW, SEND_ID, SIGNATURE_SECRET, posted, vonage_message, vonage_receipt

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def taken(body: bytes, headers: dict[str, str]) -> Any:
    return verified(posted(body, headers), SIGNATURE_SECRET, API_KEY, NOW)


def refused(body: bytes, headers: dict[str, str]) -> str:
    with pytest.raises(NotGenuine) as error:
        taken(body, headers)
    return error.value.why


def events(said: Any) -> Any:
    return events_of(taken(*signing.vonage(said)))


def signed_fields(said: dict[str, Any], method: Any = "sha256", at: Any = NOW // 1000) -> dict[str, Any]:
    """As the SMS API signs them."""
    fields = {**said, "nonce": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab", "timestamp": at}
    auth = Auth(api_key=API_KEY, signature_secret=SIGNATURE_SECRET, signature_method=method)
    return {**fields, "sig": auth.sign_params(dict(fields))}


def test_what_vonages_own_verifier_takes_is_taken() -> None:
    body, headers = signing.vonage(vonage_message("delivered"))

    assert verify_signature(headers["Authorization"].removeprefix("Bearer "), SIGNATURE_SECRET)
    assert taken(body, headers) == vonage_message("delivered")


@pytest.mark.parametrize("method", ["sha256", "sha512"])
@pytest.mark.parametrize("as_json", [True, False])
def test_fields_that_vonages_own_library_signs_are_taken(method: str, as_json: bool) -> None:
    fields = signed_fields(vonage_receipt("delivered", text="a=1&b=2"), method)
    assert Auth(
        api_key=API_KEY,
        signature_secret=SIGNATURE_SECRET,
        signature_method=method,
    ).check_signature(dict(fields))
    body = json.dumps(fields).encode() if as_json else urlencode(fields).encode()

    read = taken(body, {"Content-Type": "application/json"} if as_json else FORM)

    assert read["messageId"] == "0A0000001234567B"


@pytest.mark.parametrize("method", ["md5", "sha1"])
def test_weak_digests_are_refused(method: str) -> None:
    assert refused(urlencode(signed_fields(vonage_receipt("delivered"), method)).encode(), FORM)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed"},
        {"added": "1"},
        {"sig": "0" * 64},
        {"sig": "é" * 64},
        {"sig": ""},
        {"timestamp": "yesterday"},
        {"timestamp": ""},
    ],
)
def test_fields_that_vonage_did_not_sign_are_refused(changes: dict[str, str]) -> None:
    assert refused(urlencode(signed_fields(vonage_receipt("delivered")) | changes).encode(), FORM)


@pytest.mark.parametrize("sig", [None, 7, ["a"], {}])
def test_a_sig_that_is_no_text_is_refused(sig: Any) -> None:
    body = json.dumps({**signed_fields(vonage_receipt("delivered")), "sig": sig}).encode()

    assert refused(body, {"Content-Type": "application/json"})


@pytest.mark.parametrize("age_ms", [FRESH_MS + 2_000, -FRESH_MS - 2_000])
def test_signatures_of_another_time_are_refused(age_ms: int) -> None:
    assert "time" in refused(*signing.vonage(vonage_message("delivered"), NOW - age_ms))
    fields = signed_fields(vonage_receipt("delivered"), at=(NOW - age_ms) // 1000)
    assert "time" in refused(urlencode(fields).encode(), FORM)


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("no time", {"iat": None}),
        ("time as text", {"iat": "now"}),
        ("endless", {"iat": 1e400}),
        ("no hash", {"payload_hash": None}),
        ("another body's hash", {"payload_hash": "0" * 64}),
        ("hash of another kind", {"payload_hash": ["0"]}),
        ("another account", {"api_key": "ffffffff"}),
        ("expired", {"exp": NOW // 1000 - 3_600 * 24 * 3_650}),
    ],
)
def test_a_token_that_says_something_else_is_refused(name: str, claims: dict[str, Any]) -> None:
    assert refused(*signing.vonage(vonage_message("delivered"), **claims))


def test_a_token_of_an_account_that_it_does_not_name_is_taken() -> None:
    assert taken(*signing.vonage(vonage_message("delivered"), api_key=None))


def test_the_hash_may_be_written_in_upper_case() -> None:
    body, headers = signing.vonage(vonage_message("delivered"))
    claims = jwt.decode(headers["Authorization"][7:], options={"verify_signature": False})

    assert taken(*signing.vonage(body, payload_hash=claims["payload_hash"].upper()))


@pytest.mark.parametrize("secret", ["another secret that is long enough too", SIGNATURE_SECRET + "x"])
def test_a_token_by_another_secret_is_refused(secret: str) -> None:
    assert refused(*signing.vonage(vonage_message("delivered"), secret=secret))


def test_a_token_without_a_signature_is_refused() -> None:
    body, headers = signing.vonage(vonage_message("delivered"))
    claims = jwt.decode(headers["Authorization"][7:], options={"verify_signature": False})

    assert refused(body, headers | {"Authorization": f"Bearer {jwt.encode(claims, '', 'none')}"})


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer a.b.c", "Basic YTpi", "Bearer é.é.é", "Bearer " * 999])
def test_other_credentials_are_refused(authorization: str) -> None:
    body, headers = signing.vonage(vonage_message("delivered"))

    assert refused(body, headers | {"Authorization": authorization})


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null", b'{"a":' * 5_000])
def test_a_body_that_is_no_object_is_refused_and_malformed_where_it_is_signed(body: bytes) -> None:
    assert refused(body, {"Content-Type": "application/json"})
    with pytest.raises(Invalid):
        taken(*signing.vonage(body))


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        (vonage_receipt("delivered"), "delivered", None),
        (vonage_receipt("failed", **{"err-code": "1"}), "failed", "soft"),
        (vonage_receipt("rejected", **{"err-code": "6"}), "failed", "soft"),
        (vonage_receipt("expired", **{"err-code": "2"}), "failed", "soft"),
        *((vonage_receipt("failed", **{"err-code": code}), "bounced", "hard") for code in ("3", "4", "9")),
        (vonage_receipt("delivered", **{"err-code": "9"}), "delivered", None),
        (vonage_message("delivered"), "delivered", None),
        (vonage_message("read"), "read", None),
        (vonage_message("rejected", error={"type": "https://x/messages#1210", "title": "1210"}), "failed", "soft"),
        (vonage_message("undeliverable", error={"type": "https://x/messages#1190"}), "bounced", "hard"),
        (vonage_message("undeliverable", error={"title": "1240"}), "bounced", "hard"),
        (vonage_message("undeliverable", error=["1240"]), "failed", "soft"),
    ],
)
def test_a_final_status_is_a_report(said: Any, status: str, reason: str | None) -> None:
    [report] = events(said)

    assert isinstance(report, Report)
    assert (report.send_id, report.status, report.reason) == (SEND_ID, status, reason)
    assert report.at_ms is not None
    assert abs(report.at_ms - (NOW - 5_000)) < 1_000


@pytest.mark.parametrize("said", [vonage_receipt, vonage_message])
@pytest.mark.parametrize("status", ["accepted", "buffered", "submitted", "unknown", "new_one"])
def test_statuses_that_end_nothing_are_of_no_interest(said: Any, status: str) -> None:
    assert events(said(status)) == [NoInterest()]


def test_an_attempt_may_stand_beside_the_send() -> None:
    [report] = events(vonage_receipt("delivered", **{"client-ref": f"{SEND_ID}:2"}))

    assert report.send_id == SEND_ID


@pytest.mark.parametrize("ref", [None, "", "order-4711", f"x{SEND_ID}", f"{SEND_ID}0", 7, {}])
def test_a_reference_of_another_kind_names_no_send(ref: Any) -> None:
    [report] = events(vonage_receipt("delivered", **{"client-ref": ref}))

    assert report.send_id is None


@pytest.mark.parametrize(
    "said",
    [
        {"msisdn": "14155550100", "to": "447700900001", "messageId": "0B", "text": "Stop", "type": "text"},
        {"message_uuid": "u", "from": "14155550100", "to": "447700900001", "channel": "sms", "text": "STOP"},
    ],
)
def test_an_inbound_text_of_either_api_names_the_number_in_full(said: Any) -> None:
    [text] = events(said)

    assert isinstance(text, InboundText)
    assert (text.number, text.opt_out) == ("+14155550100", "stop")


def test_an_inbound_message_of_another_channel_opts_nobody_out_of_sms() -> None:
    [text] = events({"message_uuid": "u", "from": "14155550100", "channel": "whatsapp", "text": "STOP"})

    assert text.opt_out is None


@pytest.mark.parametrize("said", [{}, {"status": "delivered"}, {"messageId": "0B"}, {"messageId": {}, "msisdn": []}])
def test_what_names_no_message_or_number_is_unreadable(said: Any) -> None:
    assert events(said) == [NoInterest(is_readable=False)]
