"""What a sender decides with: one batch's tables, outputs and time; and a delivery, whose row, timer and wait change
together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec.structs import replace

from agents.sender.doubts import How, Settled
from agents.sender.shed import Shedding
from agents.shared.lifecycle import emit, measure, report
from app.domain.catalog import Catalog
from app.domain.device_rates import DeviceRates
from app.domain.keyed import NO_SECRET, HashKeys
from app.domain.links import Links
from app.domain.out import Out
from app.domain.outcome import Outcome
from app.domain.silence import Silences
from app.ports import Failing, Poison, Rows
from schemas.results import CalledAddress, ResultStatus
from schemas.sends import Send, read_send
from schemas.words import Channel, Provider, Status
from tables.attempts import ATTEMPTS, Attempts, OpenSend, SendState, Timer
from tables.attempts import SendRow as Row
from tables.backlog import BACKLOG, Backlog
from tables.knowledge import Knowledge
from tables.pauses import (
    PAUSES,
    Pause,
    Pauses,
    doubt_age_key,
    doubt_key,
    line_key,
    line_of,
    pause_key,
    recovery_key,
    resumption_key,
    send_key_of,
    slot_key,
)
from tables.schedule import SCHEDULE, Due, Schedule, due_key
from tables.table import Table

#: The states in which a send waits for its next call.
_WAITING: frozenset[SendState] = frozenset(("queued", "held", "retrying"))


class Slots(Protocol):
    """What a provider has room for now."""

    def take(
        self, provider: Provider, claim: tuple[bytes, int], *, urgent: bool, bulk: bool = False, planned: bool = True
    ) -> Outcome | None:
        """Keeps a slot for a call that begins as soon as its claim is durable, or returns why there is none: a
        ``throttle`` of the gate's, for at least its ``retry_after_ms``. ``claim``: the send's key and the number of the
        claim. ``bulk``: whether it comes after all that isn't. ``planned``: whether it waits for a plan to warm up, if
        it isn't urgent."""
        ...


class Unlimited:
    """Always room, as in virtual time."""

    def take(
        self, provider: Provider, claim: tuple[bytes, int], *, urgent: bool, bulk: bool = False, planned: bool = True
    ) -> Outcome | None:
        return None


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """What a channel's process is given.

    ``timeouts_ms``: the providers that have settings, each with its time limit. ``public_url``: where providers reach
    the gateway. ``links``: makes a recipient's links, None where none can be made. ``postal_address``: of the sender,
    for the footer of mail. ``shedding``: what is given up while too much waits for a provider. ``partitions``: how
    many the topics have. ``slots``: when a call may begin. ``silences``: which addresses don't answer.
    ``devices``: how often each is sent to. ``on_settled``:
    called with each doubt that is settled. ``keys``: of the suppression list, with the installation's secret; without
    it no code can be sent.
    """

    channel: Channel
    timeouts_ms: Mapping[Provider, int]
    public_url: str | None = None
    links: Links | None = None
    postal_address: str = ""
    shedding: Shedding = field(default_factory=Shedding)
    partitions: int = 1
    slots: Slots = field(default_factory=Unlimited)
    silences: Silences = field(default_factory=Silences)
    devices: DeviceRates = field(default_factory=DeviceRates)
    on_settled: Settled = lambda provider, how: None
    keys: HashKeys = NO_SECRET


class SenderState:
    """One partition's tables of a sending role. What isn't a table is a hint: it is checked against the rows before it
    counts, and a new owner begins without it."""

    def __init__(self, rows: Rows, keys: HashKeys = NO_SECRET) -> None:
        self.knowledge = Knowledge(rows, keys)
        self.attempts = Attempts(ATTEMPTS, rows)
        self.pauses = Pauses(PAUSES, rows)
        self.backlog = Backlog(BACKLOG, rows)
        self.schedule = Schedule(SCHEDULE, rows)
        #: The calls of each line that are under way: the send's key, and when it was claimed (Unix ms).
        self.flights: dict[bytes, dict[bytes, int]] = {}
        #: The row of ``schedule`` by which each line, and each provider's queue, is looked at next.
        self.watches: dict[bytes, bytes] = {}
        #: The users of whom many sends are being looked at again: the row that goes on, and whether to begin anew.
        self.looks: dict[str, tuple[bytes, bool]] = {}

    def tables(self) -> Sequence[Table[Any]]:
        return (*self.knowledge.tables(), self.attempts, self.pauses, self.backlog, self.schedule)


