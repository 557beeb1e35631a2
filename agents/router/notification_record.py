"""One recipient's notification while something is decided about it: its row, loaded once for each record or due row
that is handled, changed in one place, and written once at its end (``RouterContext.flush``)."""

from collections.abc import Mapping
from dataclasses import replace as replaced
from typing import Any

import msgspec
from msgspec.structs import replace

from agents.router.cap_slots import leave_queue
from agents.router.context import RouterContext
from agents.router.lifecycle import emit_event
from app.domain.policy import EventRule, Policy
from app.domain.rendering import choose_variant
from app.domain.replay import outcome_of
from app.domain.routing import Recipient, Subject
from app.domain.trail import Entry
from schemas.replays import ReplayOutcome, encode_replay_outcome
from schemas.requests import Request, read_accepted
from schemas.topics import EVENTS, EVENTS_BULK, EVENTS_CRITICAL, REPLAY_OUTCOMES, VERIFICATIONS
from schemas.words import ENDS, Channel, Status
from tables.notifications import (
    Chained,
    Facts,
    Notification,
    Part,
    Replay,
    forgotten,
    is_open,
    range_of_notification,
)
from tables.profiles import NOBODY, Profile
from tables.routed import RECEIPTS_MS
from tables.schedule import Due, Kind

#: What a batch draws requests from, in this order.
_DRAWN = (EVENTS_CRITICAL, "digest", EVENTS, EVENTS_BULK, VERIFICATIONS)
_VERIFICATION = f"{VERIFICATIONS}:"


