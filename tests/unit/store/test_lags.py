"""How far roles are behind, of what their groups have committed."""

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app.store.lags import TOPICS, lag_of
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


def test_the_gateway_may_ask_how_far_every_role_is() -> None:
    assert {f"tocsin_{role}" for role in TOPICS} <= {*GATEWAY.groups, *GATEWAY.asks_groups}
    described = {*GATEWAY.reads, *GATEWAY.writes, *GATEWAY.asks}
    assert {topic for topics in TOPICS.values() for topic in topics} <= described
