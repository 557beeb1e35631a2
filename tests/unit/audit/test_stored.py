"""Stored states are personal data: none is used or kept for longer than it may be, finished or not."""

import os
from pathlib import Path

import msgspec

from app.audit.stored import Place, StoredStates, _About
from app.private import write_private
from app.streaming.store import PartitionStore, block_cache
from schemas.instants import parse_ms

NOW = parse_ms("2026-11-30T03:00:00Z")
KEEP_S = 3600.0


def states(folder: Path) -> StoredStates:
    return StoredStates(folder, ("router", "in_app"), 2, KEEP_S)


def put(folder: Path, role: str, partition: int, at: int, *, is_done: bool = True) -> Path:
    place = folder / f"{role}-{partition}"
    PartitionStore(place / "rows", block_cache(1)).close()
    if is_done:
        write_private(place / "about.json", msgspec.json.encode(_About(7, at)))
    for path in (place, *place.rglob("*")):
        os.utime(path, (NOW / 1000, NOW / 1000))
    return place


def test_a_state_that_is_too_old_goes(tmp_path: Path) -> None:
    old, young = put(tmp_path, "router", 0, NOW - 3_600_001), put(tmp_path, "in_app", 0, NOW - 3_600_000)
    states(tmp_path).remove_old(NOW)

    assert (old.exists(), young.exists()) == (False, True)
    assert states(tmp_path).missing() == [Place("router", 0), Place("router", 1), Place("in_app", 1)]


def test_a_state_that_was_not_finished_goes(tmp_path: Path) -> None:
    place = put(tmp_path, "router", 1, NOW, is_done=False)
    states(tmp_path).remove_old(NOW)

    assert not place.exists()


def test_a_state_serves_one_audit(tmp_path: Path) -> None:
    """What is decided again changes it."""
    place = put(tmp_path, "in_app", 1, NOW)
    with states(tmp_path).opened() as opened:
        assert [(s.role, s.partition, s.journal, s.at) for s in opened] == [("in_app", 1, 7, NOW)]

    assert not place.exists()
