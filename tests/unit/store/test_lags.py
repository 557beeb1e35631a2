"""How far roles are behind, of what their groups have committed."""

import asyncio
from unittest.mock import patch

from aiokafka import TopicPartition
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


async def test_whoever_asks_never_waits_for_kafka_and_it_is_asked_once_a_while() -> None:
    now = [0.0]
    answers: list[dict[str, int] | Exception] = [{"router": 7}, OSError(), {"router": 9}]
    lags = RoleLags({}, 1, lambda: now[0])
    asked: list[float] = []

    async def look() -> dict[str, int]:
        asked.append(now[0])
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    with patch.object(RoleLags, "_look", lambda _: look()):
        for seconds, before, after in ((0.0, {}, {"router": 7}), (1.0, {"router": 7}, {"router": 7})):
            now[0] = seconds
            assert lags.by_role() == before
            await asyncio.sleep(0)
            assert lags.by_role() == after
        for seconds, after in ((3.0, {}), (6.0, {"router": 9})):
            now[0] = seconds
            lags.by_role()
            await asyncio.sleep(0)
            assert lags.by_role() == after
        await lags.close()
    assert asked == [0.0, 3.0, 6.0]


def test_the_gateway_may_ask_how_far_every_role_is() -> None:
    assert {f"tocsin_{role}" for role in TOPICS} <= {*GATEWAY.groups, *GATEWAY.asks_groups}
    described = {*GATEWAY.reads, *GATEWAY.writes, *GATEWAY.asks}
    assert {topic for topics in TOPICS.values() for topic in topics} <= described
