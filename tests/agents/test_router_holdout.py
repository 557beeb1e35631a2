"""Holdouts: part of a category's or a campaign's recipients get nothing, and it is said why."""

import json

import pytest

from app.domain.holdout import HOLDOUT, is_held_out, signed_holdout
from schemas import topics
from schemas.instants import rfc3339
from tests.agents.harness import HOUR, POLICY, SECRET, Harness

HALF = POLICY.replace("mail: {channels: [email]}", "mail: {channels: [email], holdout: 50%}")


def holding(policy: str = HALF) -> Harness:
    assert policy != POLICY
    return Harness(policy=policy)


def of_campaign(router: Harness, user: str, share: int | None, secret: bytes = SECRET, **fields: object) -> None:
    """A request of the campaign ``spring``, as the gateway produces it."""
    value = {"user_id": user, "event_type": "mail.sent", "source": "shop", "campaign_id": "spring", **fields}
    headers = [] if share is None else [(HOLDOUT, signed_holdout(secret, "shop", "spring", share))]
    router.feed(topics.EVENTS_BULK, user.encode(), json.dumps(value).encode(), headers=headers)


def test_who_is_held_out_of_a_category_gets_nothing_on_no_channel() -> None:
    router = holding()
    users = [f"user-{n}" for n in range(40)]
    for user in users:
        router.known(user)
        router.request(user, "mail.sent")

    held_out = {user for user in users if is_held_out(user, ("category", "mail"), 5_000)}
    assert 0 < len(held_out) < len(users)
    for user in users:
        expected = ("suppressed", None, "holdout") if user in held_out else ("queued", "email", None)
        assert router.reported(user_id=user) == [("accepted", None, None), expected]


def test_a_holdout_is_in_the_trail_of_those_who_are_in_it_and_of_those_who_are_not() -> None:
    router = holding()
    for n in range(20):
        router.known(f"user-{n}")
        router.request(f"user-{n}", "mail.sent")

    for event in router.events:
        if event["status"] != "accepted":
            assert ["holdout", event["status"] == "queued", "50%", "category", "mail"] in event["detail"]["trail"]


def test_critical_ones_are_never_held_out() -> None:
    router = holding(POLICY.replace("critical: true", "critical: true, holdout: 100%"))
    router.known()
    router.request(event_type="login.otp", channels=["sms"])

    assert router.reported()[1:] == [("queued", "sms", None)]
    assert ["holdout", True, "critical"] in router.last()["detail"]["trail"]


def test_a_campaigns_own_holdout_stands_in_for_its_categorys() -> None:
    for policy, share, status in [(HALF, 0, "queued"), (POLICY, 10_000, "suppressed"), (HALF, 10_000, "suppressed")]:
        router = Harness(policy=policy)
        for n in range(10):
            router.known(f"user-{n}")
            of_campaign(router, f"user-{n}", share)
        assert {event["status"] for event in router.events} == {"accepted", status}


def test_a_campaign_without_a_holdout_of_its_own_has_its_categorys() -> None:
    router = holding()
    users = [f"user-{n}" for n in range(30)]
    for user in users:
        router.known(user)
        of_campaign(router, user, None)

    for user in users:
        held_out = is_held_out(user, ("campaign", "shop", "spring"), 5_000)
        assert router.reported(user_id=user)[-1][0] == ("suppressed" if held_out else "queued")


@pytest.mark.parametrize("secret", [b"", b"another installation's"])
def test_nobody_but_the_gateway_can_hold_a_campaigns_recipients_out(secret: bytes) -> None:
    router = Harness()
    router.known()
    of_campaign(router, "ann", 10_000, secret=secret, holdout="100%")

    assert router.reported()[1:] == [("queued", "email", None)]


def test_a_holdout_is_judged_after_the_schedule_with_what_the_request_came_with() -> None:
    router = Harness()
    router.known()
    of_campaign(router, "ann", 10_000, send_at=rfc3339(router.now + HOUR))
    assert router.reported()[1:] == [("scheduled", None, None)]
    router.after(HOUR)

    assert router.reported()[2:] == [("suppressed", None, "holdout")]


def test_a_cancelled_or_expired_one_is_not_held_out_but_that() -> None:
    router = holding(POLICY.replace("mail: {channels: [email]}", "mail: {channels: [email], holdout: 100%}"))
    router.known()
    router.command("notification.cancel", notification_id="00000000-0000-4000-8000-000000000001")
    router.request(event_type="mail.sent", notification_id="00000000-0000-4000-8000-000000000001")
    router.request(event_type="mail.sent", created_at=rfc3339(router.now - 100 * HOUR))

    assert [reported[0] for reported in router.reported()] == ["accepted", "cancelled", "accepted", "expired"]
