"""The last look: whatever became known before the call stops it."""

from typing import Any

import msgspec
import pytest

from app.api.explain import explain
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
def test_what_became_known_before_the_call_stops_it(
    command: tuple[str, dict[str, Any]], end: tuple[str, str | None]
) -> None:
    kind, fields = command
    stage = sms()
    stage.command(kind, **fields)
    stage.take(a_send())

    assert stage.story() == [end]
    assert stage.reported() == [end]
    assert stage.calls == []


def test_a_cancel_counts_only_for_its_source() -> None:
    stage = sms()
    stage.command("notification.cancel", notification_id=a_send().notification_id, source="another")
    stage.take(a_send())

    assert stage.story() == [("sending", None)]


def test_a_cancel_for_everyone_counts() -> None:
    stage = sms()
    stage.command("notification.cancel", user_id=None, campaign_id="c1", source="shop")
    stage.take(a_send())

    assert stage.story() == [("cancelled", None)]


def test_nothing_is_sent_after_its_expiry() -> None:
    stage = sms()
    stage.take(a_send(expires_at=NOON))

    assert stage.story() == [("expired", None)]


def test_a_device_that_is_gone_is_no_address() -> None:
    stage = push()
    stage.command("device.remove", device_id="d1")
    stage.take(a_push())

    assert stage.story() == [("suppressed", "no_address")]


def test_without_a_provider_that_has_settings_there_is_no_provider() -> None:
    stage = push(providers=("fcm",))
    stage.take(a_push())

    assert stage.story() == [("failed", "no_provider")]


@pytest.mark.parametrize("changes", [{"template_id": "gone"}, {"data": msgspec.Raw(b"{}")}])
def test_a_template_that_is_unknown_or_cannot_be_rendered_fails_the_send(changes: dict[str, Any]) -> None:
    stage = sms()
    stage.take(a_send(**changes))

    assert stage.story() == [("failed", "bad_template")]
    assert stage.calls == []


def test_critical_ignores_dnd_quiet_hours_and_shedding() -> None:
    stage = sms()
    stage.command("preferences.set", preferences={"dnd": {"enabled": True}})
    stage.now = NOON + 11 * HOUR
    stage.take(a_send(priority="critical", event_type="login.otp", category="security"))

    assert stage.story() == [("sending", None)]


def test_what_nobody_may_opt_out_of_ignores_the_preference() -> None:
    stage = sms()
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    stage.take(a_send(priority="critical", event_type="login.otp", category="security"))

    assert stage.story() == [("sending", None)]


OPEN_RULES = [
    ["erased", True],
    ["cancelled", True],
    ["expired", True, a_send().expires_at],
    ["preference", True, "no preference set"],
    ["consent", True, "no consent required"],
    ["dnd", True],
    ["suppression_list", True],
    ["address", True, 1],
]


@pytest.mark.parametrize(
    ("command", "asked", "stopped_by"),
    [
        (("user.erase", {}), 0, ["erased", False]),
        (("notification.cancel", {"campaign_id": "c1", "source": "shop"}), 1, ["cancelled", False]),
        (("preferences.set", {"preferences": {"channels": {"sms": False}}}), 3, ["preference", False, "channels.sms"]),
        (
            ("consent.set", {"channel": "sms", "category": "orders", "granted": False}),
            4,
            ["consent", False, "consent withdrawn"],
        ),
        (("preferences.set", {"preferences": {"dnd": {"enabled": True}}}), 5, ["dnd", False, None]),
        (("suppression.add", {"channel": "sms", "address": PHONE}), 6, ["suppression_list", False]),
        (("profile.set", {"phone": None}), 7, ["address", False, "no_address"]),
        (("profile.set", {"phone_verified": False}), 7, ["address", False, "unverified"]),
    ],
    ids=lambda value: str(value[1]) if isinstance(value, tuple) else None,
)
def test_what_a_last_look_ended_keeps_its_trail(
    command: tuple[str, dict[str, Any]], asked: int, stopped_by: list[object]
) -> None:
    kind, fields = command
    stage = sms()
    stage.command(kind, **fields)
    stage.take(a_send())

    assert stage.detail()["trail"] == [*OPEN_RULES[:asked], stopped_by]


def test_what_expired_says_until_when_it_was_good() -> None:
    stage = sms()
    stage.take(a_send(expires_at=NOON))

    assert stage.detail()["trail"] == [*OPEN_RULES[:2], ["expired", False, NOON]]


def test_what_a_last_look_held_keeps_its_trail() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    stage.take(a_send())

    held = ["quiet_hours", "wait", "Europe/London", NOON + 20 * HOUR, 22 * 60, 8 * 60]
    assert stage.detail()["trail"] == [*OPEN_RULES, held]


def test_what_was_shed_by_its_age_keeps_its_trail() -> None:
    stage = sms()
    stage.take(a_send(priority="low"), recorded=NOON - 6 * HOUR)

    assert stage.detail()["trail"] == [*OPEN_RULES, ["shed", False, 6 * HOUR]]


def test_why_shows_the_last_looks_rules() -> None:
    stage = sms()
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    stage.take(a_send())
    explanation = explain([msgspec.to_builtins(event) for event in stage.events])

    assert [entry["rule"] for entry in explanation.channels["sms"].trail][-1] == "preference"
    assert explanation.summary == "Not sent by sms: the user turned it off (channels.sms)."
