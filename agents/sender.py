"""The role of one sending channel (push, email or sms): makes each send that the router queued, once."""

from collections.abc import Mapping
from typing import Any

from agents.calls import Result
from agents.claiming import proceed
from agents.intakes import channel_intakes, position_of
from agents.recalling import collapse, end_holds, job_of, look_again, take_back, withdraw
from agents.settling import ask, begin_doubt, found_nothing, prove, settle_question, settle_send
from agents.turn import Carrier, Job, SenderState, Turn
from app.domain.catalog import Catalog
from app.domain.out import Out
from app.ports import Intake, LogRecord, Rows, Urgency
from schemas import topics
from schemas.commands import read_command
from schemas.decode import Invalid
from schemas.instants import counted_ms
from schemas.receipts import read_receipt
from schemas.sends import Withdraw, read_send
from tables.attempts import ATTEMPTS, OpenSend, send_key
from tables.backlog import BACKLOG
from tables.knowledge import KNOWLEDGE_TABLES
from tables.pauses import PAUSES
from tables.schedule import SCHEDULE, Due, due_ms_of


class SenderMachine:
    """See ``app.ports.Machine``. ``catalog`` is replaced between batches."""

    tables = (*KNOWLEDGE_TABLES, ATTEMPTS.name, PAUSES.name, BACKLOG.name, SCHEDULE.name)

    def __init__(self, catalog: Catalog, carrier: Carrier) -> None:
        self.catalog = catalog
        self.carrier = carrier
        self.role: str = carrier.channel
        self.intakes = (
            *channel_intakes(carrier.channel),
            Intake(topics.RECEIPTS, Urgency.RECEIPTS, gated=False, owned=False),
        )

    def open(self, rows: Rows, partition: int) -> SenderState:
        return SenderState(rows)

    def handle(self, record: LogRecord, state: SenderState, out: Out, now: int) -> None:
        if record.value is None:
            return
        turn = self._turn(state, out, now, position_of(record))
        match record.topic:
            case topics.COMMANDS:
                self._command(turn, record.value, position_of(record))
            case topics.RECEIPTS:
                self._receipt(turn, record.value)
            case _:
                self._send(turn, record.value, record)

    def wake(self, due_key: bytes, due: Due, state: SenderState, out: Out, now: int) -> None:
        turn = self._turn(state, out, now, f"due:{due_ms_of(due_key)}")
        if due.kind == "judge":
            end_holds(turn, due.user_id)
            return
        job = job_of(turn, due.subject)
        timer = job.open.timer if job is not None else None
        if job is None or timer is None or timer.kind != due.kind or timer.due_ms > due_ms_of(due_key):
            return  # it has moved on: what woke it was put off by the runner meanwhile
        match due.kind, job.state:
            case "retry", _:
                proceed(turn, job)
            case "deadline", "calling":
                begin_doubt(turn, job, "crash")
            case "deadline", "in_doubt":
                found_nothing(turn, job, answered=False)
            case "settle", "in_doubt":
                ask(turn, job)

    def settle(self, result: Result, state: SenderState, out: Out, now: int) -> None:
        call = result.call
        turn = self._turn(state, out, now, f"call:{call.number}:{call.claimed_at}")
        job = job_of(turn, call.key)
        if job is None:
            return
        if call.purpose == "send":
            settle_send(turn, job, result)
        else:
            settle_question(turn, job, result)

    def read(self, view: str, user_id: str, params: Mapping[str, str], state: SenderState, now: int) -> Any:
        if view != "backlog":
            raise LookupError(f"{self.role} has no view {view}")
        return state.backlog.waiting()

    def _turn(self, state: SenderState, out: Out, now: int, cause: str) -> Turn:
        return Turn(self.carrier, self.catalog, state, out, now, cause)

    def _command(self, turn: Turn, value: bytes, position: str) -> None:
        command = read_command(value)
        change = turn.state.knowledge.apply(command, position, turn.now, self.catalog.bounds.devices)
        if change.applied and command.user_id is not None:
            look_again(turn, command.user_id)

    def _receipt(self, turn: Turn, value: bytes) -> None:
        receipt = read_receipt(value)
        came_back = receipt.status is not None or receipt.settled == "sent"
        job = job_of(turn, send_key(receipt.send_id)) if came_back and receipt.send_id is not None else None
        if job is not None:
            prove(turn, job, receipt)

    def _send(self, turn: Turn, value: bytes, record: LogRecord) -> None:
        read = read_send(value)
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
