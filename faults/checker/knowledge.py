"""What was known of a user at any moment, as the acknowledged commands say: who may be told what, and where."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

from faults.checker.values import Command, Event, Run
from faults.checker.words import DND_STOPS

#: A command that doesn't say when it was made may have been in force so long before its producer heard of it.
_UNHEARD_MS = 30_000
#: A token that another user has now is taken from the one before within this.
_TOKEN_MOVES_MS = 5_000
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Known:
    """One user, after some command."""

    erased: bool = False
    profile: Mapping[str, Any] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    zone: str | None = None
    preferences: Mapping[str, Any] = field(default_factory=dict)
    #: (channel, category) → granted.
    consents: Mapping[tuple[str, str], bool] = field(default_factory=dict)

    def addresses(self, channel: str) -> frozenset[str]:
        """Those of a channel, in the form in which they are compared."""
        if channel == "push":
            return frozenset(map(compared, self.devices.values()))
        given = self.profile.get({"email": "email", "sms": "phone"}.get(channel, ""))
        return frozenset((compared(given),)) if given else frozenset()


def compared(address: str) -> str:
    return address.casefold()


def unix_ms(text: str) -> int:
    """Of a time in RFC 3339."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def _made_ms(command: Command) -> int:
    at = command.fields.get("at")
    return unix_ms(at) if isinstance(at, str) else command.at_ms - _UNHEARD_MS


@dataclass(slots=True)
class Knowledge:
    """All users of a run, at all times."""

    policy: Mapping[str, Any]
    #: user → when a command was made, when it was acknowledged, and what was known from then on.
    _states: dict[str, list[tuple[int, int, Known]]] = field(default_factory=lambda: defaultdict(list))
    _ever: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: Addresses that some user of the run ever had, as they are compared.
    _owned: set[str] = field(default_factory=set)
    #: Token → made, heard and to whom it went.
    _tokens: dict[str, list[tuple[int, int, str]]] = field(default_factory=lambda: defaultdict(list))
    #: (channel, address) → made, heard, and whether it was put on the suppression list or taken off.
    _listed: dict[tuple[str, str], list[tuple[int, int, bool]]] = field(default_factory=lambda: defaultdict(list))
    _cancels: list[Command] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run, logged: Iterable[tuple[int, Mapping[str, Any]]] = ()) -> Self:
        """``logged``: commands in the topic, with their times; they only add addresses that the client's log lacks."""
        known = cls(run.terms.policy)
        seen: set[str] = set()
        for command in sorted(run.commands, key=lambda each: each.at_ms):
            name = command.fields.get("id")
            if name is None or name not in seen:
                known._take(command)
            seen.add(name or "")
        users = run.users | {str(c.fields.get("user_id")) for c in run.commands}
        for _, fields in logged:
            if fields.get("user_id") in users:
                known._remember(str(fields["user_id"]), fields)
        return known

    def ever(self, user: str) -> Iterable[str]:
        """Every address that the user was ever given."""
        return self._ever.get(user, ())

    def belongs(self, address: str) -> bool:
        """Whether a user of the run ever had it."""
        return compared(address) in self._owned

    def has_addresses(self, user: str, channel: str) -> bool:
        return any(state.addresses(channel) for _, _, state in self._states.get(user, ()))

    def during(self, user: str, since_ms: int, until_ms: int) -> list[Known]:
        """All that was known of the user at some moment between the two, also what may have been in force unheard."""
        states = self._states.get(user, ())
        before = [state for _, heard, state in states if heard <= since_ms]
        after = [state for made, heard, state in states if heard > since_ms and made <= until_ms]
        return [before[-1] if before else Known(), *after]

    def commands_between(self, user: str, since_ms: int, until_ms: int) -> bool:
        """Whether a command for the user may have come into force between the two."""
        return any(heard >= since_ms and made <= until_ms for made, heard, _ in self._states.get(user, ()))

    def forbidden(self, event: Event, address: str | None, since_ms: int, at_ms: int) -> str | None:
        """Why no call for this send may start at ``at_ms``, if that was acknowledged by ``since_ms``; else None.

        ``event``: any of the send's. Only what forbade it all the time between the two counts.
        """
        if self._is_cancelled(event, since_ms):
            return "cancelled"
        if (
            address is not None
            and event.channel is not None
            and self._is_listed(event.channel, address, since_ms, at_ms)
        ):
            return "on the suppression list"
        if address is not None and self._is_taken(event, address, since_ms, at_ms):
            return "the token is another user's"
        reasons = [self._reason(state, event, address, at_ms) for state in self.during(event.user_id, since_ms, at_ms)]
        return reasons[0] if all(reasons) else None

    def is_quiet(self, event: Event, since_ms: int, at_ms: int) -> bool:
        """Whether quiet hours applied all the time between the two."""
        if event.priority == "critical":
            return False
        states = self.during(event.user_id, since_ms, at_ms)
        return all(self._holds(state, event.channel, at) for state in states for at in (since_ms, at_ms))

    # --- reading commands

    def _take(self, command: Command) -> None:
        fields = command.fields
        user = fields.get("user_id")
        match fields["type"]:
            case "notification.cancel":
                self._cancels.append(command)
            case "suppression.add" | "suppression.remove":
                name, added = (fields["channel"], compared(fields["address"])), fields["type"] == "suppression.add"
                self._listed[name].append((_made_ms(command), command.at_ms, added))
            case _ if user is not None:
                states = self._states[user]
                before = states[-1][2] if states else Known()
                states.append((_made_ms(command), command.at_ms, _after(before, fields)))
                self._remember(user, fields)
                if fields["type"] == "device.add" and fields.get("token"):
                    self._tokens[compared(fields["token"])].append((_made_ms(command), command.at_ms, user))

    def _remember(self, user: str, fields: Mapping[str, Any]) -> None:
        given = {fields[name] for name in ("email", "phone", "token") if isinstance(fields.get(name), str)}
        self._ever[user] |= given
        self._owned |= {compared(each) for each in given}

    # --- what forbids

    def _is_cancelled(self, event: Event, since_ms: int) -> bool:
        return any(
            command.at_ms <= since_ms
            and command.fields.get("user_id") in (None, event.user_id)
            and command.fields.get("source") in (None, event.source)
            and (
                command.fields.get("notification_id") == event.notification_id
                or command.fields.get("campaign_id", "") == event.campaign_id
            )
            for command in self._cancels
        )

    def _is_listed(self, channel: str, address: str, since_ms: int, at_ms: int) -> bool:
        history = self._listed.get((channel, compared(address)), ())
        before = [listed for _, heard, listed in history if heard <= since_ms]
        after = [listed for made, heard, listed in history if heard > since_ms and made <= at_ms]
        return bool(before) and all((before[-1], *after))

    def _is_taken(self, event: Event, address: str, since_ms: int, at_ms: int) -> bool:
        if event.channel != "push":
            return False
        since_ms -= _TOKEN_MOVES_MS
        history = self._tokens.get(compared(address), ())
        before = [user for _, heard, user in history if heard <= since_ms]
        after = [user for made, heard, user in history if heard > since_ms and made <= at_ms]
        return bool(before) and event.user_id not in (before[-1], *after)

    def _reason(self, state: Known, event: Event, address: str | None, at_ms: int) -> str | None:
        channel, category = event.channel or "", event.category or ""
        if state.erased:
            return "erased"
        dnd = state.preferences.get("dnd") or {}
        if dnd.get("enabled") and event.priority != "critical" and channel in DND_STOPS:
            until = dnd.get("until")
            if until is None or at_ms < unix_ms(until):
                return "do not disturb"
        its = (self.policy.get("categories") or {}).get(category) or {}
        if its.get("opt_out") != "never":
            if _spoken(state.preferences, event.event_type or "", category, channel) is False:
                return "opted out"
            if state.consents.get((channel, category)) is False:
                return "consent withdrawn"
        if address is not None and self.has_addresses(event.user_id, channel):
            there = state.addresses(channel)
            return None if compared(address) in there else f"not an address of {event.user_id}"
        return None

    def _holds(self, state: Known, channel: str | None, at_ms: int) -> bool:
        default = (self.policy.get("defaults") or {}).get("quiet_hours") or {}
        if channel not in default.get("channels", ("push", "sms")):
            return False
        own = state.preferences.get("quiet_hours")
        hours = own if own is not None else default
        if not hours.get("enabled", True) or "start" not in hours:
            return False
        local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(state.zone or self._zone()))
        return is_in_hours(local, hours["start"], hours["end"], hours.get("days") or _DAYS)

    def _zone(self) -> str:
        return str(self.policy.get("timezone") or "UTC")


