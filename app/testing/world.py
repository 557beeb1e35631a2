"""A world to test a policy in: its users, what happens to them, and what Tocsin makes of it, in virtual time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import msgspec

from agents.sender.calls import Call
from app.api.explain import Explanation, explain
from app.domain.holdout import HOLDOUT, share_of, signed_holdout
from app.domain.ids import derived_id
from app.ports import Message
from app.testing.catalog import PolicySource, Templates, catalog_of
from app.testing.providers import EVERY_PROVIDER, Accepting, Answer
from app.testing.replays import Replay, asked_of
from app.testing.replays import run as run_replay
from app.testing.roles import SECRET, Roles
from schemas.instants import from_ms, parse_ms, rfc3339, to_ms
from schemas.lifecycle import LifecycleEvent
from schemas.replays import ReplayRequest, encode_replay_request, read_replay_outcome
from schemas.sends import Send, read_send
from schemas.topics import (
    COMMANDS,
    EVENT_TOPIC_OF_LANE,
    RECEIPTS,
    REPLAY_OUTCOMES,
    REPLAY_REQUESTS,
    SEND_TOPICS,
)
from schemas.words import WAITS, Channel, Lane, Provider

#: Where sends lie that can be replayed.
_SENDING = frozenset(topic for channel, lanes in SEND_TOPICS.items() if channel != "in_app" for topic in lanes)
#: RFC 3339, or a datetime that knows its zone.
Time = str | datetime


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that its provider (or the inbox) accepted."""

    user_id: str
    notification_id: str
    send_id: str
    channel: Channel
    provider: Provider
    at: datetime
    event_type: str
    category: str
    #: What the user sees: title, body, subject, text, html, url, image, as the channel has them.
    message: Message


@dataclass(frozen=True, slots=True)
class Waiting:
    """A channel of a notification that is held or scheduled (then of all channels: None), and until when."""

    user_id: str
    notification_id: str
    channel: Channel | None
    status: str
    reason: str | None
    until: datetime


