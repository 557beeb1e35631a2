"""The role of one sending channel (push, email or sms): makes each send that the router queued, once."""

from collections.abc import Mapping
from typing import Any, cast

from agents.broadcasting import broadcast_in
from agents.calls import Result
from agents.claiming import proceed
from agents.dispatching import dispatch, drain
from agents.intakes import CHANNEL_OUTPUTS, position_of, sender_intakes
from agents.placement import check_command, check_place, check_receipt
from agents.recalling import collapse, end_holds, go_on_looking, look_again, set_aside, take_back, withdraw
from agents.settling import ask, begin_doubt, found_nothing, note_answer, prove, settle_question, settle_send
from agents.turn import Carrier, Job, SenderState, Turn, job_of
from agents.user_views import certificate
from app.domain.catalog import Catalog
from app.domain.out import Out
from app.ports import FailedReason, LogRecord, Rows
from schemas import topics
from schemas.broadcasts import TokenDead
from schemas.commands import read_command
from schemas.decode import Invalid
from schemas.instants import counted_ms
from schemas.receipts import Receipt, read_receipt
from schemas.results import SendResult, read_result
from schemas.sends import Withdraw, read_send
from schemas.words import Provider
from tables.attempts import ATTEMPTS, OpenSend, send_key
from tables.backlog import BACKLOG
from tables.knowledge import KNOWLEDGE_TABLES
from tables.pauses import PAUSES
from tables.schedule import SCHEDULE, Due, due_ms_of

#: The rows of ``schedule`` that belong to one send.
_TIMERS: frozenset[str] = frozenset(("retry", "expire", "deadline", "settle"))


