"""Why a recipient was notified or not: the events of one recipient, as sentences."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from msgspec import Struct

from app.domain.trail import explained, moment
from schemas.instants import parse_ms
from schemas.words import CAME_BACK, ENDS, RANK, WAITS

Event = Mapping[str, Any]

#: Where an event speaks of all channels.
_ALL = "all"


class ChannelExplanation(Struct, frozen=True):
    """``outcome``: the end, or what it waits for; a trail's entry: rule, input, answer, words."""

    outcome: str
    reason: str | None
    trail: list[dict[str, Any]]
    #: What came back of it: delivered, opened …
    receipts: list[str] = []


class Explanation(Struct, frozen=True):
    summary: str
    channels: dict[str, ChannelExplanation]


def explain(events: Sequence[Event]) -> Explanation:
    """``events``: all of one recipient of one notification, oldest first."""
    by_channel: dict[str, list[Event]] = {}
    for event in events:
        if event["status"] not in ("accepted", "repeated"):
            by_channel.setdefault(event["channel"] or _ALL, []).append(event)
    of_all = by_channel.pop(_ALL, []) if len(by_channel) > 1 else []
    channels = {channel: _of_channel(its) for channel, its in by_channel.items()}
    sentences = [_sentence(channel, channels[channel], [*of_all, *its]) for channel, its in by_channel.items()]
    sentences += _never_begun(events, by_channel)
    return Explanation(" ".join(sentences) or "Accepted; not evaluated yet.", channels)


def _of_channel(events: Sequence[Event]) -> ChannelExplanation:
    shown = _shown(events)
    decisive = [event for event in events if event["status"] != "retrying" and not _is_outage(event)]
    details = [detail for event in decisive if (detail := event["detail"] or {}).get("trail")]
    trail = [explained(entry, details[-1].get("used_by") or ()) for entry in details[-1]["trail"]] if details else []
    trail += [explained(entry) for entry in _outage(events)]  # it was decided before, and waits for its provider
    if shown["status"] == "retrying":
        trail += [explained(entry) for entry in (shown["detail"] or {}).get("trail") or ()]
    return ChannelExplanation(
        outcome=shown["status"],
        reason=shown["reason"],
        trail=trail,
        receipts=list(dict.fromkeys(event["status"] for event in events if event["status"] in CAME_BACK)),
    )


def _is_outage(event: Event) -> bool:
    return (event["status"], event["reason"]) == ("held", "provider_outage")


def _outage(events: Sequence[Event]) -> Sequence[Any]:
    """What the wait for a provider says, of any send of the channel that waits for one, or has expired meanwhile."""
    waits: dict[str | None, Sequence[Any]] = {}
    for event in events:
        if _is_outage(event):
            waits[event["send_id"]] = (event["detail"] or {}).get("trail") or ()
        elif event["status"] != "expired":
            waits.pop(event["send_id"], None)
    return next((trail for trail in waits.values() if trail), ())


def _shown(events: Sequence[Event]) -> Event:
    """Of a channel's sends (one a device on push) the one that fared best, as it stands now."""
    by_send: dict[str | None, Event] = {}
    for event in events:
        if event["status"] in CAME_BACK:
            continue
        before = by_send.get(event["send_id"])
        if before is None or RANK[event["status"]] >= RANK[before["status"]] or event["status"] in WAITS:
            by_send[event["send_id"]] = event
    if len(by_send) > 1:
        by_send.pop(None, None)
    if not by_send:
        return events[-1]
    return max(by_send.values(), key=lambda event: (event["status"] == "sent", event["status"] not in ENDS))


# --- sentences ---


