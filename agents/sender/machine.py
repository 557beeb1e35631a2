"""The machine of one sending channel (push, email or sms): calls a provider for each send, once."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from agents.sender.calls import Result
from agents.sender.context import ChannelConfig, Delivery, SenderContext, SenderState, delivery_of
from agents.sender.dispatch import proceed
from agents.sender.lines import dispatch, drain
from agents.sender.outcomes import (
    ask,
    begin_doubt,
    found_nothing,
    note_answer,
    prove,
    settle_question,
    settle_send,
    show_call,
)
from agents.sender.withdraw import collapse, end_holds, go_on_looking, look_again, set_aside, take_back, withdraw
from agents.shared.broadcasts import read_placed_broadcast
from agents.shared.certificate import certificate
from agents.shared.placement import check_command, check_place, check_receipt
from agents.shared.refused_sends import end_refused_send
from agents.shared.subscriptions import CHANNEL_OUTPUTS, position_of, sender_subscriptions
from app.domain.catalog import Catalog
from app.domain.out import Out
from app.ports import FailedReason, LogRecord, Machine, Rows, Subscription
from schemas import topics
from schemas.broadcasts import TokenDead
from schemas.commands import read_command
from schemas.decode import Invalid
from schemas.instants import counted_ms
from schemas.providers import ProviderPause
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


class SenderMachine(Machine[SenderState, Due, Result]):
    """See ``app.ports.Machine``. ``catalog`` and ``pauses`` (the providers paused by hand) are replaced between
    batches."""

    tables = (*KNOWLEDGE_TABLES, ATTEMPTS.name, PAUSES.name, BACKLOG.name, SCHEDULE.name)

    outputs = CHANNEL_OUTPUTS

    def __init__(self, catalog: Catalog, channel_config: ChannelConfig) -> None:
        self.catalog = catalog
        self.pauses: Mapping[Provider, ProviderPause] = {}
        self.channel_config = channel_config
        self.role: str = channel_config.channel
        self._send_topics = frozenset(topics.SEND_TOPICS[channel_config.channel])
        self._subscriptions = sender_subscriptions(channel_config.channel)

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        return self._subscriptions

    def open(self, rows: Rows, partition: int) -> SenderState:
        return SenderState(rows, self.channel_config.keys)

    def handle(self, record: LogRecord, state: SenderState, out: Out, now: int) -> None:
        if record.value is None:
            return
        state.knowledge.rekey()
        context = self._context(state, out, now, position_of(record))
        match record.topic:
            case topics.COMMANDS:
                self._command(context, record.value, record)
            case topics.BROADCASTS:
                self._broadcast(context, record)
            case topics.RESULTS:
                self._result(context, record.value, record)
            case topics.RECEIPTS:
                self._receipt(context, record.value, record)
            case _:
                self._send(context, record.value, record)
        # Only sends wait for the commands up to now: what anything else lets begin is dispatched with the next of them.
        dispatch(context, calls=record.topic in self._send_topics)

    def wake(self, due_key: bytes, due: Due, state: SenderState, out: Out, now: int) -> None:
        state.knowledge.rekey()
        context = self._context(state, out, now, f"due:{due_ms_of(due_key)}")
        match due.kind:
            case "judge":
                end_holds(context, due.user_id, bytes.fromhex(due.detail))
            case "look":
                go_on_looking(context, due.user_id, bytes.fromhex(due.detail))
            case "aside":
                set_aside(context, due.subject, poison=due.detail == "poison")
                return
            case "dispatch":
                context.freed[due.subject] = due.user_id
            case "drain":
                drain(context, cast(Provider, due.subject.decode()))
            case _:
                self._wake_send(context, due_key, due)
        context.out.works_on(b"")
        dispatch(context)

    def _wake_send(self, context: SenderContext, due_key: bytes, due: Due) -> None:
        context.out.works_on(due.subject)
        delivery = delivery_of(context, due.subject)
        timer = delivery.open.timer if delivery is not None else None
        if delivery is None or timer is None or timer.kind != due.kind or timer.due_ms > due_ms_of(due_key):
            return  # it has moved on: what woke it was put off by the runner meanwhile
        match due.kind, delivery.state:
            case ("retry", _) | ("expire", "queued" | "held"):
                proceed(context, delivery)
            case "deadline", "calling":
                begin_doubt(context, delivery, "crash")
            case "deadline", "in_doubt":
                found_nothing(context, delivery, answered=False)
            case "settle", "in_doubt":
                ask(context, delivery)

    def give_up(self, due_key: bytes, due: Due, state: SenderState, out: Out, now: int, reason: FailedReason) -> bool:
        """A send that waits or is in a call has an end. What sees to several, such as a line, is tried again."""
        context = self._context(state, out, now, f"due:{due_ms_of(due_key)}")
        if due.kind not in _TIMERS:
            return False
        delivery = delivery_of(context, due.subject)
        if delivery is not None and delivery.open.timer is not None and delivery.open.timer.kind == due.kind:
            if delivery.in_call or delivery.open.tries.doubted:  # a call may have arrived
                context.end(delivery, "unknown")
            else:
                context.end(delivery, "failed", reason)
        dispatch(context, calls=False)
        return True

    def end_refused(self, record: LogRecord, state: SenderState, out: Out, now: int, reason: FailedReason) -> None:
        config = self.channel_config
        end_refused_send(record, config.channel, config.partitions, state.attempts, out, now, reason)

    def settle(self, result: Result, state: SenderState, out: Out, now: int) -> None:
        call = result.call
        context = self._context(state, out, now, f"call:{call.number}:{call.claimed_at}")
        context.out.works_on(call.key)
        note_answer(context, result)
        delivery = delivery_of(context, call.key)
        if delivery is not None and result.seen is not None:
            show_call(context, delivery, result, result.seen)
        if delivery is not None and call.purpose == "send":
            settle_send(context, delivery, result)
        elif delivery is not None:
            settle_question(context, delivery, result)
        context.out.works_on(b"")
        if result.calls:
            drain(context, call.provider)
        dispatch(context, calls=result.calls)

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

    def _context(self, state: SenderState, out: Out, now: int, cause: str) -> SenderContext:
        paused = {provider: pause.why or "" for provider, pause in self.pauses.items()} if self.pauses else {}
        return SenderContext(self.channel_config, self.catalog, state, out, now, cause, paused)

    def _command(self, context: SenderContext, value: bytes, record: LogRecord) -> None:
        command = read_command(value)
        check_command(record, command, self.channel_config.partitions)
        bounds, recorded = self.catalog.bounds, counted_ms(record.timestamp, context.now)
        change = context.state.knowledge.apply(
            command, position_of(record), context.now, bounds, recorded, self.catalog.policy
        )
        if change.applied and command.user_id is not None:
            look_again(context, command.user_id)

    def _broadcast(self, context: SenderContext, record: LogRecord) -> None:
        message = read_placed_broadcast(record, self.channel_config.partitions)
        change = context.state.knowledge.learn(message)
        if change.applied and isinstance(message, TokenDead):
            look_again(context, message.user_id)

    def _result(self, context: SenderContext, value: bytes, record: LogRecord) -> None:
        """A role that lost the partition without knowing may have had an answer that this one waits for."""
        result = read_result(value)
        check_place(record, result.user_id, self.channel_config.partitions)
        if result.status == "sent":
            self._prove(context, result)

    def _receipt(self, context: SenderContext, value: bytes, record: LogRecord) -> None:
        receipt = read_receipt(value)
        check_receipt(record, receipt, self.channel_config.partitions)
        self._prove(context, receipt)

    def _prove(self, context: SenderContext, came_back: Receipt | SendResult) -> None:
        delivery = delivery_of(context, send_key(came_back.send_id)) if came_back.send_id is not None else None
        if delivery is not None and came_back.user_id in (None, delivery.send.user_id):
            prove(context, delivery, came_back)

    def _send(self, context: SenderContext, value: bytes, record: LogRecord) -> None:
        read = read_send(value)
        check_place(record, read.user_id, self.channel_config.partitions)
        if isinstance(read, Withdraw):
            withdraw(context, read)
            return
        if read.channel != self.channel_config.channel:
            raise Invalid("is not of this topic's channel", "channel")
        key = send_key(read.send_id)
        row = context.state.attempts.get(key)
        if row is not None and row.withdrawn is None:
            return
        queued_at = counted_ms(record.timestamp, context.now)
        delivery = Delivery(key, read, None, OpenSend(value, queued_at, offset=record.offset, rendered=read.renders))
        collapse(context, read)
        if row is not None and row.withdrawn is not None:
            take_back(context, delivery, row.withdrawn)
        else:
            proceed(context, delivery)
