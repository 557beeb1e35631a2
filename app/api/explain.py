"""Why a recipient was told something, or wasn't: the events of one recipient, read as sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from app.domain.trail import explained
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
    if len(by_channel) > 1:
        by_channel.pop(_ALL, None)
    channels = {channel: _of_channel(said) for channel, said in by_channel.items()}
    sentences = [_sentence(channel, explanation) for channel, explanation in channels.items()]
    return Explanation(" ".join(sentences) or "It was accepted and is about to be judged.", channels)


def _of_channel(events: Sequence[Event]) -> ChannelExplanation:
    shown = _shown(events)
    trails = [event["detail"]["trail"] for event in events if (event["detail"] or {}).get("trail")]
    return ChannelExplanation(
        outcome=shown["status"],
        reason=shown["reason"],
        trail=[explained(entry) for entry in trails[-1]] if trails else [],
        receipts=list(dict.fromkeys(event["status"] for event in events if event["status"] in CAME_BACK)),
    )


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


def _sentence(channel: str, explanation: ChannelExplanation) -> str:
    by = "" if channel == _ALL else f" by {channel}"
    because = _because(explanation)
    match explanation.outcome:
        case "sent":
            came_back = f" ({', '.join(explanation.receipts)})" if explanation.receipts else ""
            return f"Sent{by}{came_back}."
        case "scheduled" | "held":
            return f"Waits to be sent{by}{because}."
        case "queued" | "sending" | "in_doubt" | "retrying":
            return f"On its way{by}{because}."
        case "aggregated":
            return f"Gathered into a digest{by}."
        case "unknown":
            return f"May have been sent{by}: the provider never said."
        case status if status in CAME_BACK:
            return f"Sent{by} ({', '.join(explanation.receipts)})."
        case status:
            return f"Not sent{by}{because or f': {status}'}."


def _because(explanation: ChannelExplanation) -> str:
    stopped = [entry["words"] for entry in explanation.trail if entry["answer"] is not True]
    if stopped:
        return f": {stopped[-1]}"
    return f": {explanation.reason.replace('_', ' ')}" if explanation.reason else ""
