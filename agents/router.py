"""The router's role: requests become sends, waits or ends, by what is known of their users and by the policy."""

from collections.abc import Mapping
from typing import Any

from agents.broadcasting import take_broadcast
from agents.commanding import take_command
from agents.desk import Desk
from agents.intake import take_request
from agents.intakes import timed
from agents.receipts import take_receipt
from agents.results import take_result
from agents.retiring import MoveLog
from agents.returned import whose
from agents.user_views import VIEWS, certificate
from agents.verifying import take_verification, verification_view
from agents.waking import give_up, wake
from app.domain.catalog import Catalog
from app.domain.keyed import HashKeys
from app.domain.out import Out
from app.domain.routing import Providers
from app.ports import FailedReason, Intake, LogRecord, Rows, Urgency
from schemas import topics
from schemas.instants import rfc3339
from tables.router import ROUTER_TABLES, RouterState
from tables.schedule import Due


class RouterMachine:
    """See ``app.ports.Machine``. ``catalog`` is replaced between batches. ``providers``: those that have settings.
    ``secret``: the installation's; ``former_secrets``: see ``HashKeys``."""

    role = "router"
    tables = ROUTER_TABLES
    intakes = (
        Intake(topics.COMMANDS, Urgency.COMMANDS, gated=False),
        Intake(topics.EVENTS_CRITICAL, Urgency.CRITICAL),
        Intake(topics.VERIFICATIONS, Urgency.CRITICAL),
        Intake(topics.BROADCASTS, Urgency.COMMANDS, gated=False, patient=True),
        Intake(topics.RESULTS, Urgency.RECEIPTS, patient=True),
        Intake(topics.RECEIPTS, Urgency.RECEIPTS, patient=True),
        Intake(topics.EVENTS, Urgency.NORMAL),
        Intake(topics.EVENTS_BULK, Urgency.BULK),
    )

    outputs = (
        *(topic for lanes in topics.SEND_TOPICS.values() for topic in lanes),
        topics.LIFECYCLE,
        topics.COMMANDS,
        topics.BROADCASTS,
        topics.ERASURES,
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
        self._desk: Desk | None = None

    def open(self, rows: Rows, partition: int) -> RouterState:
        return RouterState(rows, partition, self._keys)

    def handle(self, record: LogRecord, state: RouterState, out: Out, now: int) -> None:
        if record.value is None:
            return
        state.known.rekey()
        desk = self._at(state, out, now)
        record = timed(record, now)
        match record.topic:
            case topics.COMMANDS:
                take_command(desk, record)
            case topics.RESULTS:
                take_result(desk, record)
            case topics.RECEIPTS:
                take_receipt(desk, record)
            case topics.BROADCASTS:
                take_broadcast(desk, record)
            case topics.VERIFICATIONS:
                take_verification(desk, record)
            case _:
                take_request(desk, record)
        desk.flush()

    def wake(self, due_key: bytes, due: Due, state: RouterState, out: Out, now: int) -> None:
        state.known.rekey()
        desk = self._at(state, out, now)
        wake(desk, due_key, due)
        desk.flush()

    def give_up(self, due_key: bytes, due: Due, state: RouterState, out: Out, now: int, reason: FailedReason) -> bool:
        desk = self._at(state, out, now)
        is_over = give_up(desk, due_key, due, reason)
        desk.flush()
        return is_over

    def settle(self, result: Any, state: RouterState, out: Out, now: int) -> None:
        raise AssertionError("the router makes no calls")

    def read(self, view: str, user_id: str, params: Mapping[str, str], state: RouterState, now: int) -> Any:
        answer = VIEWS.get(view)
        if view == "erasure":
            return certificate(state.known, params.get("erasure_id", ""))
        if view == "whose":
            return whose(state, user_id, params)
        if view == "verification":
            return verification_view(state, user_id, params, self.catalog.bounds.codes, now)
        if answer is None:
            raise LookupError(f"the router has no view {view}")
        return answer(state.known, user_id)

    def _at(self, state: RouterState, out: Out, now: int) -> Desk:
        """The batch's desk, made once for all of its records. What a rolled back record loaded is forgotten."""
        desk = self._desk
        if desk is None or desk.out is not out or desk.now != now or desk.state is not state:
            desk = Desk(
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
            self._desk = desk
        elif desk.loaded:
            desk.loaded.clear()
        desk.catalog = self.catalog
        return desk
