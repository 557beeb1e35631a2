"""What stops a channel, what makes it wait, and what is judged again when the wait ends."""

from typing import Any

import pytest

from schemas import topics
from schemas.instants import rfc3339
from tests.agents.harness import HOUR, NOON, POLICY, Harness

QUIET = POLICY.replace("defaults:", 'defaults:\n  quiet_hours: {start: "22:00", end: "08:00", channels: [push, sms]}')


def known(policy: str = POLICY, **fields: Any) -> Harness:
    harness = Harness(policy=policy, **fields)
    harness.known()
    return harness


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("preferences.set", {"preferences": {"channels": {"email": False}}}), "opted_out"),
        (("preferences.set", {"preferences": {"categories": {"mail": {"email": False}}}}), "opted_out"),
        (("preferences.set", {"preferences": {"event_types": {"mail.*": {"email": False}}}}), "opted_out"),
        (("preferences.set", {"preferences": {"dnd": {"enabled": True, "until": None}}}), "dnd"),
        (("consent.set", {"channel": "email", "category": "mail", "granted": False}), "no_consent"),
        (("profile.set", {"email": None}), "no_address"),
    ],
)
def test_a_channel_is_suppressed(command: tuple[str, dict[str, Any]], reason: str) -> None:
    router = known()
    kind, fields = command
    router.command(kind, **fields)
    router.request(event_type="mail.sent")

    assert router.reported() == [("accepted", None, None), ("suppressed", "email", reason)]
    assert router.sends == []


def test_a_channel_under_consent_needs_it_granted() -> None:
    router = known()
    router.request(event_type="offer.made", channels=["sms"])
    router.command("consent.set", channel="sms", category="marketing", granted=True, evidence={"form": 7})
    router.request(event_type="offer.made", channels=["sms"])

    assert [reported for reported in router.reported() if reported[0] != "accepted"] == [
        ("suppressed", "sms", "no_consent"),
        ("queued", "sms", None),
    ]


@pytest.mark.parametrize("channel", ["email", "sms"])
@pytest.mark.parametrize("event_type", ["order.shipped", "mail.sent", "login.otp", "comment.created"])
@pytest.mark.parametrize("priority", ["critical", "normal"])
def test_an_address_that_only_its_user_claims_gets_nothing_whatever_the_policy_says(
    channel: str, event_type: str, priority: str
) -> None:
    policy = POLICY.replace("sms: {verified: true}", "sms: {verified: false}, email: {verified: false}")
    router = Harness(policy.replace("channels: [push, sms]}", "channels: [sms], verified: {sms: false}}"))
    address = {"email": {"email": "ann@example.com"}, "sms": {"phone": "+442071838750"}}[channel]
    router.command("profile.set", **address, claimed=True)
    router.request(event_type=event_type, channels=[channel], priority=priority)
    claimed = router.reported()[1:]
    verified: dict[str, Any] = {f"{name}_verified": True for name in address}
    router.command("profile.set", **verified)
    router.request(event_type=event_type, channels=[channel], priority=priority, data={"second": True})

    assert claimed == [("suppressed", channel, "unverified")]
    assert router.reported()[-1] == ("queued", channel, None)


def test_an_unverified_number_gets_no_sms_unless_the_category_says_so() -> None:
    policy = POLICY.replace("channels: [push, sms]}", "channels: [sms], verified: {sms: false}}")
    router = known(policy)
    router.command("profile.set", phone="+442071838751")
    router.request(channels=["sms"])
    router.request(event_type="login.otp")

    assert [reported for reported in router.reported() if reported[0] != "accepted"] == [
        ("suppressed", "sms", "unverified"),
        ("queued", "sms", None),
    ]


def test_a_suppressed_address_gets_nothing_whoever_has_it() -> None:
    router = known()
    router.command("suppression.add", None, channel="email", address="Ann@Example.com", reason="manual")
    router.request(event_type="mail.sent")
    router.command("suppression.remove", None, channel="email", address="ann@example.com", reason="manual")
    router.request(event_type="mail.sent")

    assert [reported for reported in router.reported() if reported[0] != "accepted"] == [
        ("suppressed", "email", "suppression_list"),
        ("queued", "email", None),
    ]


