"""One side of the comparison: records in, what became of each user's notifications out, nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.simulate.fates import Fates
from app.simulate.running import side_by_side
from app.simulate.side import Side
from schemas.instants import rfc3339
from schemas.topics import COMMANDS, EVENTS, RECEIPTS
from tests.agents.harness import HOUR, NOON, PROVIDERS, catalog
from tests.records import Record


class Told:
    """A side and the records that it is told, each at its time."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._offsets = 0

    def say(self, topic: str, moment: int, user_id: str, **said: Any) -> None:
        self._offsets += 1
        value = json.dumps({"user_id": user_id, **said}).encode()
        self.side.until(moment)
        self.side.take(Record(topic, 0, self._offsets, moment, user_id.encode(), value))

    def command(self, kind: str, user_id: str, at: int = NOON, **fields: Any) -> None:
        self.say(COMMANDS, at, user_id, type=kind, id=f"c{self._offsets}", **{**fields, "at": rfc3339(at)})

    def request(self, user_id: str, at: int = NOON, **fields: Any) -> None:
        self.say(EVENTS, at, user_id, event_type="mail.sent", **fields)

    def words(self) -> dict[str, list[str]]:
        return {user: [fate.words for fate in fates.values()] for user, fates in self.side.fates()}


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    side = Side(catalog(), PROVIDERS, 1, 0, tmp_path / "side", b"secret")
    made = Told(side)
    for user in ("ann", "bob"):
        made.command("profile.set", user, email=f"{user}@example.com", email_verified=True)
    yield made
    side.close()


def test_fates_come_user_by_user(told: Told) -> None:
    told.request("bob")
    told.request("ann", channels=["sms"])
    told.request("ann")

    words = [(user, sorted(said)) for user, said in told.words().items()]
    assert words == [("ann", ["sent", "suppressed, no_address"]), ("bob", ["sent"])]


def test_what_is_scheduled_is_of_all_channels_until_one_is_begun(told: Told) -> None:
    told.request("ann", send_at=rfc3339(NOON + HOUR))
    assert told.words() == {"ann": ["scheduled"]}

    told.side.until(NOON + HOUR)
    assert told.words() == {"ann": ["sent"]}


def test_what_is_refused_is_counted_and_harms_nothing_else(told: Told) -> None:
    told.request("ann", priority="loud")
    told.say(RECEIPTS, NOON, "ann", id="r1", occurred_at=rfc3339(NOON), notification_id="not made here", send_id="no")
    told.request("bob")

    assert (told.side.refused[EVENTS], told.side.refused[RECEIPTS]) == (1, 1)
    assert told.words() == {"bob": ["sent"]}


def test_nothing_is_left_of_whom_is_forgotten(told: Told) -> None:
    told.request("ann")
    told.request("bob")
    told.command("user.erase", "ann")
    told.side.forget("ann")

    assert told.words() == {"bob": ["sent"]}


def test_users_of_both_sides_are_paired() -> None:
    now: Iterator[tuple[str, Fates]] = iter([("a", {}), ("b", {}), ("é", {})])
    new: Iterator[tuple[str, Fates]] = iter([("b", {}), ("c", {})])

    assert [user for user, *_ in side_by_side(now, new)] == ["a", "b", "c", "é"]
