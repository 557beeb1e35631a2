"""A command for all reaches every partition, or the answer says which it didn't; the same call completes it."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.call import Call
from app.api.callers import Service
from app.api.commands import command_all
from app.api.problems import Problem
from app.api.room import Room
from app.store.publisher import Outgoing
from schemas.topics import COMMANDS

PARTITIONS = 6
NOW = 1_780_000_000_000
FIELDS = {"notification_id": "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e", "source": "shop"}


class Log:
    """Acknowledges by partition and attempt; what it doesn't acknowledge it may have all the same."""

    def __init__(
        self, fails: Callable[[int, int], bool] = lambda partition, attempt: False, keeps: bool = False
    ) -> None:
        self._fails, self._keeps = fails, keeps
        self._attempts: dict[int, int] = defaultdict(int)
        self.written: dict[int, list[dict[str, Any]]] = defaultdict(list)

    async def publish_each(self, records: Sequence[Outgoing]) -> list[tuple[int, int] | None]:
        return [self._take(record) for record in records]

    def _take(self, record: Outgoing) -> tuple[int, int] | None:
        assert (record.topic, record.key) == (COMMANDS, None)
        assert record.partition is not None
        assert record.value is not None
        self._attempts[record.partition] += 1
        fails = self._fails(record.partition, self._attempts[record.partition])
        if not fails or self._keeps:
            self.written[record.partition].append(json.loads(record.value))
        return None if fails else (record.partition, len(self.written[record.partition]) - 1)

    def ids(self) -> set[str]:
        return {said["id"] for records in self.written.values() for said in records}


def a_call(log: Log, key: str | None = None, source: str = "shop", names: Any = None) -> Call:
    numbers = names or count()
    deps: Any = SimpleNamespace(
        publisher=log, partitions=PARTITIONS, clock=lambda: NOW, new_id=lambda: f"new-{next(numbers)}"
    )
    request: Any = SimpleNamespace(headers={} if key is None else {"Idempotency-Key": key})
    return Call(request, deps, Service("a key", source, frozenset()), Room().hold("a key"))


async def cancel(call: Call, **fields: str) -> None:
    await command_all(call, "notification.cancel", {**FIELDS, **fields})


async def test_every_partition_has_it_under_one_id() -> None:
    log = Log()
    await cancel(a_call(log))

    assert sorted(log.written) == list(range(PARTITIONS))
    assert len(log.ids()) == 1


async def test_what_fails_once_is_written_again_there_and_nowhere_else() -> None:
    log = Log(lambda partition, attempt: partition == 2 and attempt < 3)
    await cancel(a_call(log))

    assert {partition: len(records) for partition, records in log.written.items()} == dict.fromkeys(
        range(PARTITIONS), 1
    )


async def test_the_answer_says_which_partitions_have_it_and_which_dont() -> None:
    log = Log(lambda partition, attempt: partition in (1, 4))
    with pytest.raises(Problem) as raised:
        await cancel(a_call(log))
    document = raised.value.document()

    assert document["status"] == 503
    assert raised.value.headers["Retry-After"] == "1"
    assert document["partitions"] == {"acknowledged": [0, 2, 3, 5], "unacknowledged": [1, 4]}
    assert document["idempotency_key"] in document["detail"]
    assert "1, 4" in document["detail"]


@given(
    st.sets(st.integers(0, PARTITIONS - 1), min_size=1),
    st.booleans(),
    st.none() | st.text("abc-1", min_size=1, max_size=20),
)
async def test_the_same_call_with_the_answers_key_completes_it_as_the_same_command(
    down: set[int], keeps: bool, key: str | None
) -> None:
    log = Log(lambda partition, attempt: partition in down and attempt <= 3, keeps)
    with pytest.raises(Problem) as raised:
        await cancel(a_call(log, key))
    document = raised.value.document()
    assert key in (None, document["idempotency_key"])
    await cancel(a_call(log, document["idempotency_key"]))

    assert sorted(log.written) == list(range(PARTITIONS))
    assert len(log.ids()) == 1


async def test_another_source_or_another_thing_to_say_is_another_command() -> None:
    log = Log()
    await cancel(a_call(log, "k"))
    await cancel(a_call(log, "k", source="other"))
    await cancel(a_call(log, "k"), notification_id="11111111-6f0e-4d7c-9f5e-7b1d2a3c4d5e")

    assert len(log.ids()) == 3


async def test_without_a_key_each_call_is_a_command_of_its_own() -> None:
    """Cancelled, asked for again, cancelled again: the second must count."""
    log, names = Log(), count()
    await cancel(a_call(log, names=names))
    await cancel(a_call(log, names=names))

    assert len(log.ids()) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b", "\udcff"])
async def test_what_is_no_key_is_refused_by_its_name(key: str) -> None:
    with pytest.raises(Problem) as raised:
        await cancel(a_call(Log(), key))

    assert (raised.value.status, raised.value.field) == (400, "idempotency_key")
