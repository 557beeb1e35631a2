"""The in-app inbox's machine: stores what was sent to a user, and what the user marks."""

from collections.abc import Mapping, Sequence
from typing import Any, Never

import msgspec
from msgspec.structs import replace

from agents.inbox.changes import add, remove
from agents.inbox.marks import go_on_marking, report_left, take_command, wake_item
from agents.inbox.page import changes_of, page_of, summary_of
from agents.inbox.state import InboxState
from agents.shared.broadcasts import read_placed_broadcast
from agents.shared.certificate import certificate
from agents.shared.compose import Around, compose, template_of
from agents.shared.lifecycle import emit, measure, report
from agents.shared.placement import check_place
from agents.shared.recipients import known_of, user_shown
from agents.shared.refused_sends import end_refused_send
from agents.shared.subscriptions import CHANNEL_OUTPUTS, channel_subscriptions, position_of
from app.domain.catalog import Catalog
from app.domain.keyed import NO_SECRET, HashKeys
from app.domain.last_look import Over, look
from app.domain.links import Links
from app.domain.out import Out
from app.domain.rendering import RenderError
from app.ports import FailedReason, LogRecord, Machine, Message, Rows
from schemas import topics
from schemas.decode import Invalid
from schemas.instants import instant_ms
from schemas.results import ResultStatus
from schemas.sends import Send, Withdraw, encode_send, read_send
from tables.attempts import ATTEMPTS, send_key
from tables.inbox import CHANGES, COUNTS, INBOX, Inbox, Item, number_of
from tables.knowledge import KNOWLEDGE_TABLES
from tables.schedule import SCHEDULE, Due, due_key

#: So many items leave the inbox in one go: each may have something to report of every pending mark.
AT_ONCE = 100
_NO_DATA = msgspec.Raw(b"{}")


class InAppMachine(Machine[InboxState, Due, Never]):
    """See ``app.ports.Machine``. ``catalog`` is replaced between batches. It makes no calls. ``partitions``: how many
    the topics have. ``keys``: of the suppression list. ``links``: makes a recipient's links, None where none can be
    made."""

    role = "in_app"
    subscriptions = channel_subscriptions("in_app")
    outputs = (*CHANNEL_OUTPUTS, topics.INBOX_CHANGES)
    tables = (*KNOWLEDGE_TABLES, ATTEMPTS.name, INBOX.name, COUNTS.name, CHANGES.name, SCHEDULE.name)

    def __init__(
        self, catalog: Catalog, *, partitions: int = 1, keys: HashKeys = NO_SECRET, links: Links | None = None
    ) -> None:
        self.catalog = catalog
        self._links = links
        self._keys = keys
        self._partitions = partitions

    def open(self, rows: Rows, partition: int) -> InboxState:
        return InboxState(rows, self._keys)

    def handle(self, record: LogRecord, state: InboxState, out: Out, now: int) -> None:
        if record.value is None:
            return
        state.knowledge.rekey()
        if record.topic == topics.COMMANDS:
            take_command(record, self._partitions, state, out, now, self.catalog.bounds, self.catalog.policy)
            return
        if record.topic == topics.BROADCASTS:
            state.knowledge.learn(read_placed_broadcast(record, self._partitions))
            return
        read = read_send(record.value)
        check_place(record, read.user_id, self._partitions)
        row = state.attempts.get(send_key(read.send_id))
        if isinstance(read, Withdraw):
            if row is None:
                state.attempts.withdraw_first(send_key(read.send_id), read, now)
        elif read.channel != "in_app":
            raise Invalid("is not of this topic's channel", "channel")
        elif row is None:
            self._take(read, state, out, now, position_of(record))
        elif (withdrawn := row.withdrawn) is not None:
            by = {"by": withdrawn.by} if withdrawn.by else None
            _end(read, withdrawn.status, withdrawn.reason, state, out, now, position_of(record), by)

    def wake(self, key: bytes, due: Due, state: InboxState, out: Out, now: int) -> None:
        state.knowledge.rekey()
        if due.kind == "sweep":
            _leave(due.user_id, state.inbox.overdue(due.user_id, now, AT_ONCE), state, out, now)
            state.inbox.swept(due.user_id, now)
            _schedule_sweep(due.user_id, None, state)
        elif due.kind == "item":
            number = number_of(due.subject)
            item = state.inbox.get(due.user_id, number)
            if item is not None and item.leaves_at <= now:
                _leave(due.user_id, [(number, item)], state, out, now)
            else:
                wake_item(due.user_id, number, state, out, now)
        elif due.kind == "slice":
            go_on_marking(due.user_id, state, out, now)

    def give_up(self, due_key: bytes, due: Due, state: InboxState, out: Out, now: int, reason: FailedReason) -> bool:
        return False  # sends end as they come, so nothing here waits for an end

    def end_refused(self, record: LogRecord, state: InboxState, out: Out, now: int, reason: FailedReason) -> None:
        end_refused_send(record, "in_app", self._partitions, state.attempts, out, now, reason)

    def settle(self, result: Never, state: InboxState, out: Out, now: int) -> None:
        raise AssertionError("the inbox makes no calls")

    def read(self, view: str, user_id: str, params: Mapping[str, str], state: InboxState, now: int) -> Any:
        """``inbox`` (see ``page_of``), ``inbox_count``, ``inbox_summary`` and ``inbox_changes`` (see ``changes_of``).
        Raises Invalid for a parameter that isn't one."""
        match view:
            case "inbox":
                return page_of(user_id, params, state.inbox)
            case "inbox_count":
                count = state.inbox.count(user_id)
                return {"unread": count.unread, "unseen": count.unseen}
            case "inbox_summary":
                return summary_of(user_id, state.inbox)
            case "inbox_changes":
                return changes_of(user_id, params, state.inbox)
            case "erasure":
                return certificate(state.knowledge, params.get("erasure_id", ""))
            case _:
                raise LookupError(f"in_app has no view {view}")

    def _take(self, send: Send, state: InboxState, out: Out, now: int, cause: str) -> None:
        seen = look(send, known_of(state.knowledge, send, self.catalog.policy), self.catalog.policy, now, None)
        if isinstance(seen, Over):
            _end(send, seen.status, seen.reason, state, out, now, cause, {"trail": seen.trail})
            measure(out, self.catalog.policy, send, seen.status, now)
            return
        leaves_at = _leaves_at(send)
        if leaves_at is not None and leaves_at <= now:
            _end(send, "expired", None, state, out, now, cause)
            measure(out, self.catalog.policy, send, "expired", now)
            return
        user = user_shown(state.knowledge, send.user_id)
        template = template_of(send, self.catalog)
        if template is not None:
            send = replace(send, template_version=template.version)
        message = compose(send, template, self.catalog, user, user.get("locale"), Around(self._links, at=now))
        if isinstance(message, RenderError):
            _end(send, "failed", "bad_template", state, out, now, cause)
            measure(out, self.catalog.policy, send, "failed", now)
            return
        self._put(send, message, leaves_at, state, out, now)
        emit(out, send, "sending", now, cause, provider="inbox", attempt=1)
        state.attempts.end(send_key(send.send_id), "sent", now)
        latency = {"latency_ms": now - send.accepted_at}
        emit(out, send, "sent", now, cause, provider="inbox", attempt=1, detail=latency)
        report(out, send, "sent", now, provider="inbox")
        measure(out, self.catalog.policy, send, "sent", now)

    def _put(self, send: Send, message: Message, leaves_at: int | None, state: InboxState, out: Out, now: int) -> None:
        user_id, inbox, policy = send.user_id, state.inbox, self.catalog.policy
        options = send.inbox
        _leave(user_id, _replaced(send, inbox), state, out, now)
        item = Item(
            notification_id=send.notification_id,
            send=encode_send(replace(send, content=None, data=_NO_DATA, items=None, trace=None, inbox=None)),
            title=message.title or "",
            body=message.body or "",
            url=message.url,
            image=message.image,
            data=bytes(send.data),
            created_at=send.created_at,
            arrived_at=now,
            collapse_key=send.collapse_key,
            icon=options.icon if options else None,
            actions=tuple(options.actions or ()) if options else (),
            expires_at=leaves_at,
            kept_until=now + policy.inbox_keep_ms,
            category=send.category,
        )
        before = inbox.count(user_id).sweep_at
        add(user_id, item, state, out, now)
        _leave(user_id, inbox.over(user_id, policy.inbox_items)[-AT_ONCE:], state, out, now)
        _schedule_sweep(user_id, before, state)