def test_a_channel_without_a_configured_provider_fails() -> None:
    router = known(providers={"push": frozenset(("apns",)), "email": frozenset()})
    router.request()

    assert router.reported() == [
        ("accepted", None, None),
        ("failed", "push", "no_provider"),
        ("failed", "email", "no_provider"),
    ]


def test_dnd_does_not_stop_the_inbox() -> None:
    router = known()
    router.command("preferences.set", preferences={"dnd": {"enabled": True, "until": None}})
    router.request(channels=["in_app", "push"])

    assert router.reported()[1:] == [("queued", "in_app", None), ("suppressed", "push", "dnd")]


def test_dnd_whose_end_is_past_is_off() -> None:
    router = known()
    router.command("preferences.set", preferences={"dnd": {"enabled": True, "until": rfc3339(NOON)}})
    router.request(event_type="mail.sent")

    assert router.reported()[1] == ("queued", "email", None)


@pytest.mark.parametrize("first", ["erased", "cancelled", "expired"])
def test_the_whole_is_judged_in_order(first: str) -> None:
    router = known()
    if first == "erased":
        router.command("user.erase")
    if first != "expired":
        router.command("notification.cancel", campaign_id="c")
    router.request(campaign_id="c", expires_at=rfc3339(NOON - 1), send_at=rfc3339(NOON - HOUR))

    ends = {"erased": ("suppressed", None, "erased"), "cancelled": ("cancelled", None, None)}
    assert router.reported() == [("accepted", None, None), ends.get(first, ("expired", None, None))]


# --- schedule ---


def test_it_is_scheduled_until_send_at_and_judged_by_what_is_known_then() -> None:
    router = known()
    router.request(event_type="mail.sent", send_at=rfc3339(NOON + HOUR))
    router.command("preferences.set", preferences={"channels": {"email": False}})
    router.after(HOUR - 1)
    waiting = router.reported()
    router.after(1)

    assert waiting == [("accepted", None, None), ("scheduled", None, None)]
    assert router.reported()[2:] == [("suppressed", "email", "opted_out")]
    assert router.events[1]["detail"]["until"] == rfc3339(NOON + HOUR)


def test_a_send_at_that_is_past_means_now() -> None:
    router = known()
    router.request(event_type="mail.sent", send_at=rfc3339(NOON - HOUR))
    router.request(event_type="mail.sent", send_at="2020-01-01T00:00:00Z")

    assert router.reported()[1::2] == [("queued", "email", None)] * 2
    assert [send.expires_at for send in router.sends] == [NOON + 48 * HOUR] * 2


def test_expiry_counts_from_send_at() -> None:
    router = known()
    router.request(event_type="mail.sent", send_at=rfc3339(NOON + 72 * HOUR))
    router.after(72 * HOUR)

    assert router.sends[0].expires_at == NOON + 120 * HOUR


# --- quiet hours ---


def night(policy: str = QUIET) -> Harness:
    router = Harness(policy=policy, now=NOON + 11 * HOUR)
    router.known()
    return router


def test_quiet_hours_hold_their_channels_until_their_end() -> None:
    router = night()
    router.request()
    held = router.reported()
    router.at(NOON + 20 * HOUR)

    assert held == [("accepted", None, None), ("held", "push", "quiet_hours"), ("queued", "email", None)]
    assert router.events[1]["detail"]["until"] == rfc3339(NOON + 20 * HOUR)
    assert router.reported()[3:] == [("queued", "push", None)]


def test_critical_ignores_quiet_hours_and_dnd() -> None:
    router = night()
    router.command("preferences.set", preferences={"dnd": {"enabled": True}})
    router.request(event_type="login.otp")

    assert router.reported()[1:] == [("queued", "push", None), ("queued", "sms", None)]


