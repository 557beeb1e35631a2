"""What each event of SES comes to."""

import json
from typing import Any

import pytest

from app.webhooks.events import NoInterest, Report
from app.webhooks.ses import events_of
from tests.unit.webhooks.signing import NOW, SEND_ID, ses_event


def events(said: Any) -> Any:
    return events_of(json.dumps(said))


@pytest.mark.parametrize(
    ("kind", "part", "status", "reason"),
    [
        ("Delivery", {}, "delivered", None),
        ("Open", {}, "opened", None),
        ("Click", {"link": "https://shop.example/"}, "clicked", None),
        ("Bounce", {"bounceType": "Permanent", "bounceSubType": "General"}, "bounced", "hard"),
        ("Bounce", {"bounceType": "Permanent", "bounceSubType": "OnAccountSuppressionList"}, "bounced", "hard"),
        ("Bounce", {"bounceType": "Transient", "bounceSubType": "MailboxFull"}, "bounced", "soft"),
        ("Bounce", {"bounceType": "Undetermined"}, "bounced", "soft"),
        ("Bounce", {}, "bounced", "soft"),
        ("Complaint", {"complaintFeedbackType": "abuse"}, "complained", None),
        ("Complaint", {}, "complained", None),
        ("Reject", {"reason": "Bad content"}, "failed", "soft"),
        ("Rendering Failure", {"errorMessage": "…"}, "failed", "soft"),
        ("Subscription", {"newTopicPreferences": {"unsubscribeAll": True}}, "unsubscribed", None),
        (
            "Subscription",
            {"newTopicPreferences": {"topicSubscriptionStatus": [{"topicName": "a", "subscriptionStatus": "OptOut"}]}},
            "unsubscribed",
            None,
        ),
    ],
)
def test_an_event_that_ends_or_follows_a_send_is_a_report(kind: str, part: Any, status: str, reason: Any) -> None:
    [report] = events(ses_event(kind, part))

    assert isinstance(report, Report)
    assert (report.send_id, report.status, report.reason) == (SEND_ID, status, reason)
    assert report.at_ms == NOW - 5_000
    assert report.provider_message_id == "EXAMPLE7c191be45-e9aedb9a-02f9-4d12"


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("Send", {}),
        ("DeliveryDelay", {}),
        ("New One", {}),
        ("Complaint", {"complaintFeedbackType": "not-spam"}),
        ("Subscription", {"newTopicPreferences": {"unsubscribeAll": False, "topicSubscriptionStatus": []}}),
    ],
)
def test_other_events_are_of_no_interest(kind: str, part: Any) -> None:
    assert events(ses_event(kind, part)) == [NoInterest()]


def test_the_form_of_a_verified_identitys_feedback_is_read_too() -> None:
    said = ses_event("Delivery")
    said["notificationType"] = said.pop("eventType")

    assert events(said)[0].status == "delivered"


def test_each_open_and_each_link_clicked_is_an_event_of_its_own() -> None:
    said = [
        ses_event("Open"),
        ses_event("Open"),
        ses_event("Open", {"timestamp": "2026-11-30T00:00:00Z"}),
        ses_event("Click", {"link": "https://a.example/"}),
        ses_event("Click", {"link": "https://b.example/"}),
    ]

    assert len({events(each)[0].event_id for each in said}) == 4


@pytest.mark.parametrize("kind", ["Open", "Click"])
@pytest.mark.parametrize(
    ("agent", "is_machine"),
    [("Mozilla/5.0", True), ("python-requests/2.32", True), ("Mozilla/5.0 (X11) Firefox/145.0", False), (None, False)],
)
def test_what_fetched_it_is_known_by_its_user_agent(kind: str, agent: str | None, is_machine: bool) -> None:
    assert events(ses_event(kind, {"userAgent": agent}))[0].is_machine is is_machine


def test_the_same_feedback_is_the_same_event_whenever_it_is_said() -> None:
    one = ses_event("Bounce", {"feedbackId": "f", "timestamp": "2026-11-30T00:00:00Z"})
    two = ses_event("Bounce", {"feedbackId": "f", "timestamp": "2026-11-30T00:00:01Z"})

    assert events(one)[0].event_id == events(two)[0].event_id


@pytest.mark.parametrize(
    "tags", [None, {}, {"send_id": []}, {"send_id": "x"}, {"send_id": [7]}, {"send_id": ["x"]}, []]
)
def test_a_mail_without_our_tag_is_of_no_send(tags: Any) -> None:
    said = ses_event("Delivery")
    said["mail"]["tags"] = tags

    assert events(said)[0].send_id is None


@pytest.mark.parametrize(
    "message",
    ["Successfully validated SNS topic for Amazon SES event publishing.", "", "[]", "7", "{}", '{"eventType": {}}'],
)
def test_what_is_no_event_is_unreadable(message: str) -> None:
    assert events_of(message) == [NoInterest(is_readable=False)]
