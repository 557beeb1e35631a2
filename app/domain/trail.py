"""The trail of a decision: every rule that was asked, its answer and inputs, compact in events, in words for `why`.

An entry is ``[rule, answer, *inputs]`` as JSON. The answer is true (lets it through), false (stops it) or ``"wait"``.
Inputs are names, numbers and times (Unix ms), never addresses, names of people or content.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from schemas.instants import rfc3339

Answer = bool | Literal["wait"]
Entry = Sequence[Any]

_DND = {
    "off": "do not disturb is off",
    "critical": "critical: do not disturb is not asked",
    "in_app": "do not disturb doesn't concern the inbox",
}
_ADDRESS = {"no_address": "no address is known", "unverified": "the address is not verified"}
_DIGEST = {"none": "it is not to be gathered", "no_key": "the data has nothing to gather it by"}
_CAP = {"room": "a place is free", "critical": "critical: never capped", "none": "no cap counts it"}
_QUIET = {
    "day": "it is not quiet now",
    "critical": "critical: quiet hours are not asked",
    "channel": "quiet hours do not hold this channel",
    "none": "there are no quiet hours",
}

#: By rule and answer: the words, given the entry's inputs.
_WORDS: dict[tuple[str, Answer], Callable[..., str]] = {
    ("erased", True): lambda: "the user has not been erased",
    ("erased", False): lambda: "the user was erased",
    ("repeated", True): lambda: "it was not asked for before",
    ("repeated", False): lambda: "the same notification was asked for before",
    ("duplicate", True): lambda: "no other request said the same lately",
    ("duplicate", False): lambda of: f"it says the same as {of}, asked for shortly before",
    ("cancelled", True): lambda: "it was not cancelled",
    ("cancelled", False): lambda: "it was cancelled",
    ("expired", True): lambda ms: f"it is good until {rfc3339(ms)}",
    ("expired", False): lambda ms: f"it was good until {rfc3339(ms)} only",
    ("scheduled", True): lambda: "it is due",
    ("scheduled", "wait"): lambda ms: f"it is to go out at {rfc3339(ms)}",
    ("template", False): lambda name: f"there is no template {name}",
    ("channels", True): lambda by, *names: f"{', '.join(names)}, by the {by}",
    ("channels", False): lambda by: f"no channel is left of those of the {by}",
    ("fallback", True): lambda step: f"step {step + 1} of the fallback chain",
    ("dnd", True): lambda why="off": _DND[why],
    ("dnd", False): lambda until=None: "do not disturb is on" + (f" until {rfc3339(until)}" if until else ""),
    ("preference", True): lambda by: f"the user lets it through ({by})",
    ("preference", False): lambda by: f"the user switched it off ({by})",
    ("consent", True): lambda by: f"consent is no obstacle ({by})",
    ("consent", False): lambda by: f"there is no consent ({by})",
    ("suppression_list", True): lambda: "the address is not on the suppression list",
    ("suppression_list", False): lambda: "the address is on the suppression list",
    ("address", True): lambda count=1: "an address is known" if count == 1 else f"{count} devices are known",
    ("address", False): lambda why: _ADDRESS[why],
    ("provider", True): lambda *names: f"{', '.join(names)} can carry it",
    ("provider", False): lambda *names: "no provider that could carry it is configured",
    ("digest", True): lambda why="none": _DIGEST[why],
    ("digest", "wait"): lambda name, ms: f"gathered by the digest {name} until {rfc3339(ms)}",
    ("cap", True): lambda why="room": _CAP[why],
    ("cap", False): lambda name, used, limit: f"the cap {name} is used up: {used} of {limit}",
    ("cap", "wait"): lambda name, used, limit: f"the cap {name} is used up: {used} of {limit}; it waits",
    ("quiet_hours", True): lambda why="day", zone="": _QUIET[why] + (f" in {zone}" if zone else ""),
    ("quiet_hours", "wait"): lambda zone, ms: f"it is quiet in {zone} until {rfc3339(ms)}",
}


def words(entry: Entry) -> str:
    """What an entry says, for people. One that this version doesn't know is shown as it is."""
    rule, answer, *inputs = entry
    known = _WORDS.get((rule, answer))
    return known(*inputs) if known is not None else " ".join(str(part) for part in entry)


def explained(entry: Entry) -> dict[str, Any]:
    """``{rule, input, answer, words}`` of an entry."""
    rule, answer, *inputs = entry
    return {"rule": rule, "input": inputs, "answer": answer, "words": words(entry)}
