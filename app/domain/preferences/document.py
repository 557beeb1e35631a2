"""Reading the document of a user's preferences; what is wrong is refused with the field's name."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from app.domain.digest import Rhythm
from app.domain.policy import Policy
from app.domain.preferences.rules import (
    PERIODS_MS,
    Dnd,
    Limit,
    OwnHours,
    Preferences,
    Refused,
    Switches,
    check_digest_choice,
)
from app.domain.quiet_hours import DAYS, EVERY_DAY, days_mask, minutes_of
from schemas.decode import Invalid
from schemas.instants import instant_ms
from schemas.words import CHANNELS, Channel

Value = TypeVar("Value")

#: Entries in one member: a document is read for every event of its user.
MAX_ENTRIES = 500
#: Of an own limit: the places are kept in a row that is read for every event of its user.
MAX_LIMIT = 1_000


def parse_preferences(document: Any, policy: Policy | None = None) -> Preferences:
    """The preferences of a document; a null is an absent member. Raises Invalid with the field's dotted name, and
    with a policy what ``check_digest_choice`` raises."""
    members = _members(document, "")
    preferences = Preferences(
        channels=_switches(members.get("channels", {}), "channels"),
        categories=_entries(members, "categories", _category),
        event_types=_entries(members, "event_types", _event_type),
        quiet_hours=_quiet_hours(members["quiet_hours"]) if members.get("quiet_hours") else None,
        dnd=_dnd(members["dnd"]) if members.get("dnd") else None,
        digest=_digest(members),
        limits=_limits(members),
    )
    if policy is not None:
        check_digest_choice(preferences, policy)
    return preferences


def _members(value: Any, field: str, known: tuple[str, ...] | None = None) -> dict[str, Any]:
    """An object's members that aren't null. ``known``: the only names there may be; else unknown ones are ignored."""
    if not isinstance(value, Mapping):
        raise Invalid("is not an object", field or None)
    for name in value:
        if known is not None and name not in known:
            raise Invalid(f"is not known; known are {', '.join(known)}", f"{field}.{name}" if field else str(name))
    if len(value) > MAX_ENTRIES:
        raise Invalid(f"has more than {MAX_ENTRIES} entries", field or None)
    return {name: member for name, member in value.items() if member is not None}


def _switches(value: Any, field: str) -> dict[Channel, bool]:
    switches = _members(value, field, CHANNELS)
    for channel, on in switches.items():
        if not isinstance(on, bool):
            raise Invalid("is not true or false", f"{field}.{channel}")
    return switches  # type: ignore[return-value]


def _entries(members: Mapping[str, Any], member: str, check: Callable[[str, str], None]) -> Switches:
    entries = _members(members.get(member, {}), member)
    for name in entries:
        check(name, f"{member}.{name}")
    return {name: _switches(value, f"{member}.{name}") for name, value in entries.items()}


def _category(name: str, field: str) -> None:
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise Invalid("is not a category's name", field)


def _event_type(name: str, field: str) -> None:
    letters = name.removesuffix("*").replace(".", "").replace("_", "").replace("-", "")
    if not 1 <= len(name) <= 100 or not (letters.isalnum() or not letters) or not name.isascii():
        raise Invalid("is not an event type, nor a beginning of one and *", field)


def _parsed(read: Callable[[Any], Value], value: Any, field: str, reason: str) -> Value:
    try:
        return read(value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Invalid(reason, field) from error


def _flag(members: Mapping[str, Any], name: str, field: str) -> bool:
    if name not in members:
        raise Invalid("is required", f"{field}.{name}")
    if not isinstance(members[name], bool):
        raise Invalid("is not true or false", f"{field}.{name}")
    return bool(members[name])


def _time(members: Mapping[str, Any], name: str, field: str) -> int:
    if name not in members:
        raise Invalid("is required", f"{field}.{name}")
    return _parsed(minutes_of, members[name], f"{field}.{name}", "is not a time HH:MM")


def _quiet_hours(value: Any) -> OwnHours:
    field = "quiet_hours"
    hours = _members(value, field)
    enabled = _flag(hours, "enabled", field) if "enabled" in hours else True
    if not enabled and not {"start", "end"} <= hours.keys():
        return OwnHours(False)
    start, end = _time(hours, "start", field), _time(hours, "end", field)
    if start == end:
        raise Refused("is equal to start", f"{field}.end")
    days = hours.get("days")
    if days is not None and not isinstance(days, list):
        raise Invalid("is not a list", f"{field}.days")
    if days is not None and len(days) > len(DAYS):
        raise Invalid(f"has more than {len(DAYS)} entries", f"{field}.days")
    if days is not None and any(day in days[:index] for index, day in enumerate(days)):
        raise Invalid("names a day twice", f"{field}.days")
    mask = EVERY_DAY if days is None else _parsed(days_mask, days, f"{field}.days", f"has more than {', '.join(DAYS)}")
    return OwnHours(enabled, start, end, mask)


def _dnd(value: Any) -> Dnd:
    dnd = _members(value, "dnd")
    enabled = _flag(dnd, "enabled", "dnd")
    if "until" not in dnd:
        return Dnd(enabled)
    if not isinstance(dnd["until"], str):
        raise Invalid("is not an RFC 3339 date-time", "dnd.until")
    return Dnd(enabled, instant_ms(dnd["until"], "dnd.until"))


def _digest(members: Mapping[str, Any]) -> dict[str, Rhythm]:
    choices = _members(members.get("digest", {}), "digest")
    return {category: _rhythm(value, f"digest.{category}") for category, value in choices.items()}


def _rhythm(value: Any, field: str) -> Rhythm:
    choice = _members(value, field)
    if "every" not in choice:
        raise Invalid("is required", f"{field}.every")
    if choice["every"] not in ("hour", "day", "week"):
        raise Invalid("is not hour, day or week", f"{field}.every")
    if "at" in choice:
        _time(choice, "at", field)
    if "on" in choice and (choice["every"] != "week" or choice["on"] not in DAYS):
        raise Invalid(f"is for every: week, one of {', '.join(DAYS)}", f"{field}.on")
    return Rhythm.of(choice)


def _limits(members: Mapping[str, Any]) -> dict[Channel, Limit]:
    limits = _members(members.get("limits", {}), "limits", CHANNELS)
    return {channel: _limit(value, f"limits.{channel}") for channel, value in limits.items()}  # type: ignore[misc]


def _limit(value: Any, field: str) -> Limit:
    limit = _members(value, field)
    for name in ("max", "per"):
        if name not in limit:
            raise Invalid("is required", f"{field}.{name}")
    most, per = limit["max"], limit["per"]
    if not isinstance(most, int) or isinstance(most, bool):
        raise Invalid("is not a whole number", f"{field}.max")
    if not 1 <= most <= MAX_LIMIT:
        remedy = "; to get none, turn the channel off" if most < 1 else ""
        raise Invalid(f"is not between 1 and {MAX_LIMIT:,}{remedy}", f"{field}.max")
    if per not in tuple(PERIODS_MS):
        raise Invalid(f"is not {', '.join(PERIODS_MS)}", f"{field}.per")
    return Limit(most, per)
