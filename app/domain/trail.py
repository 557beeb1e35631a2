"""The trail of a decision: every rule that was asked, its answer and inputs, compact in events, in words for `why`.

An entry is ``[rule, answer, *inputs]`` as JSON. The answer is true (lets it through), false (stops it) or ``"wait"``.
Inputs are names, numbers and times (Unix ms), never addresses, names of people or content.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from app.domain.zones import local_time

Answer = bool | Literal["wait"]
Entry = Sequence[Any]

#: So many of the notifications that use a cap up are named in words.
_NAMED = 5

_DND = {
    "off": "do not disturb is off",
    "critical": "critical: do not disturb doesn't apply",
    "in_app": "do not disturb doesn't apply to the inbox",
}
_ADDRESS = {
    "no_address": "no address is known",
    "unverified": "the address is not verified",
    "claimed": "the user entered the address and hasn't verified it",
}
_KNOWN: dict[int | str, str] = {
    1: "an address is known",
    "code": "the address isn't verified, and this is the code that verifies it",
}
_DIGEST = {"none": "no digest applies", "no_key": "the data lacks the digest's key"}
_CAP = {
    "room": "there is room",
    "critical": "critical: caps don't apply",
    "none": "no cap applies",
    "as_decided": "replayed as decided: caps aren't applied again",
}
_REPLAY = {
    "again": "sent again by replay {}, decided by what is known now",
    "as_decided": "sent again by replay {}, as decided then",
}
_ANSWER = {
    "retry": "the provider could not accept it",
    "throttle": "the provider asked to be called less often",
    "config": "the provider refused our credentials, account or sender",
    "not_called": "the provider was not called: its circuit was open, or it had no free slot",
}
_QUIET = {
    "day": "it isn't a quiet hour",
    "critical": "critical: quiet hours don't apply",
    "channel": "quiet hours don't hold this channel",
    "none": "no quiet hours are set",
}
_ENDED = {
    "ended": "ended without being sent",
    "failed": "failed",
    "suppressed": "was suppressed",
    "bounced": "bounced",
}


def moment(ms: int, zone: str = "UTC") -> str:
    """``14:05 UTC on 4 March 2026``, with seconds where they matter; of another zone its wall clock."""
    wall = datetime.fromtimestamp(ms // 1000, UTC) if zone == "UTC" else local_time(zone, ms)
    clock = wall.strftime("%H:%M:%S" if wall.second else "%H:%M")
    return f"{clock} {'UTC' if zone == 'UTC' else f'in {zone}'} on {wall.day} {wall.strftime('%B %Y')}"


def lasting(ms: int) -> str:
    """``10 min``, ``1 h``, ``24 h``, ``7 d``: the largest unit of which it is a whole number, days from two on."""
    units = ((86_400_000, "d", 2), (3_600_000, "h", 1), (60_000, "min", 1), (1_000, "s", 1))
    return next(
        (f"{ms // unit} {name}" for unit, name, least in units if not ms % unit and ms // unit >= least), f"{ms} ms"
    )


def _cap(
    name: str, used: int, limit: int, window_ms: int | None = None, free_at_ms: int | None = None, *used_by: str
) -> str:
    """``push-hour, 10 in 1 h, used by …, …; the next slot is free at 14:05 UTC on 4 March 2026``."""
    named = f"the user's own limit for {name[5:]}" if name.startswith("user:") else f"cap {name}"
    if window_ms is None or free_at_ms is None:
        return f"{named} is used up: {used} of {limit}"
    more = f" and {len(used_by) - _NAMED} more" if len(used_by) > _NAMED else ""
    by = f"used by {', '.join(used_by[:_NAMED])}{more}" if used_by else f"used up: {used} of {limit}"
    return f"{named}, {limit} in {lasting(window_ms)}, {by}; the next slot is free at {moment(free_at_ms)}"


def _room(why: str = "room", *names: str) -> str:
    return _CAP[why] + (f" in {', '.join(names)}" if names else "")


def _holdout(share: str, of: str, name: str) -> str:
    return f"holdout: {share} of the {of} {name}'s recipients get nothing"


def _quiet(zone: str, ms: int, start: int | None = None, end: int | None = None) -> str:
    hours = f" ({_clock(start)} to {_clock(end)})" if start is not None and end is not None else ""
    return f"quiet hours{hours} until {moment(ms, zone)}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _paused(_: str, name: str, until_ms: int, why: str) -> str:
    """It isn't called now, nor is any other."""
    return f"{name} is paused by hand ({why}); it waits until {moment(until_ms)} at most"


