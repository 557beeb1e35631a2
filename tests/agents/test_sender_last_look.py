"""The last look: whatever became known before the call stops it."""

import msgspec
import pytest

from tests.agents.senders import PHONE, a_push, push, sms
from tests.agents.stage import HOUR, NOON, a_send


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (("user.erase", {}), ("suppressed", "erased")),
        (("notification.cancel", {"notification_id": a_send().notification_id}), ("cancelled", None)),
        (("notification.cancel", {"campaign_id": "c1"}), ("cancelled", None)),
        (("preferences.set", {"preferences": {"channels": {"sms": False}}}), ("suppressed", "opted_out")),
        (("consent.set", {"channel": "sms", "category": "orders", "granted": False}), ("suppressed", "no_consent")),
        (("preferences.set", {"preferences": {"dnd": {"enabled": True}}}), ("suppressed", "dnd")),
        (("suppression.add", {"channel": "sms", "address": PHONE}), ("suppressed", "suppression_list")),
        (("profile.set", {"phone": None}), ("suppressed", "no_address")),
        (("profile.set", {"phone_verified": False}), ("suppressed", "unverified")),
        (("profile.set", {"phone": "+442071838751", "claimed": True}), ("suppressed", "unverified")),
    ],
    ids=lambda value: str(value[1]) if isinstance(value, tuple) else None,
)
def test_what_became_known_before_the_call_stops_it(command, end):
    kind, fields = command
    stage = sms()
    stage.command(kind, **fields)
    stage.take(a_send())

    assert stage.story() == [end]
    assert stage.told() == [end]
    assert stage.calls == []


def test_a_cancel_counts_only_for_its_source():
    stage = sms()
    stage.command("notification.cancel", notification_id=a_send().notification_id, source="another")
    stage.take(a_send())

    assert stage.story() == [("sending", None)]


def test_a_cancel_for_everyone_counts():
    stage = sms()
    stage.command("notification.cancel", user_id=None, campaign_id="c1", source="shop")
    stage.take(a_send())

    assert stage.story() == [("cancelled", None)]


def test_nothing_is_sent_after_its_expiry():
    stage = sms()
    stage.take(a_send(expires_at=NOON))

    assert stage.story() == [("expired", None)]


def test_a_device_that_is_gone_is_no_address():
    stage = push()
    stage.command("device.remove", device_id="d1")
    stage.take(a_push())

    assert stage.story() == [("suppressed", "no_address")]


def test_without_a_provider_that_has_settings_there_is_no_provider():
    stage = push(providers=("fcm",))
    stage.take(a_push())

    assert stage.story() == [("failed", "no_provider")]


@pytest.mark.parametrize("changes", [{"template_id": "gone"}, {"data": msgspec.Raw(b"{}")}])
def test_a_template_that_is_unknown_or_cannot_be_rendered_fails_the_send(changes):
    stage = sms()
    stage.take(a_send(**changes))

    assert stage.story() == [("failed", "bad_template")]
    assert stage.calls == []


def test_critical_ignores_dnd_quiet_hours_and_shedding():
    stage = sms()
    stage.command("preferences.set", preferences={"dnd": {"enabled": True}})
    stage.now = NOON + 11 * HOUR
    stage.take(a_send(priority="critical", event_type="login.otp", category="security"))

    assert stage.story() == [("sending", None)]


def test_what_nobody_may_opt_out_of_ignores_the_preference():
    stage = sms()
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    stage.take(a_send(priority="critical", event_type="login.otp", category="security"))

    assert stage.story() == [("sending", None)]
