"""The order in which the last look judges, and what each rule lets through."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from app.domain.last_look import Go, Hold, Known, Over, Reach, look
from app.domain.policy import parse_policy
from app.domain.preferences import Dnd, Preferences
from schemas.sends import Send
from schemas.words import Channel, Priority

HOUR = 3_600_000
#: A Wednesday in London.
NOON = 1_763_553_600_000
NIGHT = NOON + 11 * HOUR

POLICY = parse_policy(
    {
        "defaults": {
            "quiet_hours": {"start": "22:00", "end": "08:00", "spread": "10m"},
            "channels": {"sms": {"verified": True}},
        },
        "categories": {
            "security": {"opt_out": "never", "channels": ["sms"], "verified": {"sms": False}},
            "marketing": {"channels": ["sms", "email"], "consent": ["sms"]},
            "orders": {"channels": ["push", "sms", "email", "in_app"]},
            "other": {"channels": ["in_app"]},
        },
        "shed": {"low": "6h"},
    }
)

OPEN = Known(
    erased=False,
    cancelled=False,
    preferences=Preferences(),
    granted=None,
    reach=Reach("+442071838750"),
    suppressed=False,
    zone="Europe/London",
)

#: Facts that speak against a send, or a field of it.
Rule = dict[str, Any]

#: What speaks against a send, in the order in which it is asked, and how the send then ends.
RULES: list[tuple[Rule, Over]] = [
    ({"erased": True}, Over("suppressed", "erased")),
    ({"cancelled": True}, Over("cancelled")),
    ({"expires_at": NOON}, Over("expired")),
    ({"preferences": {"channels": {"sms": False}}}, Over("suppressed", "opted_out")),
    ({"granted": False}, Over("suppressed", "no_consent")),
    ({"preferences": {"dnd": Dnd(True)}}, Over("suppressed", "dnd")),
    ({"suppressed": True}, Over("suppressed", "suppression_list")),
    ({"reach": None}, Over("suppressed", "no_address")),
]


def a_send(**changes: Any) -> Send:
    given: dict[str, Any] = {
        "send_id": "s",
        "notification_id": "n",
        "user_id": "u1",
        "channel": "sms",
        "event_type": "order.shipped",
        "category": "orders",
        "priority": "normal",
        "policy_version": 1,
        "created_at": NOON,
        "accepted_at": NOON,
        "expires_at": NOON + 48 * HOUR,
    }
    return Send(**{**given, **changes})


def known(**changes: Any) -> Known:
    wishes: dict[str, Any] = {}
    for change in changes.pop("preferences", []):
        wishes |= change
    return dataclasses.replace(OPEN, preferences=Preferences(**wishes), **changes)


def looked(rules: Sequence[Rule], now: int = NOON, **send: Any) -> Go | Hold | Over:
    """The look at a send that all of these rules speak against."""
    facts: dict[str, Any] = {}
    wishes: list[dict[str, Any]] = []
    for rule in rules:
        for name, value in rule.items():
            if name == "preferences":
                wishes.append(value)
            elif name == "expires_at":
                send[name] = value
            else:
                facts[name] = value
    return look(a_send(**send), known(preferences=wishes, **facts), POLICY, now, now)


@pytest.mark.parametrize(("rule", "end"), RULES, ids=[str(end.reason or end.status) for _, end in RULES])
def test_each_rule_ends_the_send_by_its_own_reason(rule: Rule, end: Over) -> None:
    assert looked([rule]) == end


@pytest.mark.parametrize("first", range(len(RULES)))
def test_of_all_that_speaks_against_it_the_first_rule_decides(first: int) -> None:
    assert looked([rule for rule, _ in RULES[first:]]) == RULES[first][1]


def test_a_send_that_nothing_speaks_against_goes() -> None:
    assert looked([]) == Go()


def test_a_send_may_go_until_the_moment_of_its_expiry() -> None:
    assert looked([{"expires_at": NOON + 1}]) == Go()


def test_consent_that_the_policy_requires_must_have_been_granted() -> None:
    assert looked([], category="marketing") == Over("suppressed", "no_consent")
    assert looked([{"granted": True}], category="marketing") == Go()


def test_an_address_must_be_verified_where_the_policy_says_so() -> None:
    unverified = {"reach": Reach("+442071838750", verified=False)}

    assert looked([unverified]) == Over("suppressed", "unverified")
    assert looked([unverified], category="security") == Go()
    assert looked([unverified], channel="email") == Go()


@pytest.mark.parametrize("category", ["orders", "security", "marketing"])
@pytest.mark.parametrize("channel", ["email", "sms"])
def test_an_address_that_only_its_user_claims_must_be_verified_under_any_policy(
    category: str, channel: Channel
) -> None:
    claimed = {"reach": Reach("+442071838750", verified=False, claimed=True), "granted": True}
    verified = {"reach": Reach("+442071838750", verified=True, claimed=True), "granted": True}

    assert looked([claimed], category=category, channel=channel) == Over("suppressed", "unverified")
    assert looked([verified], category=category, channel=channel) == Go()


def test_opt_out_never_overrides_preferences_and_withdrawals_but_not_the_list_or_dnd() -> None:
    against: list[Rule] = [{"preferences": {"channels": {"sms": False}}}, {"granted": False}]

    assert looked(against, category="security") == Go()
    assert looked([*against, {"suppressed": True}], category="security") == Over("suppressed", "suppression_list")
    assert looked([*against, {"preferences": {"dnd": Dnd(True)}}], category="security") == Over("suppressed", "dnd")


def test_dnd_that_is_over_is_off() -> None:
    assert looked([{"preferences": {"dnd": Dnd(True, NOON)}}]) == Go()
    assert looked([{"preferences": {"dnd": Dnd(True, NOON + 1)}}]) == Over("suppressed", "dnd")


@pytest.mark.parametrize("channel", ["push", "sms"])
def test_quiet_hours_hold_until_the_night_ends_and_let_go_within_the_spread(channel: Channel) -> None:
    held = looked([], NIGHT, channel=channel)

    assert isinstance(held, Hold)
    assert held.until == NOON + 20 * HOUR
    assert held.until <= held.due < held.until + 600_000


@pytest.mark.parametrize("channel", ["email", "in_app"])
def test_quiet_hours_hold_only_the_policys_channels(channel: Channel) -> None:
    assert looked([], NIGHT, channel=channel) == Go()


def test_critical_is_not_held_shed_or_stopped_by_dnd() -> None:
    send, dnd = a_send(priority="critical"), Preferences(dnd=Dnd(True))

    assert look(send, dataclasses.replace(OPEN, preferences=dnd), POLICY, NIGHT, NIGHT - 9 * HOUR) == Go()


@pytest.mark.parametrize(
    ("priority", "waited", "shed"),
    [("low", 6 * HOUR, True), ("low", 6 * HOUR - 1, False), ("normal", 9 * HOUR, False)],
)
def test_low_sends_that_waited_too_long_for_their_first_call_are_shed(
    priority: Priority, waited: int, shed: bool
) -> None:
    end = look(a_send(priority=priority), OPEN, POLICY, NOON, NOON - waited)

    assert end == (Over("suppressed", "shed") if shed else Go())


def test_a_send_that_was_called_is_not_shed() -> None:
    assert look(a_send(priority="low"), OPEN, POLICY, NOON + 9 * HOUR, None) == Go()


def test_the_inbox_has_no_address_and_no_disturbance() -> None:
    against: list[Rule] = [{"reach": None}, {"suppressed": True}, {"preferences": {"dnd": Dnd(True)}}]

    assert looked(against, NIGHT, channel="in_app") == Go()


def test_the_category_is_the_one_that_the_send_was_judged_by() -> None:
    wishes = {"preferences": {"categories": {"orders": {"sms": False}}}}

    assert looked([wishes], event_type="unheard.of", category="orders") == Over("suppressed", "opted_out")
    assert looked([wishes], event_type="unheard.of", category="other") == Go()


def test_a_category_that_the_policy_has_no_more_leaves_the_event_types_own() -> None:
    assert looked([], event_type="unheard.of", category="abolished") == Go()