@dataclass(frozen=True, slots=True)
class Delivery:
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

    @property
    def urgent(self) -> bool:
        return self.send.priority == "critical"

    @property
    def bulk(self) -> bool:
        """Whether it comes after all that isn't."""
        return self.send.bulk or self.send.priority == "low"

    @property
    def held_by(self) -> Provider | None:
        """The provider until whose resumption it is held."""
        timer = self.open.timer
        is_parked = self.state == "held" and timer is not None and timer.kind == "expire"
        return self.open.tries.provider if is_parked else None

    @property
    def held_until_recovery(self) -> Provider | None:
        """The provider whose open circuit holds it, where nothing but that is waited for."""
        timer, tries = self.open.timer, self.open.tries
        is_held = self.state == "held" and timer is not None and timer.kind == "retry"
        return tries.provider if is_held and not tries.doubted else None

    @property
    def line(self) -> bytes:
        """Of the calls that are made one after the other: see ``tables.pauses``."""
        return line_of(self.send.user_id, self.send.device_id, urgent=self.urgent)

    @property
    def place(self) -> bytes:
        """In its line."""
        return line_key(self.line, self.bulk, self.send.accepted_at, self.open.offset, self.key)

    def place_for(self, provider: Provider) -> bytes:
        """Among all that wait for a slot of the provider."""
        return slot_key(provider, self.urgent, self.bulk, self.send.accepted_at, self.open.offset, self.key)

    def place_until_resumed(self, provider: Provider) -> bytes:
        """Among all that are held until the provider is resumed."""
        return resumption_key(provider, self.urgent, self.bulk, self.send.accepted_at, self.open.offset, self.key)

    def place_until_recovery(self, provider: Provider) -> bytes:
        """Among all that the provider's open circuit holds."""
        return recovery_key(provider, self.urgent, self.bulk, self.send.accepted_at, self.open.offset, self.key)

    def pause_in(self, state: SendState | None) -> bytes | None:
        """Where it lies among the sends of its user that wait or are in doubt, in that state."""
        if state == "queued":
            return self.place
        if state == "in_doubt":
            return doubt_key(self.send.user_id, self.key)
        if state not in _WAITING:
            return None
        return pause_key(self.send.user_id, self.send.accepted_at, self.open.offset, self.key)