def is_in_hours(local: datetime, start: str, end: str, days: Iterable[str]) -> bool:
    """Whether the wall clock is in the hours; ``days`` are those on which a night begins."""
    clock = local.strftime("%H:%M")
    today, yesterday = _DAYS[local.weekday()], _DAYS[(local - timedelta(days=1)).weekday()]
    if start < end:
        return start <= clock < end and today in days
    return (clock >= start and today in days) or (clock < end and yesterday in days)


def _spoken(preferences: Mapping[str, Any], event_type: str, category: str, channel: str) -> bool | None:
    """The most specific entry that speaks of the channel; None: none does."""
    for entry in _entries(preferences, event_type, category):
        if isinstance(entry, Mapping) and entry.get(channel) is not None:
            return bool(entry[channel])
    return None


def _entries(preferences: Mapping[str, Any], event_type: str, category: str) -> Iterator[Any]:
    types = preferences.get("event_types") or {}
    yield types.get(event_type)
    patterns = [name for name in types if name.endswith("*") and event_type.startswith(name[:-1])]
    yield from (types[name] for name in sorted(patterns, key=len, reverse=True))
    yield (preferences.get("categories") or {}).get(category)
    yield preferences.get("channels")


def _after(known: Known, fields: Mapping[str, Any]) -> Known:
    kind = fields["type"]
    if kind == "user.erase":
        return Known(erased=True)
    if known.erased and kind != "profile.set":
        return known
    profile, devices, zone = dict(known.profile), dict(known.devices), known.zone
    preferences, consents = known.preferences, dict(known.consents)
    if fields.get("timezone") and kind in ("profile.set", "device.add", "activity.seen"):
        zone = fields["timezone"]
    if kind == "profile.set":
        profile = merged(profile, {name: fields[name] for name in ("email", "phone") if name in fields})
    elif kind == "device.add":
        devices[fields["device_id"]] = fields.get("token") or ""
    elif kind == "device.remove":
        devices.pop(fields["device_id"], None)
    elif kind == "preferences.set":
        preferences = fields["preferences"]
    elif kind == "preferences.patch":
        preferences = merged(preferences, fields["preferences"])
    elif kind == "consent.set":
        consents[fields["channel"], fields["category"]] = bool(fields["granted"])
    return Known(False, profile, devices, zone, preferences, consents)


def merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7396)."""
    result = dict(document)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            old = result.get(name)
            result[name] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            result[name] = value
    return result