def test_holds_end_in_the_order_of_acceptance() -> None:
    router = night()
    for n in range(12):
        router.request(channels=["push"], data={"n": n})
        router.after(n % 3)
    order = [event["notification_id"] for event in router.events if event["status"] == "accepted"]
    router.at(NOON + 20 * HOUR)

    assert [send.notification_id for send in router.sends] == order


def test_of_one_batch_what_the_more_urgent_lane_brought_was_accepted_first() -> None:
    router = night()
    for n in range(3):
        router.request(channels=["push"], topic=topics.EVENTS, data={"n": n}, campaign_id="first")
    router.request(channels=["push"], topic=topics.EVENTS_BULK, campaign_id="last")
    router.at(NOON + 20 * HOUR)

    assert [send.campaign_id for send in router.sends] == ["first", "first", "first", "last"]


def test_a_hold_is_told_until_the_night_ends_and_let_go_within_the_spread() -> None:
    router = known(QUIET.replace("channels: [push, sms]", "spread: 2h", 1))
    router.at(NOON + 11 * HOUR)
    router.request(channels=["push"])
    router.at(NOON + 20 * HOUR)
    early = router.sends[:]
    router.at(NOON + 22 * HOUR)

    assert router.events[1]["detail"]["until"] == rfc3339(NOON + 20 * HOUR)
    assert (len(early), len(router.sends)) == (0, 1)
    assert router.last()["occurred_at"] > rfc3339(NOON + 20 * HOUR)


def test_what_expires_in_the_night_is_expired_and_not_sent() -> None:
    router = night()
    router.request(channels=["push"], expires_at=rfc3339(NOON + 12 * HOUR))
    router.at(NOON + 21 * HOUR)

    assert router.reported() == [("accepted", None, None), ("held", "push", "quiet_hours"), ("expired", "push", None)]


@pytest.mark.parametrize(
    ("kind", "fields", "then"),
    [
        ("preferences.patch", {"preferences": {"quiet_hours": {"enabled": False}}}, ("queued", "push", None)),
        ("profile.set", {"timezone": "Asia/Tokyo"}, ("queued", "push", None)),
        ("activity.seen", {"timezone": "Asia/Tokyo"}, ("queued", "push", None)),
        ("preferences.patch", {"preferences": {"dnd": {"enabled": True}}}, ("suppressed", "push", "dnd")),
    ],
)
def test_a_command_that_changes_hours_zone_or_dnd_judges_holds_again_at_once(
    kind: str, fields: dict[str, Any], then: tuple[Any, ...]
) -> None:
    router = night()
    router.request(channels=["push"])
    router.command(kind, **fields)

    assert router.reported()[2:] == [then]


def test_a_hold_that_stays_the_same_says_nothing_new() -> None:
    router = night()
    router.request(channels=["push"])
    router.command("preferences.patch", preferences={"dnd": {"enabled": True, "until": rfc3339(NOON)}})
    router.at(NOON + 20 * HOUR)

    assert router.reported() == [("accepted", None, None), ("held", "push", "quiet_hours"), ("queued", "push", None)]


def test_a_hold_is_judged_again_by_what_is_known_at_its_end() -> None:
    router = night()
    router.request(channels=["push"])
    router.command("device.remove", device_id="d1")
    router.at(NOON + 20 * HOUR)

    assert router.reported()[2:] == [("suppressed", "push", "no_address")]


# --- cancelling and erasing ---


@pytest.mark.parametrize("to_all", [False, True])
@pytest.mark.parametrize("by", ["notification_id", "campaign_id"])
def test_cancelling_ends_what_waits(by: str, to_all: bool) -> None:
    router = night()
    router.request(campaign_id="spring", send_at=rfc3339(NOON + 30 * 24 * HOUR))
    router.request(campaign_id="spring", channels=["push"])
    waiting = list(router.events)
    for event in waiting:
        if event["status"] == "accepted":
            router.command("notification.cancel", None if to_all else "ann", **{by: event[by]})

    ends = [reported for reported in router.reported() if reported[0] == "cancelled"]
    assert set(ends) == {("cancelled", None, None), ("cancelled", "push", None)}
    assert len(ends) == 2
    router.after(40 * 24 * HOUR)
    assert router.sends == []


