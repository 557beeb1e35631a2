"""The kit for testing policies: what its users rely on."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.sender.calls import Call
from app.domain.policy import PolicyError
from app.testing import Accepting, Invalid, Outcome, World

POLICY = """
defaults: {quiet_hours: {start: "22:00", end: "08:00"}}
categories:
  social: {channels: [push], digest: daily}
  orders: {channels: [push, email, sms, in_app]}
  payments: {channels: [push, sms]}
  marketing: {channels: [sms], consent: [sms]}
  other: {channels: [in_app]}
digests: {daily: {window: 10m, template: gathered}}
event_types:
  comment.created: {category: social, template: comment}
  order.shipped: {category: orders, template: shipped}
  offer.made: {category: marketing, template: offer}
  payment.failed: {category: payments, template: payment, fallback: {chain: [push, sms], wait: 2m, until: [opened]}}
"""
TEMPLATES = {"shipped": {"channels": {"push": {"en": {"title": "Hello {{ user.name }}", "body": "No. {{ number }}"}}}}}


def world(**changes: object) -> World:
    made = World(POLICY, at="2026-03-01T12:00:00Z", **changes)  # type: ignore[arg-type]
    made.user("ada", timezone="Europe/London", name="Ada")
    return made


def channels(made: World, notification_id: str) -> list[str]:
    return sorted(sent.channel for sent in made.sent(notification_id=notification_id))


def test_every_channel_reaches_a_user_unless_said_otherwise() -> None:
    made = world()
    made.user("bob", devices=[], phone=None)

    assert channels(made, made.request("ada", "order.shipped")) == ["email", "in_app", "push", "sms"]
    assert channels(made, made.request("bob", "order.shipped")) == ["email", "in_app"]


@pytest.mark.parametrize(
    "device", ["android", "ios", "web", {"platform": "ios", "device_id": "mine", "token": "ab" * 32}]
)
def test_devices_are_platforms_or_the_fields_of_the_command(device: object) -> None:
    made = world()
    made.user("bob", devices=[device])  # type: ignore[list-item]
    made.request("bob", "order.shipped", channels=["push"])

    assert [sent.channel for sent in made.sent("bob")] == ["push"]


def test_a_year_of_daily_digests() -> None:
    made = World(POLICY, at="2026-01-01T00:00:00Z")
    made.user("ada", timezone="Europe/London", preferences={"digest": {"social": {"every": "day", "at": "09:00"}}})
    for n in range(3 * 365):
        made.request("ada", "comment.created", data={"n": n})
        made.advance(hours=8)

    sent = made.sent("ada")
    assert len(sent) == 365
    # the first day has no evening; the day of 23 hours loses an item to the day of 25
    assert Counter(s.message.title for s in sent) == {"gathered (3)": 362, "gathered (2)": 2, "gathered (4)": 1}
    # nine o'clock in London is eight o'clock UTC from 29 March until 24 October
    assert Counter(s.at.strftime("%H:%M") for s in sent) == {"09:00": 365 - 210, "08:00": 210}


def test_templates_are_shown_as_given_and_others_by_their_name() -> None:
    made = world(templates=TEMPLATES)
    shipped = made.request("ada", "order.shipped", data={"number": 7})
    made.user("eve", consents=[("sms", "marketing")])
    made.request("eve", "offer.made")

    [push] = made.sent(notification_id=shipped)
    assert (push.message.title, push.message.body) == ("Hello Ada", "No. 7")
    assert [sent.message.body for sent in made.sent("eve")] == ["offer"]


def test_what_the_inbox_shows_is_sent_too() -> None:
    made = world()
    made.request("ada", "order.shipped", channels=["in_app"])

    [item] = made.sent("ada")
    assert (item.channel, item.provider, item.message.title) == ("in_app", "inbox", "shipped")


def test_time_moves_only_when_told_and_never_back() -> None:
    made = world()
    made.request("ada", "order.shipped", at="2026-03-01T23:00:00Z", channels=["push"])
    [wait] = made.waiting()

    assert (wait.status, wait.reason, wait.until) == ("held", "quiet_hours", datetime(2026, 3, 2, 8, tzinfo=UTC))
    assert made.sent() == []
    with pytest.raises(ValueError, match=r"2026-03-01T22:59:00\.000Z is over: it is 2026-03-01T23:00:00\.000Z"):
        made.until("2026-03-01T22:59:00Z")
    with pytest.raises(ValueError, match="needs its zone"):
        made.until(datetime(2026, 3, 2, 9))  # noqa: DTZ001
    made.advance(hours=9)
    assert [sent.at for sent in made.sent()] == [wait.until]
    assert made.waiting() == []


def test_a_scheduled_notification_waits_for_all_of_its_channels() -> None:
    made = world()
    made.request("ada", "order.shipped", send_at="2026-03-01T13:00:00Z")

    [wait] = made.waiting("ada")
    made.advance(hours=1)

    assert (wait.channel, wait.status, wait.until) == (None, "scheduled", made.now)
    assert made.waiting("ada") == []
    assert len(made.sent("ada")) == 4


def test_providers_answer_as_told() -> None:
    def answer(call: Call) -> Outcome:
        return Outcome("bad_token") if call.provider == "fcm" else accepting(call)

    accepting = Accepting()
    made = world(answer=answer)
    lost = made.request("ada", "payment.failed")

    assert [sent.channel for sent in made.sent(notification_id=lost)] == ["sms"]
    assert made.why(lost, "ada").channels["push"].reason == "invalid_token"


def test_a_provider_that_wants_it_again_later_gets_it_later() -> None:
    answers = iter((Outcome("retry"), Outcome("ok")))
    made = world(answer=lambda call: next(answers))
    made.request("ada", "order.shipped", channels=["email"])
    assert made.sent() == []

    made.advance(minutes=5)

    assert [sent.channel for sent in made.sent()] == ["email"]


def test_receipts_drive_a_fallback_chain() -> None:
    made = world()
    opened, unopened = made.request("ada", "payment.failed"), made.request("ada", "payment.failed", data={"n": 2})
    [push] = made.sent(notification_id=opened)
    made.receipt(push, "opened")
    made.advance(minutes=2)

    assert [channels(made, each) for each in (opened, unopened)] == [["push"], ["push", "sms"]]


def test_commands_change_what_is_known() -> None:
    made = world()
    made.command("preferences.patch", "ada", preferences={"channels": {"push": False}})
    first = made.request("ada", "order.shipped")
    made.command("user.erase", "ada")
    second = made.request("ada", "order.shipped")

    assert channels(made, first) == ["email", "in_app", "sms"]
    assert channels(made, second) == []
    assert "the user was erased" in made.why(second, "ada").summary


def test_another_policy_is_in_force_from_then_on() -> None:
    made = world()
    before = made.request("ada", "order.shipped")
    made.put_in_force({"categories": {"other": {"channels": ["email"]}}, "event_types": {"*": {"template": "plain"}}})
    after = made.request("ada", "order.shipped", data={"n": 2})

    assert (channels(made, before), channels(made, after)) == (["email", "in_app", "push", "sms"], ["email"])
    assert {event.policy_version for event in made.events("ada", after)} == {2}


def test_a_policy_may_be_a_file_or_the_default_one(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)

    made = World(file)
    made.user("ada")
    assert channels(made, made.request("ada", "comment.created", priority="critical")) == ["push"]
    World().user("ada")


def test_what_is_refused_names_its_field() -> None:
    made = world()

    with pytest.raises(Invalid, match="template_id: give template_id or content"):
        made.request("ada", "nobody.knows")
    with pytest.raises(Invalid, match="priority"):
        made.request("ada", "order.shipped", priority="loud")
    with pytest.raises(PolicyError, match=r"line 1: capz"):
        World("capz: []")
    with pytest.raises(Invalid, match=r"channels\.push\.en\.body: is required"):
        World(POLICY, templates={"x": {"channels": {"push": {"en": {"title": "t"}}}}})
    with pytest.raises(LookupError, match="bob has no notification nothing"):
        made.why("nothing", "bob")


def test_on_no_receipt_the_next_provider_sends_once_more_and_why_says_so() -> None:
    world = World(
        """