class NotificationRecord:
    """``cause``: see ``app.domain.ids.event_id``. ``trail`` gathers what was asked of the whole."""

    __slots__ = (
        "_is_forgotten",
        "_is_new",
        "_own_id",
        "_recipient",
        "_request",
        "_row",
        "_rule",
        "_was_open",
        "came_back",
        "cause",
        "chain",
        "context",
        "facts",
        "key",
        "parts",
        "raw",
        "receipts",
        "replay",
        "replayed",
        "scheduled",
        "trail",
    )

    def __init__(
        self, context: RouterContext, key: bytes, row: Notification, cause: str, request: Request | None = None
    ) -> None:
        self.context = context
        self.key = key
        self.facts: Facts = row.facts
        self.cause = cause
        self.raw = row.request
        self._request = request
        self.parts: list[Part] = list(row.parts)
        self.chain: Chained | None = row.chain
        self.scheduled = row.scheduled
        self.replay = row.replay
        self.replayed = row.replayed
        self.came_back = row.came_back
        self.receipts = row.receipts
        self.trail: list[Entry] = []
        self._row = row
        self._is_new = False
        self._is_forgotten = False
        self._was_open = row.is_open
        self._rule: EventRule | None = None
        self._recipient: Recipient | None = None
        self._own_id: bytes | None = None

    @classmethod
    def new(
        cls, context: RouterContext, key: bytes, row: Notification, cause: str, request: Request | None = None
    ) -> "NotificationRecord":
        """A notification that has no row yet."""
        notification = cls(context, key, row, cause, request)
        notification.add()
        return notification

    def add(self) -> None:
        """From now on it is there: its row is written with the others."""
        assert self.key not in self.context.loaded
        self.context.loaded[self.key] = self
        self._is_new = True

    @classmethod
    def load(cls, context: RouterContext, key: bytes, cause: str) -> "NotificationRecord | None":
        """The one object for the row while this record is handled, however often it is asked for."""
        notification = context.loaded.get(key)
        if notification is None:
            row = context.state.notifications.get(key)
            if row is None:
                return None
            notification = context.loaded[key] = cls(context, key, row, cause)
        return notification

    def write(self) -> None:
        """Writes the row if it changed; the request is kept only as long as something of it is open, the row as long
        as receipts of what went out then may come."""
        if not (self._is_new or self._is_forgotten or self._has_changed()):
            return
        opened = is_open(self.scheduled, self.parts, self.chain)
        row = self._row
        until_ms = row.until_ms
        if self._was_open and not opened:
            until_ms = max(until_ms, self.context.now + RECEIPTS_MS)
        row = Notification(
            self.facts,
            row.position,
            row.content,
            until_ms,
            self.raw if opened else b"",
            tuple(self.parts),
            self.chain,
            self.scheduled,
            row.items if opened else b"",
            row.reported_until,
            row.after_erasure,
            self.replay,
            self.replayed,
            self.came_back,
            row.holdout,
            self.receipts,
        )
        if self.replay is not None:
            self._report_outcome(self.replay)
        self.context.state.notifications.put(self.key, forgotten(row) if self._is_forgotten else row)
        if opened is not self._was_open:
            facts, pending = self.facts, self.context.state.pending
            note = pending.add if opened else pending.remove
            note(facts.user_id, self.key, facts.notification_id, facts.campaign_id)

    def _has_changed(self) -> bool:
        row = self._row
        return (
            self.facts is not row.facts
            or self.chain is not row.chain
            or self.scheduled != row.scheduled
            or tuple(self.parts) != row.parts
            or self.replay is not row.replay
            or self.replayed is not row.replayed
            or self.came_back is not row.came_back
            or self.receipts is not row.receipts
        )

    # --- what is asked of it ---

    @property
    def is_forgotten(self) -> bool:
        """Its user was erased since: nothing is told of it any more."""
        return self._row.is_forgotten or self.is_of_before_erasure

    @property
    def is_of_before_erasure(self) -> bool:
        """Its user was erased since, and what was there is still being forgotten; whether or not they began anew."""
        return self.context.state.known.forgets(self.facts.user_id, self._row.after_erasure)

    @property
    def size(self) -> int:
        """How many bytes of requests it holds."""
        return len(self.raw) + len(self._row.items)

    @property
    def request(self) -> Request | None:
        """None where it is no longer kept."""
        if self._request is None and self.raw:
            self._request = read_accepted(self.raw)
        return self._request

    @property
    def items(self) -> bytes:
        return self._row.items

    @property
    def position(self) -> str:
        """Where the accepted record lies."""
        return self._row.position

    @property
    def content(self) -> bytes:
        """The hash of what the request says."""
        return self._row.content

    @property
    def holdout(self) -> int | None:
        """Its campaign's holdout; None: the campaign has none of its own."""
        return self._row.holdout

    @property
    def order(self) -> bytes:
        """Sorts by the order of acceptance: its time; of one batch, which has one time, by where it came from, in the
        order in which batches are drawn, and by its place there (of a digest: its due time). What is replayed has the
        place of what it repeats."""
        if self.replay is not None:
            return self.replay.order
        came_from, _, rest = self._row.position.partition(":")
        place = _DRAWN.index(came_from) << 56 | int(rest.rpartition(":")[2])
        return self.facts.accepted_ms.to_bytes(8, "big") + place.to_bytes(8, "big")

    @property
    def own_id(self) -> bytes:
        """The notification's 16 bytes, as the caps know it."""
        if self._own_id is None:
            self._own_id = bytes.fromhex(self.facts.notification_id.replace("-", ""))
        return self._own_id

    @property
    def policy(self) -> Policy:
        """The policy in force; of what is replayed as it was decided, the one of then."""
        then = self.context.catalog.policy_at(self.facts.policy_version) if self.is_as_decided else None
        return then or self.context.policy

    @property
    def rule(self) -> EventRule:
        """What the policy says of it; a digest keeps the category of its items."""
        if self._rule is None:
            policy = self.policy
            rule = policy.rule_of(self.facts.event_type)
            if (self.items or self.is_as_decided) and rule.category.name != self.facts.category:
                rule = replaced(rule, category=policy.categories.get(self.facts.category, rule.category))
            self._rule = rule
        return self._rule

    @property
    def recipient(self) -> Recipient:
        if self._recipient is None:
            known, user_id = self.context.state.known, self.facts.user_id
            profile = self._reached_of(known.profile(user_id) or NOBODY)
            wishes = known.wishes(user_id)
            self._recipient = Recipient(
                user_id,
                profile,
                wishes.preferences,
                profile.timezone or self.context.policy.timezone,
                wishes.consent,
                known.is_suppressed_hash,
            )
        return self._recipient

    def _reached_of(self, profile: Profile) -> Profile:
        """What is replayed goes to the device that it was for, and to no other."""
        if self.replay is None or self.replay.channel != "push":
            return profile
        device_id = self.replay.device_id
        return replace(profile, devices=tuple(each for each in profile.devices if each.device_id == device_id))

    def subject(self) -> Subject:
        return Subject(
            self.rule,
            self.facts.event_type,
            self.facts.priority,
            self.own_id,
            self.data,
            self.verifies,
            self.is_as_decided,
        )

    @property
    def is_as_decided(self) -> bool:
        """Whether it is replayed as it was decided, not judged by the policy and template of now."""
        return self.replay is not None and self.replay.as_decided

    @property
    def decided_by(self) -> int:
        """The version of the policy that decides about it."""
        return self.facts.policy_version if self.is_as_decided else self.context.catalog.policy_version

    def siblings(self) -> "list[NotificationRecord]":
        """All rows of the notification but this one: its own, those set aside, those of replays."""
        return rows_of(self.context, self.facts.user_id, self.facts.notification_id, self.cause, besides=self.key)

    @property
    def has_siblings(self) -> bool:
        """Whether a replay shares its sends and places; mostly not, so most need not be looked for."""
        return self.replayed or self.replay is not None

    @property
    def verifies(self) -> bool:
        """Whether it carries the code that verifies an address: only what came by Tocsin's own topic does."""
        return self._row.position.startswith(_VERIFICATION)

    def data(self) -> Mapping[str, Any]:
        data = self.request.data_json if self.request is not None else b""
        return msgspec.json.decode(data) if data else {}

    def use_what_is_in_force(self) -> None:
        """Takes the category and the priority by the policy of now (a digest keeps its items'), the template's version
        of now, and its variant for the user."""
        facts, request, in_force = self.facts, self.request, self.context.catalog.policy_version
        if self.is_as_decided:
            return
        if facts.policy_version != in_force:
            facts = replace(facts, policy_version=in_force)
            if request is not None and not self.items:
                rule = self.context.policy.rule_of(facts.event_type)
                priority = self.context.policy.priority_of(rule, request.priority, facts.source)
                facts = replace(facts, category=rule.category.name, priority=priority)
            self.facts = facts
        if facts.template_id is None:
            return
        found = self.context.catalog.template(facts.template_id)
        version = found.version if found is not None else None
        if version != facts.template_version:
            variant = choose_variant(found.template, facts.user_id) if found is not None else None
            self.facts = replace(facts, template_version=version, variant=variant)

    # --- what becomes of it ---

    def forget(self) -> None:
        """Keeps what recognises the same request and its sends again."""
        self._is_forgotten = True

    def emit(
        self,
        status: Status,
        channel: Channel | None = None,
        reason: str | None = None,
        *,
        send_id: str | None = None,
        trail: list[Entry] | None = None,
        **detail: Any,
    ) -> None:
        """Tells a decision with its trail: what was asked of the whole, then of the channel."""
        asked = self.trail + trail if trail else self.trail
        if asked:
            detail["trail"] = asked
        if self.replay is not None:
            channel, send_id = self.replay.channel, self.replay.send_id
            if self.replay.device_id is not None:
                detail["device_id"] = self.replay.device_id
            self.note_outcome(status, reason)
        emit_event(
            self.context,
            self.facts,
            status,
            self.cause,
            channel=channel,
            send_id=send_id,
            reason=reason,
            detail=detail or None,
            policy_version=self.decided_by,
        )

    def begins_trail(self) -> list[Entry]:
        """What a trail has before any rule was asked: that it is a replay's."""
        if self.replay is None:
            return []
        return [("replay", True, self.facts.replay_id, "as_decided" if self.replay.as_decided else "again")]

    def note_outcome(self, status: Status, reason: str | None) -> None:
        """Of a replay's: what its receipt is to say."""
        if self.replay is not None:
            self.replay = replace(self.replay, outcome=outcome_of(status, reason), reason=reason)

    def _report_outcome(self, replay: Replay) -> None:
        """To the job that runs the replay, whenever it changes."""
        before = None if self._is_new else self._row.replay
        if before is None or (before.outcome, before.reason) != (replay.outcome, replay.reason):
            self.answer()

    def answer(self) -> None:
        """Tells the job that runs the replay what became of the candidate."""
        replay, replay_id = self.replay, self.facts.replay_id
        assert replay is not None
        assert replay_id is not None
        outcome = ReplayOutcome(
            replay_id=replay_id,
            user_id=self.facts.user_id,
            notification_id=self.facts.notification_id,
            send_id=replay.candidate,
            outcome=replay.outcome,  # type: ignore[arg-type]  # (one of its words)
            at=self.context.now,
            reason=replay.reason,
            new_send_id=replay.send_id or None,
        )
        self.context.out.send(REPLAY_OUTCOMES, self.facts.user_id.encode(), encode_replay_outcome(outcome))

    def wake_at(self, due_ms: int, kind: Kind, detail: str) -> bytes:
        """Schedules; of what falls due at once, what was accepted first comes first."""
        return self.context.state.schedule.at(due_ms, Due(kind, self.facts.user_id, self.order + self.key, detail))

    def unwait(self, index: int, keep_queue: bytes | None = None) -> Part:
        """Takes the part out of its wait, wherever that is noted, and returns it. In the queue of the cap
        ``keep_queue`` it keeps its place."""
        part = self.parts[index]
        if not part.wait:
            return part
        if part.due:
            self.context.state.schedule.delete(part.due)
        free = replace(part, wait="", until_ms=0, due=b"", waits_for=b"")
        self.parts[index] = free
        if part.wait == "rate_cap" and (cap := part.waits_for) != keep_queue:
            rows = [self, *self.siblings()] if self.has_siblings else [self]
            others = (other for row in rows for other in row.parts if other.wait == "rate_cap")
            if not any(other.waits_for == cap for other in others):
                leave_queue(self.context, self.facts.user_id, self.own_id, cap.decode())
        return free

    def end_part(
        self,
        index: int,
        status: Status,
        reason: str | None = None,
        *,
        trail: list[Entry] | None = None,
        **detail: Any,
    ) -> None:
        """The one end of a channel that has no send."""
        assert status in ENDS
        part = self.unwait(index)
        self.emit(status, part.channel, reason, trail=trail, **detail)


def rows_of(
    context: RouterContext, user_id: str, notification_id: str, cause: str, besides: bytes = b""
) -> list[NotificationRecord]:
    """All rows of a notification: its own, those that were set aside, those of replays."""
    rows = context.state.notifications.scan(*range_of_notification(user_id, notification_id))
    found = (NotificationRecord.load(context, key, cause) for key, _ in rows if key != besides)
    return [notification for notification in found if notification is not None]