def _sentence(channel: str, explanation: ChannelExplanation, events: Sequence[Event]) -> str:
    """``events``: the channel's, after those of all channels."""
    by = "" if channel == _ALL else f" by {channel}"
    shown = _shown([event for event in events if (event["channel"] or _ALL) == channel])
    detail: Mapping[str, Any] = shown["detail"] or {}
    because = _because(explanation, detail)
    match explanation.outcome:
        case "sent":
            came_back = f" ({', '.join(explanation.receipts)})" if explanation.receipts else ""
            return f"Sent{by}{came_back}{_waited(events)}{_step(explanation)}{_again(shown, events)}."
        case "scheduled" | "held":
            return f"Waiting to be sent{by}{because}."
        case "queued" | "sending" | "in_doubt" | "retrying":
            return f"On its way{by}{because}{_waited(events)}{_step(explanation)}{_again(shown, events)}."
        case "aggregated":
            return f"Collected into a digest{by}{because}."
        case "unknown":
            return f"May have been sent{by}: the provider never confirmed it."
        case status if status in CAME_BACK:
            return f"Sent{by} ({', '.join(explanation.receipts)})."
        case "expired" if any(_is_outage(event) for event in events):
            return f"Not sent{by}: expired{_waited(events)}."
        case status:
            return f"Not sent{by}{because or f': {status}'}."


def _because(explanation: ChannelExplanation, detail: Mapping[str, Any]) -> str:
    if (words := _after(explanation, detail)) is not None:
        return f": {words}"
    stopped = [entry["words"] for entry in explanation.trail if entry["answer"] is not True]
    if stopped and detail.get("trail"):
        return f": {stopped[-1]}"
    return f": {explanation.reason.replace('_', ' ')}" if explanation.reason else ""


def _after(explanation: ChannelExplanation, detail: Mapping[str, Any]) -> str | None:
    """What a rule that leaves no entry in the trail says: what happened after the channel was judged."""
    reason = (explanation.reason or "").replace("_", " ")
    match explanation.outcome, explanation.reason:
        case "suppressed", "replaced":
            by = f" ({detail['by']})" if detail.get("by") else ""
            return f"replaced by a newer one with the same collapse key{by}"
        case "suppressed", "active_in_app":
            return "the user was active in the app, so the digest was dropped"
        case "suppressed", "shed":
            return "given up after too long in the queue, as its priority is low"
        case "held", _ if detail.get("until") and not detail.get("trail"):
            return f"{reason} until {moment(parse_ms(detail['until']))}"
        case "retrying", _ if detail.get("retry_at"):
            return f"{reason}, again at {moment(parse_ms(detail['retry_at']))}"
        case "in_doubt", _:
            until = f" until {moment(parse_ms(detail['until']))}" if detail.get("until") else ""
            return f"the provider's answer was lost ({reason}); asking the provider{until}"
        case "failed", _ if detail.get("error"):
            return f"{reason} ({detail['error']})"
        case "aggregated", _ if detail.get("into"):
            return f"sent as part of {detail['into']}"
        case _:
            return None


def _waited(events: Sequence[Event]) -> str:
    """What it had to wait for before."""
    waits = (event["reason"] or "its time" for event in events if event["status"] in WAITS)
    named = [reason.replace("_", " ") for reason in dict.fromkeys(waits)]
    return f", after waiting for {' and '.join(named)}" if named else ""


def _step(explanation: ChannelExplanation) -> str:
    """Which step of a fallback chain it was, and why that began."""
    steps = [entry["words"] for entry in explanation.trail if entry["rule"] == "fallback"]
    return f", as {steps[-1]}" if steps else ""


def _again(shown: Event, events: Sequence[Event]) -> str:
    """Which replay sent it, or that the next provider did once more, as nothing had come back."""
    if shown.get("replay_id"):
        return f", again, by replay {shown['replay_id']}"
    is_once_more = any(event["send_id"] and (event["detail"] or {}).get("of") for event in events)
    return ", once more by the next provider" if is_once_more else ""


def _never_begun(events: Sequence[Event], begun: Container[str]) -> list[str]:
    """The steps of a fallback chain that have no events."""
    trails = [trail for event in events if (trail := (event["detail"] or {}).get("trail"))]
    chains = [entry[5] for trail in trails for entry in trail if entry[0] == "fallback" and len(entry) > 5]
    rest = [step for step in chains[-1] if step not in begun] if chains else []
    return [f"Not begun: {', '.join(rest)}, later in the fallback chain."] if rest else []