class SenderMachine:
    """See ``app.ports.Machine``. ``catalog`` is replaced between batches."""

    tables = (*KNOWLEDGE_TABLES, ATTEMPTS.name, PAUSES.name, BACKLOG.name, SCHEDULE.name)

    outputs = CHANNEL_OUTPUTS

    def __init__(self, catalog: Catalog, carrier: Carrier) -> None:
        self.catalog = catalog
        self.carrier = carrier
        self.role: str = carrier.channel
        self._send_topics = frozenset(topics.SEND_TOPICS[carrier.channel])
        self.intakes = sender_intakes(carrier.channel)

    def open(self, rows: Rows, partition: int) -> SenderState:
        return SenderState(rows, self.carrier.keys)

    def handle(self, record: LogRecord, state: SenderState, out: Out, now: int) -> None:
        if record.value is None:
            return
        state.knowledge.rekey()
        turn = self._turn(state, out, now, position_of(record))
        match record.topic:
            case topics.COMMANDS:
                self._command(turn, record.value, record)
            case topics.BROADCASTS:
                self._broadcast(turn, record)
            case topics.RESULTS:
                self._result(turn, record.value, record)
            case topics.RECEIPTS:
                self._receipt(turn, record.value, record)
            case _:
                self._send(turn, record.value, record)
        # Only sends wait for the commands up to now: what anything else lets begin is dispatched with the next of them.
        dispatch(turn, calls=record.topic in self._send_topics)

    def wake(self, due_key: bytes, due: Due, state: SenderState, out: Out, now: int) -> None:
        state.knowledge.rekey()
        turn = self._turn(state, out, now, f"due:{due_ms_of(due_key)}")
        match due.kind:
            case "judge":
                end_holds(turn, due.user_id, bytes.fromhex(due.detail))
            case "look":
                go_on_looking(turn, due.user_id, bytes.fromhex(due.detail))
            case "aside":
                set_aside(turn, due.subject, poison=due.detail == "poison")
                return
            case "dispatch":
                turn.freed[due.subject] = due.user_id
            case "drain":
                drain(turn, cast(Provider, due.subject.decode()))
            case _:
                self._wake_send(turn, due_key, due)
        turn.out.works_on(b"")
        dispatch(turn)

    def _wake_send(self, turn: Turn, due_key: bytes, due: Due) -> None:
        turn.out.works_on(due.subject)
        job = job_of(turn, due.subject)
        timer = job.open.timer if job is not None else None
        if job is None or timer is None or timer.kind != due.kind or timer.due_ms > due_ms_of(due_key):
            return  # it has moved on: what woke it was put off by the runner meanwhile
        match due.kind, job.state:
            case ("retry", _) | ("expire", "queued"):
                proceed(turn, job)
            case "deadline", "calling":
                begin_doubt(turn, job, "crash")
            case "deadline", "in_doubt":
                found_nothing(turn, job, answered=False)
            case "settle", "in_doubt":
                ask(turn, job)

    def give_up(self, due_key: bytes, due: Due, state: SenderState, out: Out, now: int, reason: FailedReason) -> bool:
        """A send that waits or is in a call has an end. What sees to several, such as a line, is tried again."""
        turn = self._turn(state, out, now, f"due:{due_ms_of(due_key)}")
        if due.kind not in _TIMERS:
            return False
        job = job_of(turn, due.subject)
        if job is not None and job.open.timer is not None and job.open.timer.kind == due.kind:
            if job.in_call or job.open.tries.doubted:  # a call may have arrived
                turn.end(job, "unknown")
            else:
                turn.end(job, "failed", reason)
        dispatch(turn, calls=False)
        return True

    def settle(self, result: Result, state: SenderState, out: Out, now: int) -> None:
        call = result.call
        turn = self._turn(state, out, now, f"call:{call.number}:{call.claimed_at}")
        turn.out.works_on(call.key)
        note_answer(turn, result)
        job = job_of(turn, call.key)
        if job is not None and call.purpose == "send":
            settle_send(turn, job, result)
        elif job is not None:
            settle_question(turn, job, result)
        turn.out.works_on(b"")
        if result.calls:
            drain(turn, call.provider)
        dispatch(turn, calls=result.calls)

    def read(self, view: str, user_id: str, params: Mapping[str, str], state: SenderState, now: int) -> Any:
        match view:
            case "backlog":
                return state.backlog.waiting()
            case "doubts":
                counts = state.backlog.doubts()
                return {provider: (count, state.pauses.oldest_doubt(provider)) for provider, count in counts.items()}
            case "erasure":
                return certificate(state.knowledge, params.get("erasure_id", ""))
            case _:
                raise LookupError(f"{self.role} has no view {view}")

    def _turn(self, state: SenderState, out: Out, now: int, cause: str) -> Turn:
        return Turn(self.carrier, self.catalog, state, out, now, cause)

    def _command(self, turn: Turn, value: bytes, record: LogRecord) -> None:
        command = read_command(value)
        check_command(record, command, self.carrier.partitions)
        bounds, recorded = self.catalog.bounds, counted_ms(record.timestamp, turn.now)
        change = turn.state.knowledge.apply(command, position_of(record), turn.now, bounds, recorded)
        if change.applied and command.user_id is not None:
            look_again(turn, command.user_id)

    def _broadcast(self, turn: Turn, record: LogRecord) -> None:
        said = broadcast_in(record, self.carrier.partitions)
        change = turn.state.knowledge.learn(said)
        if change.applied and isinstance(said, TokenDead):
            look_again(turn, said.user_id)

    def _result(self, turn: Turn, value: bytes, record: LogRecord) -> None:
        """A role that lost the partition without knowing may have had an answer that this one waits for."""
        result = read_result(value)
        check_place(record, result.user_id, self.carrier.partitions)
        if result.status == "sent":
            self._prove(turn, result)

    def _receipt(self, turn: Turn, value: bytes, record: LogRecord) -> None:
        receipt = read_receipt(value)
        check_receipt(record, receipt, self.carrier.partitions)
        self._prove(turn, receipt)

    def _prove(self, turn: Turn, came_back: Receipt | SendResult) -> None:
        job = job_of(turn, send_key(came_back.send_id)) if came_back.send_id is not None else None
        if job is not None and came_back.user_id in (None, job.send.user_id):
            prove(turn, job, came_back)

    def _send(self, turn: Turn, value: bytes, record: LogRecord) -> None:
        read = read_send(value)
        check_place(record, read.user_id, self.carrier.partitions)
        if isinstance(read, Withdraw):
            withdraw(turn, read)
            return
        if read.channel != self.carrier.channel:
            raise Invalid("is not of this topic's channel", "channel")
        key = send_key(read.send_id)
        row = turn.state.attempts.get(key)
        if row is not None and row.withdrawn is None:
            return
        job = Job(key, read, None, OpenSend(value, counted_ms(record.timestamp, turn.now), offset=record.offset))
        collapse(turn, read)
        if row is not None and row.withdrawn is not None:
            take_back(turn, job, row.withdrawn)
        else:
            proceed(turn, job)
