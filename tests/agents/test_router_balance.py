"""What holds whatever happens: the balance, and that nothing is done twice."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.trail import words
from schemas.instants import rfc3339
from schemas.lifecycle import DETAIL_KEYS
from schemas.words import ENDS
from tests.agents.harness import HOUR, MINUTE, NOON, POLICY, PROVIDERS, Harness

EVERYTHING = (
    POLICY.replace("defaults:", 'defaults:\n  quiet_hours: {start: "13:00", end: "15:00", channels: [push, sms]}')
    .replace("critical: true,", "critical: true, failover: {sms: {no_receipt: 1m}},")
    .replace("mail: {channels: [email]}", "mail: {channels: [email], holdout: 30%}")
    .replace("categories:", "categories:\n  social: {channels: [push, in_app], digest: social}")
    .replace(
        "event_types:",
        "digests:\n  social: {window: 10m, max_wait: 25m, max_items: 3, min_items: 2, template: gathered}\n"
        "caps:\n"
        "  - {name: day, limit: 6, window: 6h, over: defer}\n"
        "  - {name: pushes, channel: push, limit: 3, window: 1h}\n"
        "event_types:\n"
        "  like.made: {category: social, template: note}\n"
        "  payment.failed: {category: orders, template: note, fallback: {chain: [push, sms, email], wait: 2m}}",
    )
)

TYPES = ["order.shipped", "mail.sent", "login.otp", "like.made", "payment.failed", "offer.made"]
USERS = ["ann", "bob"]

requests = st.fixed_dictionaries(
    {"user_id": st.sampled_from(USERS), "event_type": st.sampled_from(TYPES)},
    optional={
        "data": st.fixed_dictionaries({"n": st.integers(0, 2)}),
        "idempotency_key": st.sampled_from(["k1", "k2"]),
        "channels": st.lists(st.sampled_from(["push", "email", "sms", "in_app"]), max_size=3),
        "campaign_id": st.sampled_from(["c1", "c2"]),
        "collapse_key": st.just("x"),
        "send_at": st.sampled_from([rfc3339(NOON + n * HOUR) for n in (1, 2, 30)]),
        "priority": st.sampled_from(["low", "critical"]),
    },
)
commands = st.one_of(
    st.just(("user.erase", {})),
    st.just(("activity.seen", {"timezone": "Asia/Tokyo"})),
    st.just(("preferences.patch", {"preferences": {"dnd": {"enabled": True}}})),
    st.just(("preferences.set", {"preferences": {"channels": {"email": False}}})),
    st.just(("preferences.set", {"preferences": {"limits": {"push": {"max": 1, "per": "hour"}}}})),
    st.just(("device.remove", {"device_id": "d1"})),
    st.just(("notification.cancel", {"campaign_id": "c1"})),
    st.just(("profile.set", {"email": "other@example.com"})),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("request"), requests),
        st.tuples(st.just("command"), st.tuples(st.sampled_from(USERS), commands)),
        st.tuples(st.just("settle"), st.tuples(st.integers(0, 30), st.sampled_from(["sent", "failed", "unknown"]))),
        st.tuples(st.just("receipt"), st.tuples(st.integers(0, 30), st.sampled_from(["delivered", "bounced"]))),
        st.tuples(st.just("time"), st.sampled_from([1, MINUTE, 3 * MINUTE, HOUR])),
    ),
    max_size=25,
)

TWO_FOR_TEXTS = {**PROVIDERS, "sms": frozenset(("twilio", "vonage"))}

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def play(script: list[Any], partitions: int = 2, twice: bool = False) -> Harness:
    """``twice``: every record that comes from outside is read a second time at once."""
    router = Harness(policy=EVERYTHING, partitions=partitions, providers=TWO_FOR_TEXTS)
    for user in USERS:
        router.known(user, phone=f"+4420718387{USERS.index(user):02d}")
    for kind, message in script:
        before = len(router.log)
        if kind == "request":
            router.request(**message)
        elif kind == "command":
            user, (name, fields) = message
            router.command(name, user, **fields)
        elif kind == "time":
            router.after(message)
        elif router.sends:
            send = router.sends[message[0] % len(router.sends)]
            if kind == "settle":
                router.settled(send, message[1], provider=send.provider)
            else:
                router.receipt(send, message[1])
        for record in router.log[before:] if twice else ():
            router.again(record)
    return router


def recipient(event: dict[str, Any]) -> tuple[str, str]:
    return event["notification_id"], event["user_id"]


@relaxed
@given(steps)
def test_every_recipient_has_one_accepted_and_every_channel_one_end_in_the_end(script: list[Any]) -> None:
    router = play(script)
    router.at(NOON + 14 * 24 * HOUR)

    accepted = Counter(recipient(event) for event in router.events if event["status"] == "accepted")
    assert set(accepted.values()) <= {1}
    ended = Counter(
        (*recipient(event), event["channel"], event["send_id"])
        for event in router.events
        if event["status"] in ENDS and event["send_id"] is None
    )
    queued = Counter(event["send_id"] for event in router.events if event["status"] == "queued")
    assert set(ended.values()) <= {1}
    assert set(queued.values()) <= {1}
    assert queued == Counter(send.send_id for send in router.sends)
    for one in accepted:
        of = [event for event in router.events if recipient(event) == one]
        assert any(event["status"] == "queued" or event["status"] in ENDS for event in of)
        begun = {event["channel"] for event in of if event["status"] == "held"}
        over = {event["channel"] for event in of if event["status"] == "queued" or event["status"] in ENDS}
        assert begun <= over
    assert not router.dead


@relaxed
@given(steps, st.sampled_from(["too_large", "permanent"]))
def test_what_can_not_be_woken_has_one_end_too(script: list[Any], reason: Any) -> None:
    router = play(script)
    waited = open_parts(router)
    before = len(router.events)
    router.give_up(reason)

    ended = Counter((*recipient(e), e["channel"]) for e in router.events[before:] if e["status"] in ENDS)
    assert set(ended) >= waited
    assert set(ended.values()) <= {1}
    failed = [e for e in router.events[before:] if e["status"] == "failed"]
    assert {e["reason"] for e in failed} <= {reason}
    assert open_parts(router) == set()
    for state in router.states:
        assert state.pending.table.scan(b"", None) == []
        assert state.digests.scan(b"", None) == []


def open_parts(router: Harness) -> set[tuple[str, str, str | None]]:
    """What waits: a recipient's channels, or (None) the whole of it."""
    return {
        (row.facts.notification_id, row.facts.user_id, channel)
        for state in router.states
        for _, row in state.notifications.scan(b"", None)
        for channel in [None] * bool(row.scheduled) + [part.channel for part in row.parts if part.wait]
    }