@dataclass(frozen=True, slots=True)
class SenderContext:
    """``cause``: names what made it happen, see ``app.domain.ids.event_id``. ``now``: Unix ms."""

    channel_config: ChannelConfig
    catalog: Catalog
    state: SenderState
    out: Out
    now: int
    cause: str
    #: The providers that are paused by hand, each with the reason that was given.
    paused: Mapping[Provider, str] = field(default_factory=dict)
    #: The lines, each with its user, in which there may be room for the next call.
    freed: dict[bytes, str] = field(default_factory=dict)

    def rest(self, delivery: Delivery, state: SendState, open_send: OpenSend, timer: Timer | None) -> None:
        """Writes where the send stands now and what will wake it: its timer, or its user's quiet-hours row."""
        self._untimed(delivery)
        self._no_longer_held(delivery)
        if timer is not None:
            self.state.schedule.at(timer.due_ms, Due(timer.kind, delivery.send.user_id, delivery.key))
            self._waits(open_send, timer, 1)
        self.state.attempts.put(delivery.key, Row(state=state, open=replace(open_send, timer=timer)))
        left, place = delivery.pause_in(delivery.state), delivery.pause_in(state)
        if left is not None and left != place:
            self.state.pauses.delete(left)
        if state != "in_doubt":
            self._forget_doubt(delivery, "answer" if delivery.state == "in_doubt" else "resent")
        else:
            self._count_doubt(delivery, open_send)
        if place is not None:
            wait = Pause(open_send.begun, delivery.send.notification_id, delivery.send.collapse_key)
            self.state.pauses.put(place, wait)
        claimed = state == "calling" and open_send.call != delivery.open.call
        if state != delivery.state or claimed:
            self._leave(delivery)
        if claimed:
            self.state.flights.setdefault(delivery.line, {})[delivery.key] = self.now

    def end(
        self,
        delivery: Delivery,
        status: ResultStatus,
        reason: str | None = None,
        *,
        provider_message_id: str | None = None,
        detail: Mapping[str, Any] | None = None,
        address: CalledAddress | None = None,
        how: How = "answer",
    ) -> None:
        """The send's one end, told to everyone. ``address``: the one that was called, where the router is to
        let it go. ``how``: what settled its doubt, if it was in doubt and did not end as unknown."""
        self._untimed(delivery)
        self._no_longer_held(delivery)
        left = delivery.pause_in(delivery.state)
        if left is not None:
            self.state.pauses.delete(left)
        self._forget_doubt(delivery, "given_up" if status == "unknown" else how)
        self._leave(delivery)
        self.state.attempts.end(delivery.key, status, self.now)
        self.state.knowledge.reclaim_again(delivery.send.user_id)
        self.emit(delivery, status, reason, provider_message_id=provider_message_id, detail=detail)
        report(
            self.out,
            delivery.send,
            status,
            self.now,
            reason=reason,
            provider=delivery.provider,
            provider_message_id=provider_message_id,
            address=address,
        )
        measure(self.out, self.catalog.policy, delivery.send, status, self.now, delivery.open.waited_until)

    def emit(
        self,
        delivery: Delivery,
        status: Status,
        reason: str | None = None,
        *,
        provider_message_id: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """A lifecycle event of where the send stands."""
        emit(
            self.out,
            delivery.send,
            status,
            self.now,
            self.cause,
            reason=reason,
            provider=delivery.provider,
            attempt=delivery.attempt,
            provider_message_id=provider_message_id,
            detail=detail,
            policy_version=self.catalog.policy_version,
        )

    def _untimed(self, delivery: Delivery) -> None:
        timer = delivery.open.timer
        if timer is not None:
            self.state.schedule.delete(due_key(timer.due_ms, timer.kind, delivery.key))
            self._waits(delivery.open, timer, -1)

    def _no_longer_held(self, delivery: Delivery) -> None:
        provider = delivery.held_by
        if provider is not None:
            self.state.pauses.delete(delivery.place_until_resumed(provider))
        provider = delivery.held_until_recovery
        if provider is not None:
            self.state.pauses.delete(delivery.place_until_recovery(provider))

    def _count_doubt(self, delivery: Delivery, doubted: OpenSend) -> None:
        """Once, whenever it is first seen: what is in doubt since before doubts were counted is, too."""
        provider = doubted.tries.provider
        if provider is None:
            return
        by_age = doubt_age_key(provider, doubted.doubted_at, delivery.key)
        if self.state.pauses.get(by_age) is None:
            self.state.pauses.put(by_age, Pause(True, delivery.send.notification_id))
            self.state.backlog.add_doubts(provider, 1)

    def _forget_doubt(self, delivery: Delivery, how: How) -> None:
        provider = delivery.open.tries.provider
        if not delivery.open.doubted_at or provider is None:
            return
        self.state.pauses.delete(doubt_key(delivery.send.user_id, delivery.key))
        by_age = doubt_age_key(provider, delivery.open.doubted_at, delivery.key)
        if self.state.pauses.get(by_age) is not None:
            self.state.pauses.delete(by_age)
            self.state.backlog.add_doubts(provider, -1)
            self.channel_config.on_settled(provider, how)

    def _leave(self, delivery: Delivery) -> None:
        """The send's place in its line, or its call, is over: the next may have its turn."""
        if delivery.state == "queued":
            provider = delivery.open.tries.provider
            if provider is not None:
                self.state.pauses.delete(delivery.place_for(provider))
        elif delivery.state == "calling":
            flights = self.state.flights.get(delivery.line, {})
            flights.pop(delivery.key, None)
            if not flights:
                self.state.flights.pop(delivery.line, None)
        else:
            return
        self.freed[delivery.line] = delivery.send.user_id

    def _waits(self, open_send: OpenSend, timer: Timer, count: int) -> None:
        provider = open_send.tries.provider
        if timer.kind in ("retry", "expire") and provider is not None:
            self.state.backlog.add(provider, count)


@contextmanager
def one_of_several(context: SenderContext, place: bytes, user_id: str) -> Iterator[None]:
    """Works on the send at a place of ``pauses``, and is passed over where that fails: the others are done without it.
    Raises Failing."""
    try:
        context.out.works_on(send_key_of(place))
        yield
    except Exception as error:
        due = Due("aside", user_id, place, "poison" if isinstance(error, Poison) else "")
        raise Failing(due_key(context.now, due.kind, place), due) from error
    finally:
        context.out.works_on(b"")


def delivery_of(context: SenderContext, key: bytes) -> Delivery | None:
    """The open send of a key; None where there is none, or where it has ended."""
    return delivery_in(key, context.state.attempts.get(key))


def delivery_in(key: bytes, row: Row | None) -> Delivery | None:
    if row is None or row.open is None:
        return None
    send = read_send(row.open.send)
    assert isinstance(send, Send)
    if row.open.rendered is not None:  # the events of its calls name the version that they rendered
        send = replace(send, template_version=row.open.rendered)
    return Delivery(key, send, row.state, row.open)
