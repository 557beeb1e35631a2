"""Preferences as the form of the hosted page shows them, and what a form that comes back changes of them.

A form names what it showed beside what is chosen now, so that only what somebody changed on it is changed: a page that
lay open for a while takes back nothing that was said elsewhere meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.domain.policy import Category, Policy
from app.domain.quiet_hours import DAYS
from schemas.words import CHANNELS, Channel

#: Fields of a form: two for each box of 500 categories, and some.
MAX_FIELDS = 10_000
#: What "everything" is: the inbox disturbs nobody.
_ALL: tuple[Channel, ...] = ("push", "email", "sms")

#: What is proposed to users who have none of their own.
_START, _END = "22:00", "08:00"

Fields = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Box:
    """``name``: its field's value. ``is_on``: what the user gets now."""

    name: str
    channel: Channel
    is_on: bool


@dataclass(frozen=True, slots=True)
class Rhythm:
    """A user's own digest of a category; ``every`` "": as the policy has it."""

    every: Literal["", "hour", "day", "week"] = ""
    at: str = "09:00"
    on: str = "mon"

    @property
    def text(self) -> str:
        return " ".join((self.every, self.at, self.on))


@dataclass(frozen=True, slots=True)
class CategoryShown:
    """``boxes``: none where it can't be turned off. ``rhythm``: None where it isn't gathered into digests."""

    name: str
    label: str
    description: str
    boxes: Sequence[Box]
    rhythm: Rhythm | None


@dataclass(frozen=True, slots=True)
class Quiet:
    """``mode`` "": the policy's quiet hours count."""

    mode: Literal["", "own", "none"] = ""
    start: str = _START
    end: str = _END
    days: tuple[str, ...] = DAYS

    @property
    def text(self) -> str:
        return " ".join((self.mode, self.start, self.end, *self.days))


@dataclass(frozen=True, slots=True)
class Form:
    categories: Sequence[CategoryShown]
    channels: Sequence[Box]
    quiet: Quiet


def form_of(document: Mapping[str, Any], policy: Policy) -> Form:
    """What the page shows of a document that was taken."""
    categories = [_category(category, document, policy) for category in policy.categories.values()]
    switches = _part(document, "channels")
    channels = [Box(f"channel/{name}", name, switches.get(name) is not False) for name in CHANNELS]
    return Form([each for each in categories if each is not None], channels, _quiet(document))