@relaxed
@given(steps)
def test_an_event_id_names_one_event_and_its_detail_holds_only_what_it_may(script: list[Any]) -> None:
    router = play(script)
    router.at(NOON + 14 * 24 * HOUR)

    by_id: dict[str, dict[str, Any]] = {}
    for event in router.events:
        assert by_id.setdefault(event["event_id"], event) == event
        assert (event["detail"] or {}).keys() <= DETAIL_KEYS


@relaxed
@given(steps)
def test_an_end_without_a_channel_is_the_only_end(script: list[Any]) -> None:
    router = play(script)
    router.at(NOON + 14 * 24 * HOUR)

    for event in router.events:
        if event["status"] in ENDS and event["channel"] is None:
            others = [e for e in router.events if recipient(e) == recipient(event) and e["channel"] is not None]
            assert others == []


@relaxed
@given(steps, st.integers(0, 40))
def test_records_that_are_read_again_have_no_second_effects(script: list[Any], back: int) -> None:
    router = play(script)
    reported = {event["event_id"]: event for event in router.events}
    rows = [{name: dict(table) for name, table in rows.tables.items()} for rows in router.rows]
    sends = len(router.sends)

    for record in list(router.log[len(router.log) - min(back, len(router.log)) :]):
        router.again(record)

    assert len(router.sends) == sends
    assert all(reported.get(event["event_id"]) == event for event in router.events)
    assert [{name: dict(table) for name, table in rows.tables.items()} for rows in router.rows] == rows


