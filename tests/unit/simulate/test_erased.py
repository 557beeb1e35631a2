"""Whose records are not used: those of users who were erased later."""

import json
from typing import Any

import pytest

from app.simulate.erased import Erasures
from schemas.topics import COMMANDS, EVENTS
from tests.records import Record

ERASED_AT = 5_000


def record(user_id: str, moment: int, offset: int = 0, topic: str = EVENTS, partition: int = 0, **said: Any) -> Record:
    value = json.dumps({"user_id": user_id, **said}).encode()
    return Record(topic, partition, offset, moment, user_id.encode(), value)


def erase(user_id: str = "eve", at: int = ERASED_AT, offset: int = 7) -> Record:
    said: dict[str, Any] = {"type": "user.erase", "id": f"e{offset}", "at": "2026-03-01T00:00:00Z"}
    return record(user_id, at, offset, COMMANDS, **said)


@pytest.fixture
def erasures() -> Erasures:
    made = Erasures()
    assert made.note(erase())
    return made


def test_what_came_before_the_erasure_is_hidden_and_what_begins_afterwards_is_not(erasures: Erasures) -> None:
    assert erasures.hides(record("eve", ERASED_AT))
    assert not erasures.hides(record("eve", ERASED_AT + 1))
    assert not erasures.hides(record("ann", ERASED_AT - 1))


def test_commands_are_told_apart_by_their_offsets(erasures: Erasures) -> None:
    assert erasures.hides(record("eve", ERASED_AT, 6, COMMANDS))
    assert not erasures.hides(erase())
    assert not erasures.hides(record("eve", ERASED_AT, 8, COMMANDS))
    assert erasures.hides(record("eve", ERASED_AT, 8, COMMANDS, partition=1))


def test_the_last_of_several_erasures_counts(erasures: Erasures) -> None:
    erasures.note(erase(at=ERASED_AT + 1_000, offset=9))

    assert erasures.hides(record("eve", ERASED_AT + 500))
    assert "eve" in erasures
    assert "ann" not in erasures


def test_other_commands_and_bad_ones_erase_nobody() -> None:
    made = Erasures()
    said: dict[str, Any] = {"type": "profile.set", "id": "p1", "at": "2026-03-01T00:00:00Z", "name": "user.erase"}
    bad = Record(COMMANDS, 0, 1, 1, b"eve", b'{"type": "user.erase"}')

    assert not made.note(record("eve", 1, topic=COMMANDS, **said))
    assert not made.note(bad)
    assert not made.note(Record(COMMANDS, 0, 1, 1, b"eve", None))
