"""How far a campaign is, as it is noted while its recipients are still being read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from app.campaigns import running
from app.campaigns.listing import Listing
from app.campaigns.running import World, carry_out
from app.store.publisher import Outgoing
from schemas.campaigns import (
    JOB,
    LISTED,
    STATE,
    CampaignState,
    Chunk,
    Listed,
    Row,
    encode_campaign,
    read_campaign_state,
)
from tests.campaigns import LocalJobs, job_at

NOW = 1_772_625_600_000
ROWS, CHUNKS = 600, 5


class _Recipients:
    """Of the chunks that there are, one more has been read at each look behind."""

    def __init__(self, folder: Path) -> None:
        self.listing = Listing(folder / "sale.db")
        self.position = 0
        self._read()

    def _read(self) -> None:
        if self.position < CHUNKS:
            first = self.position * ROWS
            rows = tuple(Row(f"u{number}") for number in range(first, first + ROWS))
            self.listing.take(self.position, b"sale/%d" % self.position, NOW, Chunk(rows=rows))
            self.position += 1

    async def caught_up(self) -> None:
        pass

    async def ask(self, name: str, question: Any, *given: Any) -> Any:
        answered = question(self.listing, *given)
        if question is Listing.behind:
            self._read()
        return answered


class _Lane:
    async def is_behind(self) -> bool:
        return False


class _Topic:
    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    async def publish_many(self, records: Sequence[Outgoing]) -> None:
        self.records += records


async def test_no_more_requests_are_shown_than_recipients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_NOTE_EVERY_S", 0.0)
    jobs, topic, nobody = LocalJobs(lambda: NOW), _Topic(), cast(Any, None)
    job = job_at(NOW)
    jobs.put(JOB, f"{job.notification_id}/1", encode_campaign(job))
    jobs.put(LISTED, job.notification_id, encode_campaign(Listed(at=NOW)))
    recipients: Any = _Recipients(tmp_path)
    world = World({}, 1, cast(Any, topic), jobs, recipients, nobody, cast(Any, _Lane()), b"", lambda: NOW, lambda: "")

    await carry_out(world, job.notification_id)

    noted: list[CampaignState] = [
        read_campaign_state(each.value) for each in jobs.records if (each.key or b"").startswith(STATE) and each.value
    ]
    assert [each for each in noted if each.produced > each.recipients] == []
    assert len({each.recipients for each in noted}) == CHUNKS
    assert (noted[-1].phase, noted[-1].recipients, noted[-1].produced) == ("done", ROWS * CHUNKS, ROWS * CHUNKS)
    assert len(topic.records) == ROWS * CHUNKS
    recipients.listing.close()
