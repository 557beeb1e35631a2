"""One turn of a channel's role: what it may read and write, and how a send's row, timer and wait change together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from agents.shedding import Shedding
from agents.telling import report, tell
from app.domain.catalog import Catalog
from app.domain.out import Out
from app.ports import Rows
from schemas.results import CalledAddress, ResultStatus
from schemas.sends import Send
from schemas.words import Channel, Provider, Status
from tables.attempts import ATTEMPTS, Attempts, OpenSend, SendState, Timer
from tables.attempts import SendRow as Row
from tables.backlog import BACKLOG, Backlog
from tables.knowledge import Knowledge
from tables.pauses import PAUSES, Pause, Pauses, pause_key
from tables.schedule import SCHEDULE, Due, Schedule, due_key
from tables.table import Table

#: The states in which a send waits for its next call.
_WAITING: frozenset[SendState] = frozenset(("held", "retrying"))


@dataclass(frozen=True, slots=True)
class Carrier:
    """What a channel's process is given.

    ``timeouts_ms``: the providers that have settings, each with its time limit. ``public_url``: where providers reach
    the gateway. ``unsubscribe_url``: the signed link of a send's recipient, None where there is none. ``shedding``:
    what is given up while too much waits for a provider. ``partitions``: how many the topics have.
    """

    channel: Channel
    timeouts_ms: Mapping[Provider, int]
    public_url: str | None = None
    unsubscribe_url: Callable[[Send], str | None] | None = None
    shedding: Shedding = field(default_factory=Shedding)
    partitions: int = 1


class SenderState:
    """One partition's tables of a sending role."""

    def __init__(self, rows: Rows) -> None:
        self.knowledge = Knowledge(rows)
        self.attempts = Attempts(ATTEMPTS, rows)
        self.pauses = Pauses(PAUSES, rows)
        self.backlog = Backlog(BACKLOG, rows)
        self.schedule = Schedule(SCHEDULE, rows)

    def tables(self) -> Sequence[Table[Any]]:
        return (*self.knowledge.tables(), self.attempts, self.pauses, self.backlog, self.schedule)


@dataclass(frozen=True, slots=True)
class Job:
    """One open send and where it stands; ``state`` None: it has just arrived."""

    key: bytes
    send: Send
    state: SendState | None
    open: OpenSend

    @property
    def attempt(self) -> int | None:
        """The number of the call that is in flight or in doubt, else of the latest; None: none was made."""
        used = self.open.tries.used
        return used + 1 if self.in_call else used or None

    @property
    def provider(self) -> Provider | None:
        """Who was called; None between calls, unless one of them may have arrived."""
        return self.open.tries.provider if self.in_call or self.open.tries.doubted else None

    @property
    def in_call(self) -> bool:
        return self.state in ("calling", "in_doubt")


@dataclass(frozen=True, slots=True)
class Turn:
    """``cause``: names what made it happen, see ``app.domain.ids.event_id``. ``now``: Unix ms."""

    carrier: Carrier
    catalog: Catalog
    state: SenderState
    out: Out
    now: int
    cause: str

    def rest(self, job: Job, state: SendState, open_send: OpenSend, timer: Timer | None) -> None:
        """Writes where the send stands now and what will wake it: its timer, or its user's quiet-hours row."""
        self._untimed(job)
        if timer is not None:
            self.state.schedule.at(timer.due_ms, Due(timer.kind, job.send.user_id, job.key))
            self._waits(open_send, timer, 1)
        self.state.attempts.put(job.key, Row(state=state, open=replace(open_send, timer=timer)))
        if state in _WAITING:
            wait = Pause(open_send.begun, job.send.notification_id, job.send.collapse_key)
            self.state.pauses.put(_place_of(job), wait)
        elif job.state in _WAITING:
            self.state.pauses.delete(_place_of(job))

    def end(
        self,
        job: Job,
        status: ResultStatus,
        reason: str | None = None,
        *,
        provider_message_id: str | None = None,
        detail: Mapping[str, Any] | None = None,
        address: CalledAddress | None = None,
    ) -> None:
        """The send's one end, told to everyone. ``address``: the one that was called, where the router is to
        let it go."""
        self._untimed(job)
        if job.state in _WAITING:
            self.state.pauses.delete(_place_of(job))
        self.state.attempts.end(job.key, status, self.now)
        self.tell(job, status, reason, provider_message_id=provider_message_id, detail=detail)
        report(
            self.out,
            job.send,
            status,
            self.now,
            reason=reason,
            provider=job.provider,
            provider_message_id=provider_message_id,
            address=address,
        )

    def tell(
        self,
        job: Job,
        status: Status,
        reason: str | None = None,
        *,
        provider_message_id: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """A lifecycle event of where the send stands."""
        tell(
            self.out,
            job.send,
            status,
            self.now,
            self.cause,
            reason=reason,
            provider=job.provider,
            attempt=job.attempt,
            provider_message_id=provider_message_id,
            detail=detail,
            policy_version=self.catalog.policy_version,
        )

    def _untimed(self, job: Job) -> None:
        timer = job.open.timer
        if timer is not None:
            self.state.schedule.delete(due_key(timer.due_ms, timer.kind, job.key))
            self._waits(job.open, timer, -1)

    def _waits(self, open_send: OpenSend, timer: Timer, count: int) -> None:
        provider = open_send.tries.provider
        if timer.kind == "retry" and provider is not None:
            self.state.backlog.add(provider, count)


def _place_of(job: Job) -> bytes:
    """Among its user's sends that wait."""
    return pause_key(job.send.user_id, job.send.accepted_at, job.open.offset, job.key)
