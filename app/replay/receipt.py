"""The receipt of a replay: what was asked, and how its candidates stand, each once in both of its tallies."""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from msgspec import UNSET, Struct, UnsetType

from app.jobs.pace import show_rate
from schemas.instants import rfc3339
from schemas.replay_jobs import ReplayFilters, ReplayJob, ReplayState, ReplayWish
from schemas.replays import Begun, NotBegun, Would
from schemas.words import Channel

JobStatus = Literal["counting", "running", "stopped", "done"]

NOT_BEGUN: Final = "not_begun"
DRY_RUN: Final[tuple[str, ...]] = (*get_args(NotBegun), *get_args(Would))
OUTCOMES: Final[tuple[str, ...]] = (*get_args(NotBegun), "sent", "failed", "unknown", "waiting", NOT_BEGUN)

assert set(get_args(Begun)) < set(OUTCOMES)

#: How many candidates have each (outcome of the dry run, outcome).
Counts = Mapping[tuple[str, str], int]


class Receipt(Struct, frozen=True):
    """``by``: the API key that asked for it. ``dry_run`` and ``outcomes`` both add up to ``candidates``."""

    replay_id: str
    status: JobStatus
    by: str
    at: str
    channel: Channel
    filters: dict[str, Any]
    mode: Literal["decide_again", "as_decided"]
    rate: str
    candidates: int
    dry_run: dict[str, int]
    outcomes: dict[str, int]
    expires_after: str | UnsetType = UNSET


def status_of(wish: ReplayWish | None, state: ReplayState | None) -> JobStatus:
    """What is done stays done, whatever anybody wishes afterwards."""
    phase = state.phase if state is not None else "counting"
    if phase == "done":
        return "done"
    return "stopped" if wish is not None and wish.stop else phase


def receipt_of(job: ReplayJob, status: JobStatus, counts: Counts) -> Receipt:
    dry_run, outcomes = dict.fromkeys(DRY_RUN, 0), dict.fromkeys(OUTCOMES, 0)
    for (judged, outcome), count in counts.items():
        dry_run[judged] = dry_run.get(judged, 0) + count
        outcomes[outcome] = outcomes.get(outcome, 0) + count
    return Receipt(
        replay_id=job.replay_id,
        status=status,
        by=job.by,
        at=rfc3339(job.at),
        channel=job.channel,
        filters=shown_filters(job.filters),
        mode="as_decided" if job.as_decided else "decide_again",
        rate=show_rate(job.rate, job.per_ms),
        candidates=sum(counts.values()),
        dry_run=dry_run,
        outcomes=outcomes,
        expires_after=UNSET if job.expires_after_ms is None else shown_duration(job.expires_after_ms),
    )


def shown_filters(filters: ReplayFilters) -> dict[str, Any]:
    """As they were asked for; what wasn't named is left out."""
    named = ("provider", "status", "reason", "category", "campaign", "event_type")
    values = {name: list(getattr(filters, name)) for name in named if getattr(filters, name)}
    return {"from": rfc3339(filters.from_ms), "to": rfc3339(filters.to_ms), **values}


def shown_duration(ms: int) -> str:
    """``6h``: in the longest unit in which it is a whole number."""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms % length == 0:
            return f"{ms // length}{unit}"
    return f"{ms}ms"