categories:
  codes: {channels: [sms], failover: {sms: {no_receipt: 60s}}}
event_types:
  code.sent: {category: codes, template: code}
"""
    )
    world.user("ada")
    code = world.request("ada", "code.sent")
    world.advance(seconds=59)
    assert [sent.provider for sent in world.sent()] == ["twilio"]
    world.advance(seconds=1)
    first, further = world.sent()
    world.receipt(further, "delivered")
    world.advance(hours=1)

    assert [sent.provider for sent in world.sent()] == ["twilio", "vonage"]
    assert {(e.detail or {}).get("of") for e in world.events() if e.send_id == further.send_id} >= {first.send_id}
    why = world.why(code, "ada")
    assert why.summary == "Sent by sms (delivered), once more by the next provider."
    [said] = [entry["words"] for entry in why.channels["sms"].trail if entry["rule"] == "no_receipt"]
    assert said == "sent once more by the next provider: no receipt came for the send by twilio within 1 min"


def test_a_users_own_limit_is_explained() -> None:
    world = World({"categories": {"news": {"channels": ["email"]}}, "event_types": {"news": {"category": "news"}}})
    world.user("ada", preferences={"limits": {"email": {"max": 1, "per": "day"}}})
    content = {"title": "News", "body": "of today"}
    first = world.request("ada", "news", content=content, idempotency_key="1")
    second = world.request("ada", "news", content=content, idempotency_key="2")

    why = world.why(second, "ada").summary
    assert why.startswith(f"Not sent by email: the user's own limit for email, 1 in 24 h, used by {first}; ")


# --- replays ---


class Outage:
    """Providers that fail until they are back."""

    def __init__(self) -> None:
        self.is_over = False
        self._accepting = Accepting()

    def __call__(self, call: Call) -> Outcome:
        return self._accepting(call) if self.is_over else Outcome("retry", code="503")


def after_an_outage(users: int = 3) -> tuple[World, Outage]:
    """A world in which nobody's text went out."""
    outage = Outage()
    world = World(POLICY, at="2026-03-02T12:00:00Z", answer=outage)
    for number in range(users):
        world.user(f"user-{number}")
        world.request(f"user-{number}", "order.shipped", channels=["sms"])
    world.advance(hours=4)
    assert {event.status for event in world.events() if event.channel == "sms"} >= {"failed"}
    outage.is_over = True
    return world, outage