def _fallback(step: int, why: str = "", wait_ms: int = 0, steps: Sequence[str] = (), until: Sequence[str] = ()) -> str:
    """Which step began, and why."""
    of = f"step {step + 1} of the fallback chain" + (f" {' → '.join(steps)}" if steps else "")
    if not steps or step == 0:
        return of
    before = steps[step - 1]
    if why == "wait":
        return f"{of}: {before} was not {' or '.join(until)} within {lasting(wait_ms)}"
    return f"{of}: {before} {_ENDED.get(why, why)}"


#: By rule and answer: the words, given the entry's inputs.
_WORDS: dict[tuple[str, Answer], Callable[..., str]] = {
    ("erased", True): lambda: "the user hasn't been erased",
    ("erased", False): lambda: "the user was erased",
    ("replay", True): lambda name, how: _REPLAY[how].format(name),
    ("repeated", True): lambda: "not requested before",
    ("repeated", False): lambda: "the same notification was requested before",
    ("duplicate", True): lambda: "no recent request has the same content",
    ("duplicate", False): lambda of: f"same content as {of}, requested shortly before",
    ("cancelled", True): lambda: "not cancelled",
    ("cancelled", False): lambda: "cancelled",
    ("expired", True): lambda ms: f"expires at {moment(ms)}",
    ("expired", False): lambda ms: f"expired at {moment(ms)}",
    ("scheduled", True): lambda: "due now",
    ("scheduled", "wait"): lambda ms: f"scheduled for {moment(ms)}",
    ("holdout", True): lambda share, of="", name="": (
        "critical: holdouts don't apply" if share == "critical" else f"not in the {_holdout(share, of, name)}"
    ),
    ("holdout", False): lambda share, of, name: f"in the {_holdout(share, of, name)}",
    ("template", False): lambda name: f"template {name} doesn't exist",
    ("channels", True): lambda by, *names: f"{', '.join(names)}, named by the {by}",
    ("channels", False): lambda by: f"no channel is left of those named by the {by}",
    ("low_by_sms", False): lambda: "messages of low priority don't go by SMS",
    ("fallback", True): _fallback,
    ("no_receipt", True): lambda provider, ms: (
        f"sent once more by the next provider: no receipt came for the send by {provider} within {lasting(ms)}"
    ),
    ("dnd", True): lambda why="off": _DND[why],
    ("dnd", False): lambda until=None: "do not disturb is on" + (f" until {moment(until)}" if until else ""),
    ("preference", True): lambda by: f"the user allows it ({by})",
    ("preference", False): lambda by: f"the user turned it off ({by})",
    ("consent", True): lambda by: f"consent allows it ({by})",
    ("consent", False): lambda by: f"consent is missing ({by})",
    ("suppression_list", True): lambda: "the address isn't on the suppression list",
    ("suppression_list", False): lambda: "the address is on the suppression list",
    ("address", True): lambda count=1: _KNOWN.get(count) or f"{count} devices are known",
    ("address", False): lambda why: _ADDRESS[why],
    ("provider", True): lambda *names: f"can be sent by {', '.join(names)}",
    ("provider", False): lambda *names: "no configured provider can send it",
    ("provider", "wait"): _paused,
    ("answer", "wait"): lambda kind: _ANSWER[kind],
    ("digest", True): lambda why="none": _DIGEST[why],
    ("digest", "wait"): lambda name, ms: f"collected in the digest {name}, which closes at {moment(ms)}",
    ("cap", True): _room,
    ("cap", False): _cap,
    ("cap", "wait"): _cap,
    ("shed", False): lambda ms: f"given up after {lasting(ms)} in the queue, as its priority is low",
    ("quiet_hours", True): lambda why="day", zone="": _QUIET[why] + (f" in {zone}" if zone else ""),
    ("quiet_hours", "wait"): _quiet,
}


def words(entry: Entry) -> str:
    """What an entry says, for people. One that this version doesn't know is shown as it is."""
    rule, answer, *inputs = entry
    known = _WORDS.get((rule, answer))
    try:
        return known(*inputs) if known is not None else _as_it_is(entry)
    except (TypeError, KeyError, ValueError, OverflowError):
        return _as_it_is(entry)


def _as_it_is(entry: Entry) -> str:
    return " ".join(str(part) for part in entry)


def explained(entry: Entry, used_by: Sequence[str] = ()) -> dict[str, Any]:
    """``{rule, input, answer, words}`` of an entry. ``used_by``: what uses up the cap that the decision was about."""
    rule, answer = entry[:2]
    if rule == "cap" and answer is not True:
        entry = (*entry, *used_by)
    return {"rule": rule, "input": list(entry[2:]), "answer": answer, "words": words(entry)}
