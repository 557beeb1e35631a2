"""The campaigns that there are, as ``tocsin_campaigns`` has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import msgspec

from app.jobs.topic import JobsTopic
from app.ports import Guard, Publisher
from schemas.campaigns import (
    CONTROL,
    JOB,
    KEPT_DAYS,
    LISTED,
    STATE,
    UPLOAD,
    CampaignControl,
    CampaignJob,
    CampaignState,
    Listed,
    Upload,
    encode_campaign,
    read_campaign_control,
    read_campaign_job,
    read_campaign_state,
    read_listed,
    read_upload,
)
from schemas.topics import CAMPAIGNS

Status = Literal["uploading", "scheduled", "running", "paused", "done", "cancelled"]

_KEPT_MS = KEPT_DAYS * 86_400_000
#: An upload that reports nothing for so long has ended with its gateway.
UPLOAD_SILENT_MS = 90_000
#: What broke off is waited for so long.
UPLOAD_KEPT_MS = 86_400_000

NO_STATE: Final = CampaignState(phase="running", at=0)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one campaign; ``job`` None: it was never asked for, or is no longer kept. ``jobs``: those that
    were written, in the order of the log, by attempt."""

    jobs: Mapping[str, CampaignJob] = field(default_factory=dict)
    control: CampaignControl | None = None
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    listed: Listed | None = None
    state: CampaignState | None = None
    #: A cancel came before it was done.
    is_cancelled: bool = False

    @property
    def job(self) -> CampaignJob | None:
        return next(iter(self.jobs.values()), None)

    @property
    def progress(self) -> CampaignState:
        return self.state or NO_STATE

    @property
    def has_ended(self) -> bool:
        return self.is_cancelled or self.progress.phase in ("done", "cancelled")

    @property
    def is_paused(self) -> bool:
        if self.control is not None and self.control.act == "pause":
            return True
        return self.progress.halted_at is not None and not (self.control is not None and self.control.beyond_canary)

    @property
    def has_recipients(self) -> bool:
        """Whether those that it begins with are all there, or are to be found when it begins."""
        return self.listed is not None or (self.job is not None and self.job.audience != "listed")

    def is_uploading(self, now: int) -> bool:
        return any(upload.open and now < upload.at + UPLOAD_SILENT_MS for upload in self.uploads.values())

    def is_abandoned(self, now: int) -> bool:
        """Its first upload broke off, and nobody has taken it up for too long."""
        if self.has_recipients or self.job is None or self.is_uploading(now):
            return False
        return now >= max([self.job.at, *(upload.at for upload in self.uploads.values())]) + UPLOAD_KEPT_MS

    def status(self, now: int) -> Status:
        if self.is_cancelled or self.progress.phase == "cancelled":
            return "cancelled"
        if self.progress.phase == "done":
            return "done"
        if self.is_paused:
            return "paused"
        if not self.has_recipients:
            return "uploading"
        if self.job is not None and self.job.send_at is not None and now < self.job.send_at:
            return "scheduled"
        return "running"


class Jobs(JobsTopic[Known]):
    """Reads and writes the topic. ``clock``: Unix milliseconds."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        publisher: Publisher,
        clock: Callable[[], int],
        guard: Guard | None = None,
    ) -> None:
        super().__init__(CAMPAIGNS, Known(), client_options, publisher, clock, guard)

    def _taken(self, known: Known, kind: bytes, part: str, value: bytes | None) -> Known:
        after = _taken(known, kind, part, value)
        return _without_content(after) if after.has_ended else after

    def _asked_at(self, known: Known) -> int | None:
        return None if known.job is None else known.job.at

    def _is_over(self, known: Known) -> bool:
        return known.has_ended and known.state is not None and known.state.at < self._clock() - _KEPT_MS

    async def add(self, job: CampaignJob, attempt: str) -> Known:
        """What counts then: maybe another that was written at the same time. Raises TimeoutError where one that had
        the name is only now being forgotten."""
        await self._write(JOB, f"{job.notification_id}/{attempt}", encode_campaign(job))
        known = self.get(job.notification_id)
        if known is None:
            raise TimeoutError(f"campaign {job.notification_id} is being forgotten")
        return known

    async def control(self, name: str, control: CampaignControl) -> None:
        await self._write(CONTROL, name, encode_campaign(control))

    async def upload(self, name: str, upload_id: str, upload: Upload) -> None:
        await self._write(UPLOAD, f"{name}/{upload_id}", encode_campaign(upload))

    async def list(self, name: str) -> None:
        """Its recipients are all there."""
        await self._write(LISTED, name, encode_campaign(Listed(at=self._clock())))

    async def note(self, name: str, state: CampaignState) -> None:
        await self._write(STATE, name, encode_campaign(state))

    async def drop(self, name: str) -> None:
        """The jobs last: as long as one is there, the rest is found again."""
        known = self._known[name]
        for upload_id in known.uploads:
            await self._write(UPLOAD, f"{name}/{upload_id}", None)
        for kind in (LISTED, CONTROL, STATE):
            await self._write(kind, name, None)
        for attempt in known.jobs:
            await self._write(JOB, f"{name}/{attempt}", None)


def _taken(known: Known, kind: bytes, part: str, value: bytes | None) -> Known:
    """With the next record. Raises Invalid."""
    match kind:
        case b"job/":
            return replace(known, jobs=_with(known.jobs, part, None if value is None else read_campaign_job(value)))
        case b"upload/":
            return replace(known, uploads=_with(known.uploads, part, None if value is None else read_upload(value)))
        case b"listed/":
            return replace(known, listed=None if value is None else read_listed(value))
        case b"wish/":
            control = None if value is None else read_campaign_control(value)
            if control is not None and control.act == "cancel":
                return replace(known, control=control, is_cancelled=known.is_cancelled or not known.has_ended)
            return replace(known, control=control, is_cancelled=known.is_cancelled and control is not None)
        case b"state/":
            return replace(known, state=None if value is None else read_campaign_state(value))
        case _:
            return known


def _with(known: Mapping[str, Any], part: str, value: Any) -> Mapping[str, Any]:
    others = {name: each for name, each in known.items() if name != part or value is not None}
    return others if value is None else {**others, part: value}


def _without_content(known: Known) -> Known:
    """Its content isn't needed any more: only whether the same is asked for again."""
    jobs = {
        attempt: msgspec.structs.replace(job, content=None, data=None, segment=None)
        for attempt, job in known.jobs.items()
    }
    return replace(known, jobs=jobs)