def test_a_replay_sends_once_what_an_outage_kept_back() -> None:
    world, _ = after_an_outage()
    counted = world.replay("sms", dry_run=True)
    assert (counted.outcomes, world.sent()) == ({"would_send": 3}, [])

    first, second = world.replay("sms"), world.replay("sms")
    assert (first.outcomes, second.outcomes) == ({"sent": 3}, {"replayed_before": 3})
    assert sorted(sent.user_id for sent in world.sent()) == ["user-0", "user-1", "user-2"]


def test_a_replay_obeys_what_is_known_by_then() -> None:
    world, _ = after_an_outage()
    world.command("preferences.patch", "user-0", preferences={"channels": {"sms": False}})
    world.command("user.erase", "user-1")
    replay = world.replay("sms")

    assert replay.outcomes == {"opted_out": 1, "erased": 1, "sent": 1}


def test_a_replay_that_waits_goes_on_as_time_does() -> None:
    world, _ = after_an_outage(1)
    world.until("2026-03-02T23:00:00Z")
    replay = world.replay("sms")
    waiting = dict(replay.outcomes)
    world.advance(hours=10)

    assert (waiting, replay.outcomes) == ({"waiting": 1}, {"sent": 1})


def test_a_replay_takes_filters_as_its_http_call_does() -> None:
    world, _ = after_an_outage()
    assert world.replay("sms", status=["expired"]).outcomes == {}
    assert world.replay("sms", start="2026-03-02T13:00:00Z").outcomes == {}
    with pytest.raises(Invalid, match=r"^status: sent is not an end that can be replayed"):
        world.replay("sms", status=["sent"])
