"""Events of one recipient, read as sentences."""

from typing import Any

import pytest

from app.api.explain import explain


def event(status: str, channel: str | None = "push", **fields: Any) -> dict[str, Any]:
    return {"status": status, "channel": channel, "send_id": None, "reason": None, "detail": None, **fields}


ACCEPTED = event("accepted", None)


def summary(*events: dict[str, Any]) -> str:
    return explain([ACCEPTED, *events]).summary


def test_what_was_only_accepted_is_about_to_be_judged() -> None:
    assert summary() == "Accepted; not evaluated yet."


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([event("queued"), event("sending"), event("sent")], "Sent by push."),
        ([event("queued"), event("sent"), event("delivered"), event("opened")], "Sent by push (delivered, opened)."),
        ([event("queued"), event("opened")], "On its way by push."),
        ([event("held", reason="quiet_hours")], "Waiting to be sent by push: quiet hours."),
        (
            [event("held", reason="rate_cap"), event("queued"), event("sending")],
            "On its way by push, after waiting for rate cap.",
        ),
        ([event("queued"), event("retrying", reason="timeout")], "On its way by push: timeout."),
        ([event("queued"), event("held", reason="quiet_hours")], "Waiting to be sent by push: quiet hours."),
        ([event("suppressed", reason="opted_out")], "Not sent by push: opted out."),
        ([event("expired")], "Not sent by push: expired."),
        (
            [event("queued"), event("held", reason="provider_outage"), event("expired")],
            "Not sent by push: expired, after waiting for provider outage.",
        ),
        ([event("suppressed", None, reason="duplicate")], "Not sent: duplicate."),
        ([event("aggregated")], "Collected into a digest by push."),
        ([event("sending"), event("unknown")], "May have been sent by push: the provider never confirmed it."),
        ([event("scheduled", None), event("queued"), event("sent")], "Sent by push, after waiting for its time."),
    ],
)
def test_the_summary_says_what_it_came_to(events: list[dict[str, Any]], sentence: str) -> None:
    assert summary(*events) == sentence


def test_the_rule_that_stopped_it_speaks_for_itself() -> None:
    trail = [["dnd", True, "off"], ["preference", False, "channels.sms"], ["cap", True]]
    explained = explain([ACCEPTED, event("suppressed", "sms", reason="opted_out", detail={"trail": trail})])

    [stopping] = [entry for entry in explained.channels["sms"].trail if entry["answer"] is False]
    assert stopping["rule"] == "preference"
    assert explained.summary == f"Not sent by sms: {stopping['words']}."


PAUSED = ["provider", "wait", "paused", "fcm", 1_780_000_000_000, "ticket 4711"]
DECIDED = [["dnd", True, "off"], ["cap", True]]


@pytest.mark.parametrize(
    ("later", "rules"),
    [
        ([], ["dnd", "cap", "provider"]),
        ([event("expired")], ["dnd", "cap", "provider"]),
        ([event("sending"), event("sent")], ["dnd", "cap"]),
        ([event("held", reason="provider_outage", detail={"until": "2026-06-01T00:00:00Z"})], ["dnd", "cap"]),
    ],
    ids=["held", "expired", "sent", "its breaker is open now"],
)
def test_a_pause_is_told_beside_what_was_decided_while_it_matters(
    later: list[dict[str, Any]], rules: list[str]
) -> None:
    held = event("held", reason="provider_outage", detail={"until": "2026-06-01T00:00:00Z", "trail": [PAUSED]})
    explained = explain([ACCEPTED, event("queued", detail={"trail": DECIDED}), held, *later])

    assert [entry["rule"] for entry in explained.channels["push"].trail] == rules
    if not later:
        assert "fcm is paused by hand (ticket 4711)" in explained.summary


def test_a_pause_is_shown_while_one_of_several_devices_waits_for_it() -> None:
    held = event("held", reason="provider_outage", send_id="a", detail={"until": None, "trail": [PAUSED]})
    others = [event("queued", send_id="b"), event("sent", send_id="b")]

    def rules(*later: dict[str, Any]) -> list[str]:
        channels = explain([ACCEPTED, event("queued", send_id="a"), *others, held, *others, *later]).channels
        return [entry["rule"] for entry in channels["push"].trail]

    assert rules() == rules(event("expired", send_id="a")) == ["provider"]
    assert rules(event("sending", send_id="a")) == []


def test_each_channel_has_its_sentence() -> None:
    assert summary(event("sent"), event("suppressed", "sms", reason="no_address")) == (
        "Sent by push. Not sent by sms: no address."
    )


def test_one_device_that_got_it_is_enough() -> None:
    events = [
        event("queued"),
        event("sent", send_id="a"),
        event("failed", send_id="b", reason="invalid_token"),
        event("sending", send_id="c"),
    ]

    assert explain(events).channels["push"].outcome == "sent"


def test_a_device_still_on_its_way_is_hope() -> None:
    events = [event("failed", send_id="b", reason="invalid_token"), event("sending", send_id="c")]

    assert explain(events).channels["push"].outcome == "sending"


def test_a_retry_adds_the_answer_while_it_waits_and_hides_no_decision() -> None:
    judged = event("queued", detail={"trail": [["erased", True]]})
    retried = event("retrying", reason="429", detail={"trail": [["answer", "wait", "throttle"]]})
    waiting = explain([ACCEPTED, judged, event("sending"), retried]).channels["push"]
    over = explain([ACCEPTED, judged, event("sending"), retried, event("sent")]).channels["push"]

    assert [entry["rule"] for entry in waiting.trail] == ["erased", "answer"]
    assert [entry["rule"] for entry in over.trail] == ["erased"]