def _end(
    send: Send,
    status: ResultStatus,
    reason: str | None,
    state: InboxState,
    out: Out,
    now: int,
    cause: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    state.attempts.end(send_key(send.send_id), status, now)
    emit(out, send, status, now, cause, reason=reason, detail=detail)
    report(out, send, status, now, reason=reason)


# --- what lies in the inbox --------------------------------------------------------------------------------------


def _leaves_at(send: Send) -> int | None:
    """When its item leaves by the sender's wish, Unix ms."""
    wish = send.inbox.expires_at if send.inbox is not None else None
    return None if wish is None else instant_ms(wish, "inbox.expires_at")


def _leave(user_id: str, items: Sequence[tuple[int, Item]], state: InboxState, out: Out, now: int) -> None:
    remove(user_id, items, state, out, now)
    report_left(user_id, items, state.inbox, out)


def _replaced(send: Send, inbox: Inbox) -> list[tuple[int, Item]]:
    """A newer one takes the place of unread ones with its collapse key, and a replayed one of itself. Of very many,
    which only marking all as unread makes, the oldest are left to the next one."""
    if send.collapse_key is None and send.replay_id is None:
        return []
    older = [
        (number, item)
        for number, item in inbox.all(send.user_id)
        if item.notification_id == send.notification_id
        or (
            not item.read
            and not item.archived
            and item.collapse_key is not None
            and item.collapse_key == send.collapse_key
        )
    ]
    return older[:AT_ONCE]


def _schedule_sweep(user_id: str, before: int | None, state: InboxState) -> None:
    after = state.inbox.count(user_id).sweep_at
    if before is not None and after != before:
        state.schedule.delete(due_key(before, "sweep", user_id.encode()))
    if after is not None and after != before:
        state.schedule.at(after, Due("sweep", user_id, user_id.encode()))