class World:
    """Users, a policy and a clock. Everything is decided by the machines that Tocsin runs; only the log, the tables'
    store, the clock and the providers are made up. Nothing takes time but ``advance`` and ``until``.

    Args:
        policy: a file, a text in YAML or JSON, or plain values; None: the default one.
        templates: by id, each ``{"channels": {channel: {locale: parts}}}``. Those that the policy names and that
            aren't here show their name.
        at: when the world begins.
        providers: those of each channel that there are; default: all.
        answer: what providers answer; default: they accept.

    Raises PolicyError with every problem of the policy, Invalid for a template.
    """

    def __init__(
        self,
        policy: PolicySource | None = None,
        *,
        templates: Templates | None = None,
        at: Time = "2026-01-01T00:00:00Z",
        providers: Mapping[Channel, Collection[Provider]] | None = None,
        answer: Answer | None = None,
    ) -> None:
        self._version = 1
        self._templates = templates
        self._now = _ms(at)
        self._sent: list[Sent] = []
        self._events: list[LifecycleEvent] = []
        self._ids = 0
        #: What was last tried, by send.
        self._tried: dict[str, Message] = {}
        there = {**EVERY_PROVIDER, **{channel: frozenset(names) for channel, names in (providers or {}).items()}}
        catalog = catalog_of(policy, templates, self._version)
        self._there = there
        self._catalog = catalog
        #: Every send that was queued, by the topic of its channel: what a replay is made of.
        self._queued: list[bytes] = []
        self._replays: dict[str, Replay] = {}
        self._roles = Roles(catalog, there, answer or Accepting(), self._tell, self._call, self._note)

    # --- who there is ---

    def user(
        self,
        user_id: str,
        *,
        devices: Sequence[str | Mapping[str, Any]] = ("android",),
        email: str | None = "",
        phone: str | None = "",
        verified: bool = True,
        preferences: Mapping[str, Any] | None = None,
        consents: Sequence[tuple[Channel, str]] = (),
        **profile: Any,
    ) -> None:
        """Adds a user whom every channel reaches, unless said otherwise.

        Args:
            devices: platforms (``android``, ``ios``, ``web``) or fields of ``device.add``.
            email, phone: made up if not given; None: the user has none.
            verified: whether both addresses are.
            preferences: the document that a user sets.
            consents: (channel, category) that the user consented to.
            profile: further fields of ``profile.set``: ``timezone``, ``locale``, ``name``, ``attributes``.
        """
        self._ids += 1
        addresses: dict[str, Any] = {}
        if email is not None:
            addresses |= {"email": email or f"user{self._ids}@example.com", "email_verified": verified}
        if phone is not None:
            addresses |= {"phone": phone or f"+4477009{self._ids:05}", "phone_verified": verified}
        self.command("profile.set", user_id, **addresses, **profile)
        for number, device in enumerate(devices, start=1):
            said: dict[str, Any] = {"platform": device} if isinstance(device, str) else dict(device)
            name = said.setdefault("device_id", f"device-{number}")
            if said["platform"] == "web":
                said.setdefault("subscription", _subscription(user_id, name))
            elif said["platform"] == "ios":
                said.setdefault("token", sha256(f"{user_id} {name}".encode()).hexdigest())
            else:
                said.setdefault("token", f"{user_id} {name}")
            self.command("device.add", user_id, **said)
        if preferences is not None:
            self.command("preferences.set", user_id, preferences=preferences)
        for channel, category in consents:
            consent = {"channel": channel, "category": category, "granted": True, "evidence": "given in a test"}
            self.command("consent.set", user_id, **consent)

    def command(self, kind: str, user_id: str | None = None, **fields: Any) -> None:
        """Gives any command: ``world.command("user.erase", "ada")``. Raises Invalid."""
        said = {"type": kind, "id": self._name("command"), "at": rfc3339(self._now), **fields}
        if user_id is not None:
            said["user_id"] = user_id
        self._produce(COMMANDS, user_id, said)

    # --- what happens ---

    def request(
        self,
        user_id: str,
        event_type: str,
        *,
        data: Mapping[str, Any] | None = None,
        at: Time | None = None,
        lane: Lane = "normal",
        holdout: str | None = None,
        **fields: Any,
    ) -> str:
        """Asks for a notification, at ``at`` (the clock moves there first) or now; returns its id.

        ``holdout``: that of the campaign which ``campaign_id`` names, such as ``"5%"``. ``fields``: any others of a
        request (``channels``, ``priority``, ``content``, ``send_at``, ``collapse_key`` …).
        Raises Invalid, with the field, for what Tocsin refuses.
        """
        if at is not None:
            self.until(at)
        said: dict[str, Any] = {"user_id": user_id, "event_type": event_type, **fields}
        if data is not None:
            said["data"] = data
        before = len(self._events)
        self._produce(EVENT_TOPIC_OF_LANE[lane], user_id, said, _campaign_headers(said, holdout))
        return self._events[before].notification

    def receipt(self, sent: Sent, status: str, **fields: Any) -> None:
        """Lets something come back of a message: delivered, opened, clicked, bounced …"""
        of = {"send_id": sent.send_id, "notification_id": sent.notification_id, "user_id": sent.user_id}
        said = {"id": self._name("receipt"), "occurred_at": rfc3339(self._now), "status": status}
        self._produce(RECEIPTS, sent.user_id, {**said, **of, "channel": sent.channel, **fields})

    def put_in_force(self, policy: PolicySource, templates: Templates | None = None) -> None:
        """Replaces the policy, and the templates if there are new ones, as ``tocsin policy apply`` does."""
        self._templates = self._templates if templates is None else templates
        self._catalog = catalog_of(policy, self._templates, self._version + 1)
        self._roles.use(self._catalog)
        self._version += 1

    def replay(self, channel: Channel, *, start: Time | None = None, end: Time | None = None, **asked: Any) -> Replay:
        """Makes again what a channel did not get out, as ``tocsin replay`` does, but at no pace; returns what came of
        it, which goes on as time does.

        ``start``, ``end``: when it was first queued; default: at any time until now. ``asked``: as in the body of
        ``POST /v1/replays``: ``status``, ``reason``, ``provider`` (lists), ``dry_run``, ``as_decided``,
        ``expires_after`` … Raises Invalid with the field.
        """
        replay = Replay(derived_id("replay", self._name("replay")))
        from_ms, to_ms = 0 if start is None else _ms(start), self._now + 1 if end is None else _ms(end)
        body = {"channel": channel, "from": rfc3339(from_ms), "to": rfc3339(to_ms), **asked}
        job = asked_of(replay.replay_id, body, self._now)
        self._replays[replay.replay_id] = replay
        order = [each for each in self._catalog.policy.providers[channel].order if each in self._there[channel]]
        sends = [send for value in self._queued if isinstance(send := read_send(value), Send)]
        run_replay(job, list(self._events), sends, order, self._ask)
        return replay

    # --- time ---

    @property
    def now(self) -> datetime:
        """The world's time, UTC."""
        return from_ms(self._now)

    def advance(self, **by: float) -> None:
        """Lets time pass: ``world.advance(days=1, hours=8)``. Whatever falls due meanwhile does, at its time."""
        self.until(self.now + timedelta(**by))

    def until(self, time: Time) -> None:
        """Lets time pass until then. Raises ValueError for a time that is over."""
        end = _ms(time)
        if end < self._now:
            raise ValueError(f"{rfc3339(end)} is over: it is {rfc3339(self._now)}")
        while (due := self._roles.next_due()) is not None and due <= end:
            self._now = max(self._now, due)
            self._roles.wake(self._now)
        self._now = end

    # --- what became of it ---

    def sweep(self) -> None:
        """Lets the tables forget at once what they have no more use for; they do so by and by, too."""
        self._roles.sweep(self._now)

    def table_sizes(self) -> dict[tuple[str, str], int]:
        """How many rows there are, by (role, table)."""
        return self._roles.table_sizes()

    def sent(
        self,
        user_id: str | None = None,
        *,
        channel: Channel | None = None,
        event_type: str | None = None,
        notification_id: str | None = None,
    ) -> list[Sent]:
        """What was sent, oldest first."""
        return [
            sent
            for sent in self._sent
            if user_id in (None, sent.user_id)
            and channel in (None, sent.channel)
            and event_type in (None, sent.event_type)
            and notification_id in (None, sent.notification_id)
        ]

    def waiting(self, user_id: str | None = None) -> list[Waiting]:
        """What waits now, and until when, the soonest first."""
        latest: dict[tuple[str, str, Channel | None], LifecycleEvent] = {}
        for event in self._events:
            if event.status in ("accepted", "repeated") or user_id not in (None, event.user_id):
                continue
            latest.pop((event.notification, event.user_id, None), None)
            latest[event.notification, event.user_id, event.channel] = event
        return sorted((_waiting(e) for e in latest.values() if e.status in WAITS), key=lambda wait: wait.until)

    def events(self, user_id: str | None = None, notification_id: str | None = None) -> list[LifecycleEvent]:
        """Every lifecycle event, oldest first."""
        return [
            event
            for event in self._events
            if user_id in (None, event.user_id) and notification_id in (None, event.notification_id)
        ]

    def why(self, notification_id: str, user_id: str) -> Explanation:
        """What ``tocsin why`` says: ``summary`` in words, and for each channel ``outcome``, ``reason`` and ``trail``.

        Raises LookupError where nothing has happened to it.
        """
        events = self.events(user_id, notification_id)
        if not events:
            raise LookupError(f"{user_id} has no notification {notification_id}")
        return explain([msgspec.to_builtins(event) for event in events])

    # --- inside ---

    def _produce(
        self,
        topic: str,
        user_id: str | None,
        said: Mapping[str, Any],
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        key = None if user_id is None else user_id.encode()
        self._roles.produce(topic, key, msgspec.json.encode(said), self._now, headers)

    def _name(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids}"

    def _ask(self, request: ReplayRequest) -> None:
        self._roles.produce(REPLAY_REQUESTS, request.user_id.encode(), encode_replay_request(request), self._now)

    def _note(self, topic: str, value: bytes) -> None:
        if topic in _SENDING:
            self._queued.append(value)
        elif topic == REPLAY_OUTCOMES:
            answer = read_replay_outcome(value)
            self._replays[answer.replay_id].take(answer)

    def _call(self, call: Call) -> None:
        self._tried[call.handle.send_id] = call.message

    def _tell(self, event: LifecycleEvent) -> None:
        if event.notification_id is None:
            return  # of a device
        self._events.append(event)
        if event.status != "sent" or event.send_id is None or event.channel is None or event.provider is None:
            return
        shown = self._roles.top_of_inbox(event.user_id) if event.channel == "in_app" else self._tried.pop(event.send_id)
        self._sent.append(
            Sent(
                user_id=event.user_id,
                notification_id=event.notification,
                send_id=event.send_id,
                channel=event.channel,
                provider=event.provider,
                at=self.now,
                event_type=event.event_type or "",
                category=event.category or "",
                message=shown,
            )
        )


def _campaign_headers(said: Mapping[str, Any], holdout: str | None) -> list[tuple[str, bytes]]:
    """What the gateway adds to the requests of a campaign with a holdout."""
    if holdout is None:
        return []
    if said.get("campaign_id") is None:
        raise ValueError("a holdout is a campaign's: give campaign_id too")
    share = share_of(holdout)
    return [(HOLDOUT, signed_holdout(SECRET, said.get("source") or "", said["campaign_id"], share))]


def _ms(time: Time) -> int:
    if isinstance(time, str):
        return parse_ms(time)
    if time.tzinfo is None:
        raise ValueError(f"{time} needs its zone")
    return to_ms(time)


def _waiting(event: LifecycleEvent) -> Waiting:
    detail = event.detail or {}
    until = detail.get("until") or detail["due"]
    return Waiting(
        event.user_id,
        event.notification,
        event.channel,
        event.status,
        event.reason,
        from_ms(parse_ms(until)),
    )


def _subscription(user_id: str, device_id: str) -> dict[str, Any]:
    path = quote(f"{user_id}/{device_id}")
    return {"endpoint": f"https://push.example.com/{path}", "keys": {"p256dh": "B" + "A" * 86, "auth": "A" * 22}}
