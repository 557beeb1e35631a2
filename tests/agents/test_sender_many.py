"""Very many sends of one user are looked at a part at a time."""

from agents.sender.withdraw import AT_ONCE
from tests.agents.senders import sms
from tests.agents.stage import HOUR, NOON, Stage, a_send


def many(stage: Stage, count: int) -> None:
    for number in range(1, count + 1):
        stage.take(a_send(number))


def test_a_command_looks_at_very_many_a_part_at_a_time_and_reaches_them_all() -> None:
    stage = sms()
    count = 3 * AT_ONCE
    many(stage, count)
    before = len(stage.events)
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    assert len(stage.events) - before <= AT_ONCE
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    assert len(stage.events) - before <= AT_ONCE  # no second pass beside the first
    parts = 0
    while (due := stage.next_due()) is not None and due <= stage.now:
        seen = len(stage.events)
        stage.wake_one()
        parts += 1
        assert len(stage.events) - seen <= AT_ONCE
    assert sum(event.status == "suppressed" for event in stage.events) == count - 1
    assert parts < 20


def test_what_a_part_has_not_reached_yet_is_stopped_by_its_own_last_look() -> None:
    stage = sms()
    many(stage, 2 * AT_ONCE)
    stage.command("user.erase")
    stage.answer("ok")

    assert stage.calls == []


def test_a_night_lets_go_of_very_many_a_part_at_a_time() -> None:
    stage = sms()
    stage.now = NOON + 11 * HOUR
    many(stage, 2 * AT_ONCE + 10)
    assert all(event.status == "held" for event in stage.events)
    order = []
    for _ in range(3 * AT_ONCE):
        stage.wait_for_call()
        order += [int(name[-12:-4], 16) for name in stage.answer_all()]
        if stage.next_due() is None:
            break

    assert order == list(range(1, 2 * AT_ONCE + 11))


def test_very_many_that_are_over_end_a_part_at_a_time() -> None:
    stage = sms()
    for number in range(1, 3 * AT_ONCE):
        stage.take(a_send(number, expires_at=NOON + 1_000_000))
    stage.now = NOON + 1_000_000
    before = len(stage.events)
    stage.answer("ok")
    assert len(stage.events) - before <= AT_ONCE + 1
    stage.wait(1)

    assert sum(event.status == "expired" for event in stage.events) == 3 * AT_ONCE - 2
    assert stage.rows_of("pauses") == {}
