"""How far roles are behind, of what their groups have committed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from app.store.lags import TOPICS, RoleLags, lag_of
from app.store.rights import GATEWAY

_PLACES = [TopicPartition("t", number) for number in range(3)]
_OFFSETS = st.fixed_dictionaries({place: st.integers(0, 50) for place in _PLACES})


@given(_OFFSETS, _OFFSETS, st.dictionaries(st.sampled_from(_PLACES), st.integers(0, 120)))
def test_a_lag_is_what_is_still_there_and_was_not_committed(
    begins: dict[TopicPartition, int], more: dict[TopicPartition, int], committed: dict[TopicPartition, int]
) -> None:
    ends = {place: begins[place] + more[place] for place in _PLACES}
    left = [
        offset
        for place in _PLACES
        for offset in range(begins[place], ends[place])
        if place not in committed or offset >= committed[place]
    ]

    assert lag_of(_PLACES, committed, begins, ends) == len(left)


@dataclass
class Asked:
    """What Kafka answers, time after time; by a clock that goes on by hand. ``at``: when it was asked."""

    answers: list[Any]
    now: float = 100.0
    at: list[float] = field(default_factory=list)

    async def look(self) -> dict[str, int]:
        self.at.append(self.now)
        answer = self.answers[len(self.at) - 1]
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@asynccontextmanager
async def looking(asked: Asked) -> AsyncIterator[Callable[[float], Awaitable[tuple[Any, Any, bool]]]]:
    """What is shown at a moment, what right after it, and whether Kafka answered."""
    lags = RoleLags({}, 1, lambda: asked.now)

    async def shown(seconds: float) -> tuple[Any, Any, bool]:
        asked.now = 100.0 + seconds
        before = lags.by_role()
        for _ in range(3):
            await asyncio.sleep(0)
        return before, lags.by_role(), lags.is_answered

    with patch.object(RoleLags, "_look", lambda _: asked.look()):
        yield shown
        await lags.close()


async def test_whoever_asks_never_waits_for_kafka_and_it_is_asked_once_a_while() -> None:
    asked = Asked([{"router": 7}, {"router": 9}])
    async with looking(asked) as shown:
        assert await shown(0.0) == ({}, {"router": 7}, True)
        assert await shown(1.0) == ({"router": 7}, {"router": 7}, True)
        assert await shown(3.0) == ({"router": 7}, {"router": 9}, True)
    assert asked.at == [100.0, 103.0]


@pytest.mark.parametrize("error", [OSError(), KafkaError(), KeyError("router")])
async def test_nothing_is_shown_once_kafka_could_not_be_asked(error: Exception) -> None:
    async with looking(Asked([{"router": 7}, error, {"router": 9}])) as shown:
        await shown(0.0)
        assert await shown(3.0) == ({"router": 7}, {}, False)
        assert await shown(6.0) == ({}, {"router": 9}, True)


async def test_what_is_old_is_not_shown_while_kafka_is_asked() -> None:
    async with looking(Asked([{"router": 7}, asyncio.Event()])) as shown:
        await shown(0.0)
        assert await shown(9.0) == ({"router": 7}, {"router": 7}, True)
        assert await shown(11.0) == ({}, {}, True)


def test_the_gateway_may_ask_how_far_every_role_is() -> None:
    assert {f"tocsin_{role}" for role in TOPICS} <= {*GATEWAY.groups, *GATEWAY.asks_groups}
    described = {*GATEWAY.reads, *GATEWAY.writes, *GATEWAY.asks}
    assert {topic for topics in TOPICS.values() for topic in topics} <= described
