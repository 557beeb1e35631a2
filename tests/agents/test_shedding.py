"""Low sends are given up while too much waits for a provider: as many as are too much, and nobody else's."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from agents.monitors import watch_backlog
from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from agents.sender.shed import Shedding
from app.domain.outcome import CIRCUIT_OPEN
from app.domain.policy import parse_policy
from app.ports import NotOwned
from schemas.words import Provider
from tests.agents.dispatching import FewSlots
from tests.agents.stage import DAY, HOUR, MINUTE, NOON, Stage, a_catalog, a_send

PHONE = "+442071838750"


class Told:
    """What was said of shedding: (provider, backlog, limit, begins); and how many sends were shed."""

    def __init__(self) -> None:
        self.changes: list[tuple[Provider, int, int, bool]] = []
        self.shed = 0

    def change(self, *message: Any) -> None:
        self.changes.append(message)

    def count(self) -> None:
        self.shed += 1


def sms(reported: Told | None = None, slots: FewSlots | None = None) -> tuple[Stage, Shedding]:
    reported = reported or Told()
    shedding = Shedding(reported.change, reported.count)
    channel_config = ChannelConfig("sms", {"twilio": 15_000}, shedding=shedding, slots=slots or FewSlots(twilio=99))
    stage = Stage(SenderMachine(a_catalog(shed={"low": "6h", "backlog": {"twilio": 10}}), channel_config))
    stage.command("profile.set", phone=PHONE, phone_verified=True)
    return stage, shedding


def ends(stage: Stage) -> list[tuple[int, str, str | None]]:
    numbers = {a_send(number).send_id: number for number in range(1, 40)}
    return [(numbers[e.send_id], e.status, e.reason) for e in stage.events if e.send_id and e.status == "suppressed"]


def test_as_many_low_sends_are_shed_as_the_backlog_is_over_its_limit() -> None:
    stage, shedding = sms()
    shedding.measure({"twilio": 13}, {"twilio": 10})
    for number in range(1, 7):
        stage.take(a_send(number, priority="low"))

    assert ends(stage) == [(number, "suppressed", "shed") for number in (1, 2, 3)]
    assert stage.answer_all() == [a_send(number).send_id for number in (4, 5, 6)]
    assert stage.reported()[:3] == [("suppressed", "shed")] * 3


@pytest.mark.parametrize("priority", ["normal", "high", "critical"])
def test_others_than_low_ones_are_never_shed_for_a_backlog(priority: str) -> None:
    stage, shedding = sms()
    shedding.measure({"twilio": 1_000_000}, {"twilio": 10})
    stage.take(a_send(priority=priority))

    assert stage.story() == [("sending", None)]


def test_a_backlog_at_its_limit_sheds_nothing() -> None:
    stage, shedding = sms()
    shedding.measure({"twilio": 10}, {"twilio": 10})
    stage.take(a_send(priority="low"))

    assert stage.story() == [("sending", None)]


def test_what_is_held_in_the_night_or_stopped_anyway_takes_no_part() -> None:
    stage, shedding = sms()
    shedding.measure({"twilio": 11}, {"twilio": 10})
    stage.command("preferences.set", preferences={"dnd": {"enabled": True}})
    stage.take(a_send(1, priority="low"))
    stage.command("preferences.set", preferences={})
    stage.take(a_send(2, priority="low"))

    assert ends(stage) == [(1, "suppressed", "dnd"), (2, "suppressed", "shed")]


def test_what_waits_out_an_outage_is_counted_and_shed_when_it_is_looked_at_again() -> None:
    slots = FewSlots(twilio=1)
    stage, shedding = sms(slots=slots)
    stage.take(a_send(priority="low"))
    slots.free["twilio"] = None
    stage.answer("throttle", code=CIRCUIT_OPEN, retry_after_ms=1_000)
    assert stage.machine.read("backlog", "", {}, stage.state, stage.now) == {"twilio": 1}

    shedding.measure({"twilio": 11}, {"twilio": 10})
    stage.wait(MINUTE)

    assert stage.story() == [("sending", None), ("held", "provider_outage"), ("suppressed", "shed")]
    assert stage.machine.read("backlog", "", {}, stage.state, stage.now) == {}


def test_what_may_be_with_a_provider_is_not_shed() -> None:
    stage, shedding = sms()
    stage.take(a_send(1, priority="low"))
    stage.answer("retry", code="500")
    shedding.measure({"twilio": 1_000}, {"twilio": 10})
    stage.wait_for_call()

    assert [status for status, _ in stage.story()] == ["sending", "retrying", "sending"]


def test_the_count_of_what_waits_follows_every_way_out_of_a_wait() -> None:
    stage, _ = sms()

    def waiting() -> int:
        backlog: dict[str, int] = stage.machine.read("backlog", "", {}, stage.state, stage.now)
        return backlog.get("twilio", 0)

    counts = []
    for number in range(1, 6):
        stage.take(a_send(number, expires_at=NOON + (HOUR if number == 3 else 2 * DAY)))
        stage.answer("throttle", retry_after_ms=2 * HOUR)
        counts.append(waiting())
    assert counts == [1, 2, 3, 4, 5]

    stage.command("notification.cancel", notification_id=a_send(1).notification_id, source="shop")
    assert waiting() == 4
    stage.wait(HOUR + MINUTE)
    assert waiting() == 3  # one expired
    stage.crash()
    for left in (2, 1, 0):
        stage.now = max(stage.now, stage.next_due() or 0)
        stage.wake_one()
        stage.answer("ok")
        assert waiting() == left  # one more is called
    assert stage.rows_of("backlog") == {}


def test_shedding_is_logged_when_it_begins_and_ends_and_each_send_is_counted() -> None:
    reported = Told()
    stage, shedding = sms(reported)
    for backlog in (9, 12, 30, 11, 10, 10, 9, 8, 12):
        shedding.measure({"twilio": backlog}, {"twilio": 10})
    stage.take(a_send(1, priority="low"))
    stage.take(a_send(2, priority="low"), recorded=NOON - 7 * HOUR)

    assert reported.changes == [("twilio", 12, 10, True), ("twilio", 9, 10, False), ("twilio", 12, 10, True)]
    assert reported.shed == 2


def test_a_policy_without_the_limit_ends_it() -> None:
    reported = Told()
    stage, shedding = sms(reported)
    shedding.measure({"twilio": 12}, {"twilio": 10})
    shedding.measure({"twilio": 12}, {})
    stage.take(a_send(priority="low"))

    assert [begins for *_, begins in reported.changes] == [True, False]
    assert stage.story() == [("sending", None)]


class Worker:
    """Two partitions of eight; the second is on its way to another worker."""

    owned = frozenset((0, 1))

    def unread(self) -> int:
        return 7

    async def read(
        self, partition: int, view: str, user_id: str, params: Mapping[str, str], after: int | None, within_s: float
    ) -> Any:
        if partition == 1:
            raise NotOwned("1")
        return {"apns": 5}


async def test_a_worker_takes_its_partitions_share_of_the_limit_and_counts_all_unread() -> None:
    reported, seen = Told(), dict[Provider, int]()
    policy = parse_policy({"shed": {"backlog": {"apns": 40, "ses": 1}}})
    enough = asyncio.Event()

    def backlog(provider: Provider, count: int) -> None:
        seen[provider] = count
        if len(seen) == 2:
            enough.set()

    watching = asyncio.create_task(
        watch_backlog(Shedding(reported.change), Worker(), lambda: policy, ("apns", "fcm"), 8, backlog)
    )
    await asyncio.wait_for(enough.wait(), 30)
    await asyncio.sleep(0)
    watching.cancel()

    assert seen == {"apns": 12, "fcm": 7}
    assert reported.changes == [("apns", 12, 10, True)]
