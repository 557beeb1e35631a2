"""The router's machine: requests become sends, waits or ends, by what is known of their users and by the policy."""

from collections.abc import Mapping
from typing import Any, Never

from agents.router.broadcasts import take_broadcast
from agents.router.commands import take_command
from agents.router.context import RouterContext
from agents.router.find_send import whose
from agents.router.outlook import outlook_view
from agents.router.receipts import take_receipt
from agents.router.replays import answer_refused, take_replay_request
from agents.router.requests import take_request
from agents.router.retire_devices import MoveLog
from agents.router.segments import segment_view
from agents.router.send_results import note_end, take_result
from agents.router.sweep_devices import begin_sweeping
from agents.router.timers import give_up, wake
from agents.router.verify_addresses import take_verification, verification_view
from agents.router.views import VIEWS
from agents.shared.certificate import certificate
from agents.shared.subscriptions import timed
from app.domain.catalog import Catalog
from app.domain.keyed import HashKeys
from app.domain.out import Out
from app.domain.routing import Providers
from app.ports import FailedReason, LogRecord, Machine, Rows, Subscription, Urgency
from schemas import topics
from schemas.instants import rfc3339
from tables.router import ROUTER_TABLES, RouterState
from tables.schedule import Due


class RouterMachine(Machine[RouterState, Due, Never]):
    """See ``app.ports.Machine``. ``catalog`` is replaced between batches. ``providers``: those that have settings.
    ``secret``: the installation's; ``former_secrets``: see ``HashKeys``."""

    role = "router"
    tables = ROUTER_TABLES
    subscriptions = (
        Subscription(topics.COMMANDS, Urgency.COMMANDS, gated=False),
        Subscription(topics.EVENTS_CRITICAL, Urgency.CRITICAL),
        Subscription(topics.VERIFICATIONS, Urgency.CRITICAL),
        Subscription(topics.BROADCASTS, Urgency.COMMANDS, gated=False, patient=True),
        Subscription(topics.RESULTS, Urgency.RECEIPTS, patient=True),
        Subscription(topics.RECEIPTS, Urgency.RECEIPTS, patient=True),
        Subscription(topics.EVENTS, Urgency.NORMAL),
        Subscription(topics.EVENTS_BULK, Urgency.BULK),
        Subscription(topics.REPLAY_REQUESTS, Urgency.BULK),
    )

    outputs = (
        *(topic for lanes in topics.SEND_TOPICS.values() for topic in lanes),
        topics.LIFECYCLE,
        topics.COMMANDS,
        topics.BROADCASTS,
        topics.ERASURES,
        topics.REPLAY_OUTCOMES,
        # What lay in the wrong partition:
        *topics.EVENT_TOPICS,
        topics.RECEIPTS,
    )

    def __init__(
        self,
        catalog: Catalog,
        *,
        partitions: int,
        providers: Providers,
        secret: bytes,
        former_secrets: tuple[str, ...] = (),
    ) -> None:
        self.catalog = catalog
        self._partitions = partitions
        self._providers = providers
        self._secret = secret
        self._keys = HashKeys(secret, former_secrets)
        self._moves = MoveLog()
        self._context: RouterContext | None = None

    def open(self, rows: Rows, partition: int) -> RouterState:
        return RouterState(rows, partition, self._keys)

    def handle(self, record: LogRecord, state: RouterState, out: Out, now: int) -> None:
        if record.value is None:
            return
        state.known.rekey()
        context = self._at(state, out, now)
        begin_sweeping(context)
        record = timed(record, now)
        match record.topic:
            case topics.COMMANDS:
                take_command(context, record)
            case topics.RESULTS:
                take_result(context, record)
            case topics.RECEIPTS:
                take_receipt(context, record)
            case topics.BROADCASTS:
                take_broadcast(context, record)
            case topics.VERIFICATIONS:
                take_verification(context, record)
            case topics.REPLAY_REQUESTS:
                take_replay_request(context, record)
            case _:
                take_request(context, record)
        context.flush()

    def wake(self, due_key: bytes, due: Due, state: RouterState, out: Out, now: int) -> None:
        state.known.rekey()
        context = self._at(state, out, now)
        wake(context, due_key, due)
        context.flush()

    def give_up(self, due_key: bytes, due: Due, state: RouterState, out: Out, now: int, reason: FailedReason) -> bool:
        context = self._at(state, out, now)
        is_over = give_up(context, due_key, due, reason)
        context.flush()
        return is_over

    def end_refused(self, record: LogRecord, state: RouterState, out: Out, now: int, reason: FailedReason) -> None:
        """Of what the router reads a result names a send that is queued: its end is noted, and nothing more. A replay's
        request is answered."""
        context = self._at(state, out, now)
        if record.topic == topics.RESULTS:
            note_end(context, timed(record, now))
        elif record.topic == topics.REPLAY_REQUESTS:
            answer_refused(context, record, reason)
        context.flush()

    def settle(self, result: Never, state: RouterState, out: Out, now: int) -> None:
        raise AssertionError("the router makes no calls")

    def read(self, view: str, user_id: str, params: Mapping[str, str], state: RouterState, now: int) -> Any:
        answer = VIEWS.get(view)
        if view == "erasure":
            return certificate(state.known, params.get("erasure_id", ""))
        if view == "whose":
            return whose(state, user_id, params)
        if view == "verification":
            return verification_view(state, user_id, params, self.catalog.bounds.codes, now)
        if view == "segment":
            return segment_view(state.known, params)
        if view == "outlook":
            return outlook_view(self._context_of(state, Out(), now), user_id, params.get("request"))
        if answer is None:
            raise LookupError(f"the router has no view {view}")
        return answer(state.known, user_id)

    def _at(self, state: RouterState, out: Out, now: int) -> RouterContext:
        """The batch's context, made once for all of its records. What a rolled-back record loaded is forgotten."""
        context = self._context
        if context is None or context.out is not out or context.now != now or context.state is not state:
            self._context = context = self._context_of(state, out, now)
        elif context.loaded:
            context.loaded.clear()
        context.catalog = self.catalog
        return context

    def _context_of(self, state: RouterState, out: Out, now: int) -> RouterContext:
        return RouterContext(
            self.catalog,
            self._providers,
            self._partitions,
            state,
            out,
            now,
            rfc3339(now),
            self._secret,
            self._moves,
        )
