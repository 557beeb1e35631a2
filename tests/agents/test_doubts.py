"""Doubts are counted: how many there are now, since when, and what settled the others; a restart forgets none."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agents.monitors import watch_doubts
from agents.sender.context import ChannelConfig
from agents.sender.doubts import HOWS
from agents.sender.machine import SenderMachine
from app.domain.outcome import OutcomeKind
from app.metrics import DoubtMetrics
from app.ports import NotOwned
from schemas.words import Provider
from tables.pauses import doubt_age_key
from tests.agents.senders import PHONE
from tests.agents.stage import MINUTE, Stage, a_catalog, a_send

PROVIDERS: tuple[Provider, ...] = ("sns", "twilio")
RESENDS = {"in_doubt": {"settle": "5m", "default": "resend"}}


class Watched:
    """The SMS role with its metrics, as Prometheus sees them."""

    owned = frozenset((0, 1))

    def __init__(self, **policy: Any) -> None:
        self.registry = CollectorRegistry()
        self.metrics = DoubtMetrics(self.registry, PROVIDERS, HOWS, lambda: self.stage.now)
        channel_config = ChannelConfig(
            "sms", dict.fromkeys(reversed(PROVIDERS), 15_000), on_settled=self.metrics.settled
        )
        self.stage = Stage(SenderMachine(a_catalog(**policy), channel_config))
        self.stage.command("profile.set", phone=PHONE, phone_verified=True)

    async def read(
        self, partition: int, view: str, user_id: str, params: Mapping[str, str], after: int | None, within_s: float
    ) -> Any:
        if partition == 1:
            raise NotOwned("1")
        return self.stage.machine.read(view, user_id, params, self.stage.state, self.stage.now)

    def doubt(self, number: int = 1, **changes: Any) -> None:
        self.stage.take(a_send(number, user_id=f"u{number}", **changes))
        self.stage.answer("in_doubt", doubt="timeout")

    def users(self, *names: str) -> None:
        for name in names:
            self.stage.command("profile.set", name, phone=PHONE, phone_verified=True)

    async def shown(self) -> tuple[float | None, float | None]:
        """How many are in doubt with twilio, and for how many seconds the oldest has been."""
        seen = asyncio.Event()

        def show(provider: str, count: int, since: int | None) -> None:
            self.metrics.show(provider, count, since)
            if provider == "twilio":
                seen.set()

        watching = asyncio.create_task(watch_doubts(self, PROVIDERS, show))
        await asyncio.wait_for(seen.wait(), 30)
        watching.cancel()
        value = self.registry.get_sample_value
        twilio = {"provider": "twilio"}
        return value("tocsin_in_doubt", twilio), value("tocsin_in_doubt_oldest_seconds", twilio)

    def settled(self) -> dict[str, float]:
        counts = {
            how: self.registry.get_sample_value("tocsin_in_doubt_settled_total", {"provider": "twilio", "how": how})
            for how in HOWS
        }
        assert None not in counts.values()  # each is there from the beginning
        return {how: count for how, count in counts.items() if count}


async def test_doubts_are_counted_through_their_life_and_through_a_restart() -> None:
    role = Watched()
    role.users("u2")
    assert await role.shown() == (0, 0)

    role.doubt(1)
    role.stage.wait(4_000)
    role.doubt(2)
    assert await role.shown() == (2, 4)

    role.stage.crash()
    assert await role.shown() == (2, 4)
    assert role.settled() == {}

    role.stage.wait_for_call()
    role.stage.answer("ok", provider_message_id="SM1")
    assert await role.shown() == (1, 1)
    role.stage.wait(10 * MINUTE)
    assert await role.shown() == (0, 0)
    assert role.settled() == {"found": 1, "given_up": 1}
    assert role.stage.rows_of("backlog") == {}
    assert role.stage.rows_of("pauses") == {}


async def test_a_call_that_was_lost_with_its_process_is_counted_as_soon_as_it_is_in_doubt() -> None:
    role = Watched()
    role.stage.take(a_send())
    role.stage.crash()
    assert await role.shown() == (0, 0)
    role.stage.wait(21_000)
    assert (await role.shown())[0] == 1


def by_receipt(role: Watched) -> None:
    role.stage.receipt(send_id=a_send().send_id, user_id="u1", status="delivered", provider="twilio")


def by_question(role: Watched) -> None:
    role.stage.wait_for_call()
    role.stage.answer("ok", provider_message_id="SM1")


def by_time(role: Watched) -> None:
    role.stage.wait_for_call()
    while role.stage.calls and role.stage.calls[0].purpose == "ask":
        role.stage.answer(None)
        role.stage.wait_for_call()


def by_erasure(role: Watched) -> None:
    role.stage.command("user.erase")
    role.stage.wait(10 * MINUTE)


@pytest.mark.parametrize(
    ("settle", "policy", "how"),
    [
        (by_receipt, {}, "receipt"),
        (by_question, {}, "found"),
        (by_time, {}, "given_up"),
        (by_time, RESENDS, "resent"),
        (by_erasure, {}, "given_up"),
    ],
)
async def test_every_way_out_of_a_doubt_is_counted_once_by_its_name(settle: Any, policy: Any, how: str) -> None:
    role = Watched(**policy)
    role.doubt()
    settle(role)

    assert await role.shown() == (0, 0)
    assert role.settled() == {how: 1}


@pytest.mark.parametrize("kind", ["ok", "drop", "retry"])
async def test_a_late_answer_of_the_call_settles_its_doubt(kind: OutcomeKind) -> None:
    role = Watched()
    role.stage.take(a_send())
    call = role.stage.calls[0]
    role.stage.wait(21_000)  # its deadline
    assert (await role.shown())[0] == 1
    role.stage.calls = [call]
    role.stage.answer(kind, code="500")

    assert await role.shown() == (0, 0)
    assert role.settled() == {"answer": 1}


async def test_a_send_that_is_in_doubt_once_more_after_it_was_sent_again_counts_as_another() -> None:
    role = Watched(**RESENDS)
    role.doubt()
    by_time(role)
    role.stage.answer("in_doubt", doubt="timeout")
    assert (await role.shown())[0] == 1
    role.stage.wait(10 * MINUTE)

    assert await role.shown() == (0, 0)
    assert role.settled() == {"resent": 1, "given_up": 1}
    assert role.stage.rows_of("pauses") == {}


async def test_a_doubt_from_before_doubts_were_counted_is_counted_when_it_moves() -> None:
    role = Watched()
    role.doubt()
    began = role.stage.now
    by_age = doubt_age_key("twilio", began, bytes.fromhex(a_send().send_id.replace("-", "")))
    role.stage.rows.write("pauses", {by_age: None})
    role.stage.rows.write("backlog", dict.fromkeys(list(role.stage.rows_of("backlog"))))
    role.stage.crash()
    assert await role.shown() == (0, 0)

    role.stage.wait_for_call()  # it is asked after
    assert await role.shown() == (1, 5)
    role.stage.answer("ok", provider_message_id="SM1")
    assert await role.shown() == (0, 0)
    assert role.settled() == {"found": 1}
