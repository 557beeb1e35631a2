"""SendGrid's events: whose signature counts, and what each of them comes to."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sendgrid.helpers.eventwebhook import EventWebhook

from app.config.values import ecdsa_public_key
from app.webhooks.events import FRESH_MS, NoInterest, NotGenuine, Report
from app.webhooks.sendgrid import SIGNATURE, TIMESTAMP, events_of, verify
from tests.unit.webhooks import signing
from tests.unit.webhooks.signing import NOW, SEND_ID, SENDGRID_KEY, posted, sendgrid_event


def verified(body: bytes, headers: dict[str, str], now_ms: int = NOW) -> None:
    verify(posted(body, headers), SENDGRID_KEY.public_key(), now_ms)


def refused(body: bytes, headers: dict[str, str]) -> str:
    with pytest.raises(NotGenuine) as error:
        verified(body, headers)
    return error.value.why


def test_what_sendgrids_own_verifier_takes_is_taken() -> None:
    body, headers = signing.sendgrid([sendgrid_event("delivered")])

    own = EventWebhook(signing.sendgrid_public_key())
    assert own.verify_signature(body.decode(), headers[SIGNATURE], headers[TIMESTAMP])
    verified(body, headers)


def test_the_key_may_be_written_as_sendgrid_shows_it_or_as_pem() -> None:
    shown = signing.sendgrid_public_key()
    pem = f"-----BEGIN PUBLIC KEY-----\n{shown}\n-----END PUBLIC KEY-----\n"

    assert ecdsa_public_key(shown) == ecdsa_public_key(pem) == SENDGRID_KEY.public_key()


@pytest.mark.parametrize("changed", [b" ", b'{"a":1}'])
def test_a_body_that_was_changed_by_a_byte_is_refused(changed: bytes) -> None:
    body, headers = signing.sendgrid([sendgrid_event("delivered")])

    assert "not SendGrid's" in refused(body + changed, headers)


def test_a_signature_by_another_key_is_refused() -> None:
    body, headers = signing.sendgrid([])
    other = ec.generate_private_key(ec.SECP256R1()).sign(headers[TIMESTAMP].encode() + body, ec.ECDSA(hashes.SHA256()))

    assert "not SendGrid's" in refused(body, headers | {SIGNATURE: base64.b64encode(other).decode()})


@pytest.mark.parametrize("name", [SIGNATURE, TIMESTAMP])
@pytest.mark.parametrize("value", [None, "", "?", "é", "12.5", "-1", "9" * 5_000, "====", "AAAA"])
def test_headers_that_are_missing_or_no_signature_are_refused(name: str, value: str | None) -> None:
    body, headers = signing.sendgrid([])
    changed = {each: said for each, said in headers.items() if each != name}

    assert refused(body, changed if value is None else changed | {name: value})


@pytest.mark.parametrize("age_ms", [FRESH_MS + 1000, -FRESH_MS - 1000, 24 * 3_600_000])
def test_a_signature_of_another_time_is_refused(age_ms: int) -> None:
    assert "time" in refused(*signing.sendgrid([], NOW - age_ms))


@pytest.mark.parametrize("age_ms", [0, FRESH_MS - 1000, -FRESH_MS + 1000])
def test_clocks_may_differ_by_some_minutes(age_ms: int) -> None:
    verified(*signing.sendgrid([], NOW - age_ms))


def events(*said: Any) -> Any:
    return events_of(signing.sendgrid(list(said))[0])


@pytest.mark.parametrize(
    ("event", "more", "status", "reason"),
    [
        ("delivered", {}, "delivered", None),
        ("open", {}, "opened", None),
        ("click", {"url": "https://shop.example/"}, "clicked", None),
        ("bounce", {"type": "bounce"}, "bounced", "hard"),
        ("bounce", {"type": "blocked"}, "bounced", "soft"),
        ("dropped", {"reason": "Bounced Address"}, "bounced", "hard"),
        ("dropped", {"reason": "Invalid"}, "bounced", "hard"),
        ("dropped", {"reason": "Invalid SMTPAPI header"}, "failed", "soft"),
        ("dropped", {"reason": "Unsubscribed Address"}, "unsubscribed", None),
        ("dropped", {"reason": "Spam Reporting Address"}, "complained", None),
        ("dropped", {"reason": "Recipient List over Package Quota"}, "failed", "soft"),
        ("dropped", {}, "failed", "soft"),
        ("spamreport", {}, "complained", None),
        ("unsubscribe", {}, "unsubscribed", None),
        ("group_unsubscribe", {"asm_group_id": 1}, "unsubscribed", None),
    ],
)
def test_an_event_that_ends_or_follows_a_send_is_a_report(event: str, more: Any, status: str, reason: Any) -> None:
    [report] = events(sendgrid_event(event, **more))

    assert isinstance(report, Report)
    assert (report.send_id, report.status, report.reason) == (SEND_ID, status, reason)
    assert report.at_ms == NOW - 5_000
    assert report.provider_message_id == "14c5d75ce93.dfd.64b469"


@pytest.mark.parametrize("event", ["processed", "deferred", "group_resubscribe", "account_status_change", "new_one"])
def test_other_events_are_of_no_interest(event: str) -> None:
    assert events(sendgrid_event(event)) == [NoInterest()]


def test_an_open_by_a_machine_says_so() -> None:
    [by_machine, by_person] = events(
        sendgrid_event("open", sg_machine_open=True), sendgrid_event("open", sg_machine_open=False)
    )

    assert (by_machine.is_machine, by_person.is_machine) == (True, False)


@pytest.mark.parametrize("event", ["open", "click"])
def test_what_fetched_it_is_known_by_its_user_agent(event: str) -> None:
    agents = ("Mozilla/5.0", "Barracuda Sentinel (EE)", "Mozilla/5.0 (X11; Linux) Firefox/145.0", None)
    read = events(*(sendgrid_event(event, useragent=agent) for agent in agents))

    assert [report.is_machine for report in read] == [True, True, False, False]


def test_one_bad_event_of_a_batch_harms_no_other() -> None:
    read = events(sendgrid_event("delivered"), 7, None, [], {"event": ["open"]}, "text", sendgrid_event("open"))

    assert [type(event) for event in read] == [Report, *[NoInterest] * 5, Report]
    assert not any(event.is_readable for event in read[1:-1])


def test_an_event_without_an_id_of_its_own_is_named_by_what_it_says() -> None:
    said = {**sendgrid_event("open"), "sg_event_id": None}
    [one, again, later] = events(said, said, {**said, "timestamp": NOW // 1000})

    assert one.event_id == again.event_id != later.event_id


def test_an_event_of_another_application_has_no_send() -> None:
    [report] = events({**sendgrid_event("delivered"), "send_id": "order-4711"})

    assert report.send_id is None
