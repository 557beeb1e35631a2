"""One row, one object: whatever is decided on the way sees it as it is now, so a channel has one end."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.testing import World
from schemas.instants import parse_ms, rfc3339
from schemas.words import ENDS
from tests.agents.harness import HOUR, MINUTE, NOON, Harness

GATHERING = """
defaults:
  expires_after: 48h
categories:
  social: {channels: [push, email], digest: social}
  orders: {channels: [push, email]}
caps:
  - {name: pushes, channel: push, limit: 2, window: 1h, over: defer}
digests:
  social: {window: 1h, max_wait: 1h, min_items: 3, max_items: 4, template: gathered}
event_types:
  like.made: {category: social, template: note}
  order.shipped: {category: orders, template: note}
  payment.failed: {category: orders, template: note, fallback: {chain: [push, email], wait: 20m}}
"""


def test_what_a_digest_lets_go_and_a_newer_item_replaces_is_not_sent() -> None:
    router = Harness(policy=GATHERING)
    router.known()
    message: dict[str, Any] = {"event_type": "like.made", "channels": ["push"], "collapse_key": "thread"}
    router.request(
        **message, send_at=rfc3339(NOON + 10 * MINUTE), created_at=rfc3339(NOON + 2 * MINUTE), data={"n": "older"}
    )
    router.after(MINUTE)
    router.request(**message, data={"n": "newer"})
    older, newer = (event["notification_id"] for event in router.events if event["status"] == "accepted")
    router.after(2 * HOUR)

    assert router.reported(notification_id=older)[-2:] == [
        ("held", "push", "digest"),
        ("suppressed", "push", "replaced"),
    ]
    assert router.reported(notification_id=newer)[-1] == ("queued", "push", None)
    assert [send.notification_id for send in router.sends] == [newer]


def test_in_a_world_the_replaced_item_of_a_digest_is_not_sent() -> None:
    world = World(GATHERING, at="2026-03-04T12:00:00Z")
    world.user("ann")
    message: dict[str, Any] = {"channels": ["push"], "collapse_key": "thread"}
    at: dict[str, Any] = {"send_at": "2026-03-04T12:10:00Z", "created_at": "2026-03-04T12:02:00Z"}
    older = world.request("ann", "like.made", data={"n": "older"}, **at, **message)
    newer = world.request("ann", "like.made", data={"n": "newer"}, at="2026-03-04T12:01:00Z", **message)
    world.advance(hours=2)

    assert [sent.notification_id for sent in world.sent("ann")] == [newer]
    assert [e.status for e in world.events("ann", older)] == ["accepted", "scheduled", "held", "suppressed"]


times = st.integers(0, 90).map(lambda minutes: rfc3339(NOON + minutes * MINUTE))
requests = st.fixed_dictionaries(
    {"event_type": st.sampled_from(["like.made", "like.made", "order.shipped", "payment.failed"])},
    optional={
        "collapse_key": st.sampled_from(["x", "y"]),
        "channels": st.sampled_from([["push"], ["email"], ["push", "email"]]),
        "send_at": times,
        "created_at": times,
        "campaign_id": st.sampled_from(["c1", "c2"]),
        "expires_at": st.integers(91, 200).map(lambda minutes: rfc3339(NOON + minutes * MINUTE)),
    },
)
likes = st.fixed_dictionaries(
    {"event_type": st.just("like.made"), "channels": st.just(["push"]), "collapse_key": st.just("x")},
    optional={"send_at": times, "created_at": times},
)
steps = st.lists(
    st.one_of(
        likes,
        requests,
        st.sampled_from([MINUTE, 10 * MINUTE, HOUR]),
        st.sampled_from(["c1", "c2"]),
        st.tuples(st.integers(0, 20), st.sampled_from(["sent", "failed"])),
        st.just({"dnd": {"enabled": True}}),
        st.just({"dnd": {"enabled": False}}),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_every_channel_has_one_end_whatever_meets_in_a_digest(script: list[Any]) -> None:
    router = Harness(policy=GATHERING)
    router.known()
    for step in script:
        match step:
            case int():
                router.after(step)
            case str():
                router.command("notification.cancel", campaign_id=step)
            case (number, end):
                if router.sends:
                    router.settled(router.sends[number % len(router.sends)], end)
            case {"dnd": _}:
                router.command("preferences.patch", preferences=step)
            case _:
                router.request(**_in_order(step))
    router.after(96 * HOUR)

    ended: Counter[tuple[Any, ...]] = Counter()
    for event in router.events:
        if event["status"] in ENDS or event["status"] == "queued":
            ended[event["notification_id"], event["channel"]] += 1
    accepted = {event["notification_id"] for event in router.events if event["status"] == "accepted"}
    assert set(ended.values()) <= {1}
    assert {notification_id for notification_id, _ in ended} == accepted
    assert not router.states[0].pending.of_user("ann")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_in_a_world_every_channel_has_one_end_and_none_is_sent_twice(script: list[Any]) -> None:
    world = World(GATHERING, at=rfc3339(NOON))
    world.user("ann", devices=("ios",), email="ann@example.com")
    for step in script:
        match step:
            case int():
                world.advance(seconds=step / 1000)
            case str():
                world.command("notification.cancel", campaign_id=step)
            case (number, _):
                if sent := world.sent("ann"):
                    world.receipt(sent[number % len(sent)], "delivered")
            case {"dnd": _}:
                world.command("preferences.patch", "ann", preferences=step)
            case _:
                world.request("ann", **_in_order(step))
    world.advance(hours=96)

    events = world.events("ann")
    ended = Counter((event.notification_id, event.channel) for event in events if event.status in ENDS)
    accepted = {event.notification_id for event in events if event.status == "accepted"}
    assert set(ended.values()) <= {1}
    assert {notification_id for notification_id, _ in ended} == accepted
    assert not world.waiting("ann")
    sent_twice = Counter((sent.notification_id, sent.channel) for sent in world.sent("ann"))
    assert set(sent_twice.values()) <= {1}


def _in_order(request: dict[str, Any]) -> dict[str, Any]:
    """An expiry that lies after the time to send, else none."""
    if "expires_at" in request and parse_ms(request["expires_at"]) <= parse_ms(request.get("send_at", rfc3339(0))):
        return {name: value for name, value in request.items() if name != "expires_at"}
    return request
