"""A replay in a world: candidates are gathered, asked about and made again as by the job that runs one, but all at
once."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from app.replay.asking import job_of, read_asked
from app.replay.candidates import Candidates
from schemas.lifecycle import LifecycleEvent
from schemas.replay_jobs import ReplayJob
from schemas.replays import ReplayOutcome, ReplayRequest
from schemas.sends import Send
from schemas.words import Provider

#: Of a job that isn't paced.
_RATE = (1, 1)


class Replay:
    """What came of one, candidate by candidate: the latest answer of each counts."""

    def __init__(self, replay_id: str) -> None:
        self.replay_id = replay_id
        self._answers: dict[str, ReplayOutcome] = {}

    def take(self, answer: ReplayOutcome) -> None:
        self._answers[answer.send_id] = answer

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many candidates came to what, as a receipt says it: ``would_send``, ``already_sent``, ``sent`` …"""
        return Counter(answer.outcome for answer in self._answers.values())

    @property
    def notifications(self) -> Mapping[str, str]:
        """What each candidate's notification came to, by its id; of several sends the last that was answered."""
        return {answer.notification_id: answer.outcome for answer in self._answers.values()}


def asked_of(replay_id: str, asked: Mapping[str, Any], now: int) -> ReplayJob:
    """The job of a body as ``POST /v1/replays`` takes it. Raises Invalid with the field."""
    body = read_asked(msgspec.json.encode(asked))
    return job_of(body, replay_id=replay_id, by="a test", now=now, kept_ms=now, default_rate=_RATE)


def run(
    job: ReplayJob,
    events: Iterable[LifecycleEvent],
    sends: Iterable[Send],
    order: Sequence[Provider],
    ask: Callable[[ReplayRequest], None],
) -> None:
    """Counts, and unless that is all makes the candidates again. ``order``: the channel's providers that there are."""
    with TemporaryDirectory() as folder, Candidates(job, Path(folder) / "candidates", tuple(order)) as candidates:
        candidates.take_events(events)
        candidates.take_sends(sends)
        for request in list(candidates.requests()):
            ask(msgspec.structs.replace(request, dry_run=job.dry_run))
