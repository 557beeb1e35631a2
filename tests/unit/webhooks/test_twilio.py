"""Twilio's callbacks: whose signature counts, and what each status and text comes to."""

from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import pytest
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from app.webhooks.events import InboundText, NoInterest, NotGenuine, Report
from app.webhooks.twilio import SIGNATURE, events_of, verified
from tests.unit.webhooks import signing
from tests.unit.webhooks.signing import AUTH_TOKEN, PUBLIC_URL, SEND_ID, posted, twilio_status, twilio_text

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def events(fields: Any, query: str = f"?attempt=1&send_id={SEND_ID}") -> Any:
    body, headers, target = signing.twilio(fields, query)
    request = posted(body, headers, f"{PUBLIC_URL}{target}")
    return events_of(request, verified(request, AUTH_TOKEN))


def refused(body: bytes, headers: dict[str, str], url: str) -> str:
    with pytest.raises(NotGenuine) as error:
        verified(posted(body, headers, url), AUTH_TOKEN)
    return error.value.why


def test_twilios_documented_example_is_taken() -> None:
    # From the tests of Twilio's own library.
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    request = posted(urlencode(fields).encode(), FORM | {SIGNATURE: "RSOYDt4T1cUTdK1PDd93/VVr8B8="}, url)

    assert dict(verified(request, "12345")) == fields


def test_blank_and_repeated_fields_are_signed_like_all_others() -> None:
    fields = [*twilio_status("delivered"), ("Blank", ""), ("MediaUrl", "b"), ("MediaUrl", "a"), ("MediaUrl", "b")]

    assert isinstance(events(fields)[0], Report)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("body", lambda body, headers, url: (body + b"&MessageStatus=failed", headers, url)),
        ("url", lambda body, headers, url: (body, headers, url.replace("attempt=1", "attempt=2"))),
        ("host", lambda body, headers, url: (body, headers, url.replace("n.example", "m.example"))),
        ("none", lambda body, headers, url: (body, FORM, url)),
        ("empty", lambda body, headers, url: (body, headers | {SIGNATURE: ""}, url)),
        ("other", lambda body, headers, url: (body, headers | {SIGNATURE: "A" * 28}, url)),
        ("not ascii", lambda body, headers, url: (body, headers | {SIGNATURE: "é" * 28}, url)),
        ("not utf-8", lambda body, headers, url: (b"Body=\xff", headers, url)),
        ("escaped", lambda body, headers, url: (b"Body=%ff", headers, url)),
        ("many", lambda body, headers, url: (b"a=&" * 5_000, headers, url)),
        ("surrogates", lambda body, headers, url: (body, headers, f"{url}\udcff")),
        ("port", lambda body, headers, url: (body, headers, "https://n.example:99999999/")),
    ],
)
def test_what_twilio_did_not_sign_is_refused(name: str, change: Any) -> None:
    body, headers, target = signing.twilio(twilio_status("delivered"))

    assert refused(*change(body, headers, f"{PUBLIC_URL}{target}"))


@pytest.mark.parametrize("query", ["", f"?bodySHA256={sha256(b'{}').hexdigest()}"])
def test_a_body_that_is_no_form_is_refused_however_it_is_signed(query: str) -> None:
    url = f"{PUBLIC_URL}/v1/webhooks/twilio{query}"
    signature = RequestValidator(AUTH_TOKEN).compute_signature(url, {})

    assert "form" in refused(b"{}", {"Content-Type": "application/json", SIGNATURE: signature}, url)


@pytest.mark.parametrize("url", [f"{PUBLIC_URL}:443", PUBLIC_URL])
def test_the_ports_default_may_stand_in_the_url_or_not(url: str) -> None:
    body, headers, target = signing.twilio(twilio_status("delivered"), public_url=url)

    assert verified(posted(body, headers, f"{PUBLIC_URL}{target}"), AUTH_TOKEN)


@pytest.mark.parametrize(
    ("status", "code", "reported", "reason"),
    [
        ("delivered", "", "delivered", None),
        ("read", "", "read", None),
        *(("undelivered", code, "bounced", "hard") for code in ("30004", "30005", "30006", "21211", "21614")),
        *(("undelivered", code, "failed", "soft") for code in ("", "30003", "30007", "30008", "30034", "x")),
        ("failed", "30003", "failed", "soft"),
        ("failed", "21610", "unsubscribed", "stop"),
    ],
)
def test_a_final_status_is_a_report(status: str, code: str, reported: str, reason: str | None) -> None:
    [report] = events(twilio_status(status, **({"ErrorCode": code} if code else {})))

    assert (report.send_id, report.status, report.reason) == (SEND_ID, reported, reason)
    assert report.provider_message_id == "SM1"


@pytest.mark.parametrize(
    "status", ["accepted", "scheduled", "queued", "sending", "sent", "canceled", "partially_delivered", "new_one"]
)
def test_statuses_that_end_nothing_are_of_no_interest(status: str) -> None:
    assert events(twilio_status(status)) == [NoInterest()]


def test_the_same_status_again_is_the_same_event_and_another_is_not() -> None:
    names = {events(twilio_status(status))[0].event_id for status in ("delivered", "delivered", "read")}

    assert len(names) == 2


def test_a_callback_whose_url_names_no_send_is_of_none() -> None:
    assert events(twilio_status("delivered"), "")[0].send_id is None


@pytest.mark.parametrize(
    ("said", "more", "opt_out"),
    [
        ("STOP", {}, "stop"),
        ("Start", {}, "start"),
        ("When does my parcel arrive?", {}, None),
        ("Schluss", {"OptOutType": "STOP"}, "stop"),
        ("STOP", {"OptOutType": "HELP"}, None),
        ("HELP", {}, None),
    ],
)
def test_an_inbound_text_is_read_for_opting_out_alone(said: str, more: Any, opt_out: str | None) -> None:
    [text] = events(twilio_text(said, **more), "")

    assert isinstance(text, InboundText)
    assert (text.number, text.opt_out) == ("+14155550100", opt_out)
    assert said not in text.event_id


@pytest.mark.parametrize("fields", [[], [("Body", "STOP")], [("MessageSid", "SM1")]])
def test_what_names_no_message_or_status_is_unreadable(fields: Any) -> None:
    assert events(fields) == [NoInterest(is_readable=False)]


def test_the_librarys_own_signer_and_ours_see_a_form_alike() -> None:
    fields = MultiDict([("b", "2"), ("a", "ä+ &=%"), ("b", "1")])
    body, headers, target = signing.twilio(list(fields.items()))

    assert verified(posted(body, headers, f"{PUBLIC_URL}{target}"), AUTH_TOKEN) == fields