def test_a_cancel_may_come_first() -> None:
    router = known()
    router.command("notification.cancel", None, campaign_id="spring")
    router.after(HOUR)
    router.request(event_type="mail.sent", campaign_id="spring")
    router.after(7 * 24 * HOUR)
    router.request(event_type="mail.sent", campaign_id="spring")

    assert [reported for reported in router.reported() if reported[0] != "accepted"] == [
        ("cancelled", None, None),
        ("queued", "email", None),
    ]


def test_a_source_cancels_only_its_own() -> None:
    router = known()
    router.request(event_type="mail.sent", source="shop", campaign_id="c", send_at=rfc3339(NOON + HOUR))
    router.command("notification.cancel", None, campaign_id="c", source="other")
    router.request(event_type="mail.sent", source="shop", campaign_id="c")

    assert "cancelled" not in [status for status, _, _ in router.reported()]


def test_another_users_cancel_is_not_ours() -> None:
    router = known()
    router.request(event_type="mail.sent", campaign_id="c", send_at=rfc3339(NOON + HOUR))
    router.command("notification.cancel", "bob", campaign_id="c")
    router.request(event_type="mail.sent", campaign_id="c")

    assert "cancelled" not in [status for status, _, _ in router.reported()]


def test_erasing_ends_what_waits_and_whatever_comes_after() -> None:
    router = night()
    router.request(channels=["push"], send_at=rfc3339(NOON + 48 * HOUR))
    router.request(channels=["push"])
    router.command("user.erase")
    router.device()
    router.request(event_type="mail.sent")

    assert set(router.reported()[4:6]) == {("suppressed", None, "erased"), ("suppressed", "push", "erased")}
    assert router.reported()[6:] == [("accepted", None, None), ("suppressed", None, "erased")]


def test_nothing_of_an_erased_user_is_left_but_ids() -> None:
    router = night()
    router.request(channels=["push"], data={"secret": "swordfish"})
    router.command("preferences.set", preferences={"channels": {"sms": False}})
    router.command("consent.set", channel="sms", category="marketing", granted=True, evidence="papyrus")
    router.command("user.erase")

    left = b"".join(value for rows in router.rows for table in rows.tables.values() for value in table.values())
    assert not any(private in left for private in (b"swordfish", b"example.com", b"token of", b"+44", b"papyrus"))


def test_what_was_sent_to_an_erased_user_leaves_only_ids() -> None:
    router = known()
    fields = {"event_type": "mail.sent", "source": "papyrus", "campaign_id": "spring", "template_id": "note"}
    record = router.request(**fields, idempotency_key="k")
    send = router.sends[0]
    address = next(
        sent.address for _, row in router.states[0].notifications.scan(b"", None) for sent in row.parts[0].sends
    )
    router.command("user.erase")
    rows = dict(router.rows[0].tables["notifications"])
    router.forget()

    left = b"".join(rows.values())
    assert not any(private in left for private in (b"mail.sent", b"papyrus", b"spring", b"note", address))
    router.again(record)
    router.receipt(send, "bounced", reason="hard")
    router.settled(send, "sent")
    router.known()
    router.receipt(send, "opened")
    assert (router.events, router.dead) == ([], [])
    router.request(**fields, idempotency_key="k")
    assert [(event["status"], event["event_type"]) for event in router.events] == [("repeated", "mail.sent")]


def test_a_profile_after_an_erasure_begins_a_new_user() -> None:
    router = known()
    router.command("preferences.set", preferences={"channels": {"email": False}})
    router.command("user.erase")
    router.known()
    router.request(event_type="mail.sent")

    assert router.reported()[-1] == ("queued", "email", None)


def test_a_request_of_an_erased_user_that_is_made_again_is_repeated() -> None:
    router = known()
    router.command("user.erase")
    router.request(idempotency_key="k")
    router.request(idempotency_key="k")

    assert [status for status, _, _ in router.reported()] == ["accepted", "suppressed", "repeated"]
