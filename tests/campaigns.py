"""Campaigns without Kafka: what is written is known at once, and nobody runs them."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from app.campaigns.asking import Terms, job_of
from app.campaigns.jobs import Jobs
from app.campaigns.service import Campaigns, name_of
from app.config import Settings
from app.store.config_follower import ConfigFollower
from app.store.erased import ErasedUsers
from app.store.publisher import Outgoing
from schemas.campaigns import JOB, LISTED, CampaignJob, Listed, encode_campaign, read_chunk
from schemas.requests import Content
from schemas.topics import CAMPAIGNS
from tests.records import Record


class LocalJobs(Jobs):
    """``tocsin_campaigns`` as a list."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__({}, cast(Any, None), clock)
        self.records: list[Record] = []

    async def _write(self, kind: bytes, name: str, value: bytes | None) -> None:
        self.put(kind, name, value)

    def put(self, kind: bytes, name: str, value: bytes | None) -> None:
        record = Record(CAMPAIGNS, 0, len(self.records), 0, kind + name.encode(), value)
        self.records.append(record)
        self.take(record)


class LocalRecipients:
    """``tocsin_campaign_recipients`` as a list."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    async def publish_many(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        first = len(self.records)
        self.records += records
        for record in records:
            read_chunk(record.value or b"")
        return [(0, offset) for offset in range(first, len(self.records))]


class LocalCampaigns(Campaigns):
    def __init__(self, clock: Callable[[], int], config: Any = None) -> None:
        self.recipients = LocalRecipients()
        follower = config if config is not None else ConfigFollower({})
        recipients: Any = self.recipients
        super().__init__(
            Settings.load({}), recipients, follower, ErasedUsers(), cast(Any, None), b"", clock, partitions=1
        )
        self.jobs = self._jobs = LocalJobs(clock)

    def add(self, campaign_id: str, source: str) -> "LocalCampaigns":
        """There is such a campaign, and it runs."""
        job = job_at(self._clock(), campaign_id=campaign_id, source=source)
        self.jobs.put(JOB, f"{job.notification_id}/1", encode_campaign(job))
        self.jobs.put(LISTED, job.notification_id, encode_campaign(Listed(at=0)))
        return self


def job_at(now: int, *, campaign_id: str = "sale", source: str = "shop", **terms: Any) -> CampaignJob:
    said = {"event_type": "sale.began", "content": Content(title="t", body="b"), **terms}
    return job_of(
        Terms(**said),
        "listed",
        None,
        notification_id=name_of(source, campaign_id),
        campaign_id=campaign_id,
        source=source,
        by="shop",
        now=now,
    )