@relaxed
@given(steps)
def test_every_rule_that_was_asked_has_words(script: list[Any]) -> None:
    router = play(script)
    router.at(NOON + 14 * 24 * HOUR)

    trails = [event["detail"]["trail"] for event in router.events if (event["detail"] or {}).get("trail")]
    for entry in (entry for trail in trails for entry in trail):
        assert words(entry) != " ".join(str(part) for part in entry)


@relaxed
@given(steps)
def test_the_same_log_comes_to_the_same(script: list[Any]) -> None:
    assert play(script).events == play(script).events


@relaxed
@given(steps)
def test_nothing_is_left_waiting_in_the_end(script: list[Any]) -> None:
    router = play(script)
    router.at(NOON + 14 * 24 * HOUR)

    for state in router.states:
        assert state.schedule.scan(b"", None) == []
        assert state.pending.table.scan(b"", None) == []
        assert state.digests.scan(b"", None) == []
        assert all(not row.waiting for _, row in state.windows.scan(b"", None))


@relaxed
@given(steps)
def test_records_that_are_produced_twice_have_one_effect(script: list[Any]) -> None:
    once, twice = play(script), play(script, twice=True)

    assert [send.send_id for send in twice.sends] == [send.send_id for send in once.sends]
    message = {event["event_id"]: event for event in once.events}
    assert {event["event_id"]: event for event in twice.events} == message


#: What one user does that can't touch another.
own_steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("request"), requests.map(lambda message: {k: v for k, v in message.items() if k != "user_id"})
        ),
        st.tuples(st.just("command"), commands),
        st.tuples(st.just("time"), st.sampled_from([1, MINUTE, HOUR])),
    ),
    max_size=8,
)


@relaxed
@given(st.lists(st.tuples(st.sampled_from(USERS), own_steps), max_size=6))
def test_users_whose_records_are_interleaved_are_judged_as_if_alone(turns: list[tuple[str, Any]]) -> None:
    """What ends at one moment, by one command, ends in the order of the ids, which offsets give: that is left open."""

    def played(users: list[str]) -> dict[str, list[tuple[Any, ...]]]:
        script: list[Any] = []
        for user, own in turns:
            for kind, message in own:
                if kind == "time":
                    script.append((kind, message))
                elif user in users:
                    script.append((kind, {"user_id": user, **message} if kind == "request" else (user, message)))
        router = play(script)
        router.at(NOON + 14 * 24 * HOUR)
        return {
            user: sorted(
                (e["occurred_at"], e["status"], e["channel"] or "", e["reason"] or "")
                for e in router.events
                if e["user_id"] == user
            )
            for user in users
        }

    together = played(USERS)
    for user in USERS:
        assert played([user])[user] == together[user]


#: Of one moment: more pushes than there are places for, one of them said twice, and enough likes for a digest.
AT_ONCE = [
    *[("order.shipped", "push", n) for n in (0, 1, 2, 3, 3)],
    *[("like.made", "push", n) for n in (0, 1)],
    ("mail.sent", "email", 0),
    ("payment.failed", "email", 0),
]


@relaxed
@given(st.permutations(AT_ONCE), st.sampled_from([0, HOUR]))
def test_what_comes_at_one_moment_comes_to_as_much_in_any_order(order: list[tuple[str, str, int]], after: int) -> None:
    """At noon, or in the quiet hours."""

    def come_to(asked: list[tuple[str, str, int]]) -> Counter[tuple[Any, ...]]:
        router = play([("time", after)])
        for event_type, channel, n in asked:
            router.request("ann", event_type, channels=[channel], data={"n": n})
        router.after(24 * HOUR)
        return Counter(router.reported())

    assert come_to(order) == come_to(AT_ONCE)