def patch_of(fields: Fields, document: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """The patch (RFC 7396) that a form makes of the document; names that the page never has are passed over."""
    if "all" in fields.get("act", ()):
        return _nothing_more(document)
    form = form_of(document, policy)
    patch: dict[str, Any] = {}
    shown, chosen = set(fields.get("shown", ())), set(fields.get("on", ()))
    _patch_channels(form, shown, chosen, document, patch)
    _patch_categories(form, shown, chosen, document, policy, patch)
    _patch_quiet(fields, patch)
    _patch_digests(fields, form, patch)
    return patch


def channel_change(box: Box, document: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that turns over a box of all that comes by a channel."""
    patch: dict[str, Any] = {}
    _turn_channel(box, not box.is_on, document, patch)
    return patch


#: The categories that each name of the document's ``event_types`` may mean.
Meant = Mapping[str, frozenset[str]]


def meant_by(document: Mapping[str, Any], policy: Policy) -> Meant:
    """Asked once for a document: a name that ends in ``*`` is compared with every event type of the policy."""
    return {name: policy.categories_of(name) for name in _part(document, "event_types")}


def category_change(category: str, box: Box, document: Mapping[str, Any], meant: Meant) -> dict[str, Any]:
    """The patch that turns over a category's box."""
    patch: dict[str, Any] = {}
    _turn_category(category, box, not box.is_on, document, meant, patch)
    return patch


def _category(category: Category, document: Mapping[str, Any], policy: Policy) -> CategoryShown | None:
    channels = _channels_of(category, policy)
    if not channels:
        return None
    own = _part(_part(document, "categories"), category.name)
    switches = _part(document, "channels")
    boxes = [
        Box(f"category/{category.name}/{channel}", channel, _is_on(channel, own, switches, category))
        for channel in channels
    ]
    return CategoryShown(
        category.name,
        category.label or category.name,
        category.description,
        [] if category.opt_out_never else boxes,
        _rhythm(_part(_part(document, "digest"), category.name)) if category.digest is not None else None,
    )


def _channels_of(category: Category, policy: Policy) -> list[Channel]:
    """Where anything of it may be sent."""
    rules = (*policy.exact.values(), *(rule for _, rule in policy.patterns))
    used = set(category.channels)
    for rule in rules:
        if rule.category.name == category.name:
            used.update(rule.channels, rule.fallback.steps if rule.fallback is not None else ())
    return [channel for channel in CHANNELS if channel in used]


def _is_on(channel: Channel, own: Mapping[str, Any], switches: Mapping[str, Any], category: Category) -> bool:
    """As ``evaluate_preference`` has it, but for preferences on single event types."""
    choice = next((each[channel] for each in (own, switches) if each.get(channel) is not None), None)
    return bool(category.default.get(channel, True) if choice is None else choice)


def _quiet(document: Mapping[str, Any]) -> Quiet:
    hours = document.get("quiet_hours")
    if not isinstance(hours, Mapping):
        return Quiet()
    days = hours.get("days")
    return Quiet(
        "none" if hours.get("enabled") is False else "own",
        str(hours.get("start") or _START),
        str(hours.get("end") or _END),
        tuple(day for day in DAYS if day in days) if isinstance(days, list) else DAYS,
    )


def _rhythm(choice: Mapping[str, Any]) -> Rhythm:
    every = choice.get("every")
    if every not in ("hour", "day", "week"):
        return Rhythm()
    return Rhythm(every, str(choice.get("at") or "09:00"), str(choice.get("on") or "mon"))


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name)
    return part if isinstance(part, Mapping) else {}


# --- what a form changes ------------------------------------------------------------------------------------------


def _changed(box: Box, shown: set[str], chosen: set[str]) -> bool | None:
    """What somebody made of the box; None: they left it, or it wasn't there."""
    if f"{box.name}/1" not in shown and f"{box.name}/0" not in shown:
        return None
    is_on = box.name in chosen
    return None if f"{box.name}/{int(is_on)}" in shown else is_on


def _patch_channels(
    form: Form, shown: set[str], chosen: set[str], document: Mapping[str, Any], patch: dict[str, Any]
) -> None:
    for box in form.channels:
        is_on = _changed(box, shown, chosen)
        if is_on is not None:
            _turn_channel(box, is_on, document, patch)


def _turn_channel(box: Box, is_on: bool, document: Mapping[str, Any], patch: dict[str, Any]) -> None:
    """A channel that is turned off is off for all: what lets single categories through goes."""
    patch.setdefault("channels", {})[box.channel] = is_on
    if not is_on:
        _silence(box.channel, document, patch)


def _patch_categories(
    form: Form, shown: set[str], chosen: set[str], document: Mapping[str, Any], policy: Policy, patch: dict[str, Any]
) -> None:
    meant = meant_by(document, policy)
    for category in form.categories:
        for box in category.boxes:
            is_on = _changed(box, shown, chosen)
            if is_on is not None:
                _turn_category(category.name, box, is_on, document, meant, patch)


def _turn_category(
    category: str, box: Box, is_on: bool, document: Mapping[str, Any], meant: Meant, patch: dict[str, Any]
) -> None:
    """Of a category that is turned off, what lets its event types through goes, as by ``unsubscribed``."""
    patch.setdefault("categories", {}).setdefault(category, {})[box.channel] = is_on
    if is_on:
        return
    for name in _letting_through("event_types", box.channel, document):
        if category in meant[name]:
            patch.setdefault("event_types", {}).setdefault(name, {})[box.channel] = None


def _patch_quiet(fields: Fields, patch: dict[str, Any]) -> None:
    mode = _one(fields, "quiet")
    days = tuple(day for day in DAYS if day in fields.get("quiet_day", ()))
    if mode not in ("", "own", "none"):
        return
    chosen = Quiet(mode, _one(fields, "quiet_start") or "", _one(fields, "quiet_end") or "", days)  # type: ignore[arg-type]
    if chosen.text == _one(fields, "quiet_was"):
        return
    if mode == "own":
        patch["quiet_hours"] = {"enabled": True, "start": chosen.start, "end": chosen.end, "days": list(days)}
    else:
        patch["quiet_hours"] = {"enabled": False} if mode == "none" else None


def _patch_digests(fields: Fields, form: Form, patch: dict[str, Any]) -> None:
    for category in form.categories:
        every = _one(fields, f"every/{category.name}")
        if category.rhythm is None or every not in ("", "hour", "day", "week"):
            continue
        at, on = _one(fields, f"at/{category.name}") or "", _one(fields, f"weekday/{category.name}") or ""
        chosen = Rhythm(every, at, on)  # type: ignore[arg-type]
        if chosen.text == _one(fields, f"was/{category.name}"):
            continue
        choice: dict[str, Any] | None = None
        if every:
            timed = {"at": at} if every != "hour" else {"at": None}
            choice = {"every": every, **timed, "on": on if every == "week" else None}
        patch.setdefault("digest", {})[category.name] = choice


def _nothing_more(document: Mapping[str, Any]) -> dict[str, Any]:
    """No channel but the inbox, whatever was said of single categories and event types."""
    patch: dict[str, Any] = {"channels": dict.fromkeys(_ALL, False)}
    for channel in _ALL:
        _silence(channel, document, patch)
    return patch


def _silence(channel: Channel, document: Mapping[str, Any], patch: dict[str, Any]) -> None:
    """Takes back what lets anything through on the channel."""
    for part in ("categories", "event_types"):
        for name in _letting_through(part, channel, document):
            patch.setdefault(part, {}).setdefault(name, {})[channel] = None


def _letting_through(part: str, channel: Channel, document: Mapping[str, Any]) -> list[str]:
    entries = _part(document, part).items()
    return [name for name, switches in entries if isinstance(switches, Mapping) and switches.get(channel)]


def _one(fields: Fields, name: str) -> str | None:
    values = fields.get(name)
    return values[-1] if values else None
