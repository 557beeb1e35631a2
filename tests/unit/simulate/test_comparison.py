"""Two sets of fates side by side: pure values in, counts and examples out."""

from app.simulate.comparison import NOTICED_MS, Change, Comparison, Kind
from app.simulate.fates import Fate, Fates

SENT = Fate("orders", "sent", at_ms=1_000)
CAPPED = Fate("orders", "suppressed", "rate_cap")
HELD = Fate("orders", "held", "quiet_hours", "quiet_hours")
AFTER = Fate("orders", "sent", None, "quiet_hours", at_ms=1_000 + 8 * 3_600_000)


def compared(now: Fates, new: Fates, examples: int = 10) -> Comparison:
    comparison = Comparison(examples)
    comparison.add("ann", now, new)
    return comparison


def test_what_comes_to_the_same_is_no_change() -> None:
    made = compared({("n1", "push"): SENT}, {("n1", "push"): SENT})

    assert made.kinds() == [(Kind("orders", "push", "sent", ""), 1, 1)]
    assert (made.users, made.differing, made.noticing) == (1, 0, 0)
    assert made.most_changed == []


def test_every_change_is_counted_from_what_to_what() -> None:
    now: Fates = {("n1", "push"): SENT, ("n2", "push"): SENT, ("n3", "sms"): HELD, ("n4", ""): CAPPED}
    new: Fates = {("n1", "push"): CAPPED, ("n2", "push"): CAPPED, ("n3", "sms"): AFTER, ("n4", ""): CAPPED}
    made = compared(now, new)

    assert made.changes == {
        Change("orders", "push", "sent", "suppressed, rate_cap"): 2,
        Change("orders", "sms", "held, quiet_hours", "sent, after quiet_hours"): 1,
    }
    assert set(made.users_of.values()) == {1}
    assert made.kinds() == [
        (Kind("orders", "all", "suppressed", "rate_cap"), 1, 1),
        (Kind("orders", "push", "sent", ""), 2, 0),
        (Kind("orders", "push", "suppressed", "rate_cap"), 0, 2),
        (Kind("orders", "sms", "held", "quiet_hours"), 1, 0),
        (Kind("orders", "sms", "sent", "after quiet_hours"), 0, 1),
    ]
    [user] = made.most_changed
    assert (user.sent_now, user.sent_new, user.fewer, user.more, user.moved) == (2, 1, 2, 1, 0)


def test_a_digest_that_only_one_side_has_is_something_out_of_nothing() -> None:
    made = compared({("n1", "push"): SENT}, {("n1", "push"): Fate("orders", "aggregated"), ("digest", "push"): SENT})

    assert made.changes == {
        Change("orders", "push", "sent", "aggregated"): 1,
        Change("orders", "push", "nothing", "sent"): 1,
    }


def test_another_reason_for_silence_differs_but_nobody_notices() -> None:
    made = compared({("n1", "push"): CAPPED}, {("n1", "push"): Fate("orders", "suppressed", "dnd")})

    assert (made.differing, made.noticing) == (1, 0)


def test_a_message_that_moves_by_a_minute_is_noticed() -> None:
    def later(ms: int) -> Comparison:
        return compared({("n1", "push"): SENT}, {("n1", "push"): Fate("orders", "sent", at_ms=SENT.at_ms + ms)})

    assert later(NOTICED_MS - 1).changes == {}
    assert later(NOTICED_MS).changes == {Change("orders", "push", "sent", "sent, at another time"): 1}
    assert (later(NOTICED_MS).noticing, later(-NOTICED_MS).noticing) == (1, 1)


def test_the_users_most_concerned_are_kept_and_no_more_than_asked_for() -> None:
    made = Comparison(examples=2)
    for name, changed in (("one", 1), ("three", 3), ("two", 2), ("none", 0)):
        now: Fates = {(f"n{i}", "push"): SENT for i in range(4)}
        new: Fates = {(f"n{i}", "push"): CAPPED if i < changed else SENT for i in range(4)}
        made.add(name, now, new)

    assert [user.user_id for user in made.most_changed] == ["three", "two"]
    made.leave_out({"three"})
    assert [user["user_id"] for user in made.as_json()["users"]["examples"]] == ["two"]
    assert made.as_json()["users"] | {"examples": []} == {"seen": 4, "differ": 3, "would_notice": 3, "examples": []}


def test_without_examples_there_are_none() -> None:
    assert compared({("n1", "push"): SENT}, {("n1", "push"): CAPPED}, examples=0).most_changed == []
