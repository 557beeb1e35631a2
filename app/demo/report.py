"""The table at the end: for each channel what became of it and how fast, why some was not sent, and the verdict."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.demo.balance import Balance, Event, Recipient, digests_of
from app.demo.effects import Effects, step_of
from app.demo.gateway import Gateway, once_known
from app.demo.playing import Played
from schemas.instants import parse_ms
from schemas.words import CHANNELS

_OUTCOMES = (
    "sent",
    "aggregated",
    "held",
    "suppressed",
    "cancelled",
    "expired",
    "failed",
    "retrying",
    "unknown",
)
_SHOWN_PROBLEMS = 10
#: What was acknowledged so long before a call counts.
_CANCEL_COUNTS_MS = 1_000


@dataclass(slots=True)
class Verdict:
    """What the demonstration proves, or fails to: ``faults`` is empty only if the balance holds and every send that
    we call sent is at its provider."""

    faults: list[str] = field(default_factory=list)
    #: Sends that a provider accepted more than once.
    duplicates: int = 0


def evaluate(
    played: Played,
    balance: Balance,
    events: Sequence[Event],
    accepted: Sequence[Mapping[str, Any]],
    dead: Sequence[Mapping[str, Any]],
) -> Verdict:
    """Compares what was asked for, what was told and what the providers have."""
    at_provider = Counter(message["send_id"] for message in accepted)
    asked = played.recipients | digests_of(events).keys()
    ours = {e["notification_id"] for e in events if (e["notification_id"], e["user_id"]) in asked}
    sent = {e["send_id"] for e in events if e["status"] == "sent" and e["channel"] != "in_app"}
    unknown = {e["send_id"] for e in events if e["status"] in ("unknown", "in_doubt")}
    queued = {e["send_id"] for e in events if e["status"] == "queued"}
    verdict = Verdict(duplicates=sum(count - 1 for count in at_provider.values()))
    verdict.faults += [f"balance: {line}" for line in (*balance.problems, *balance.open)]
    verdict.faults += [f"sent, but not at the provider: {send_id}" for send_id in sent - at_provider.keys()]
    theirs = [m for m in accepted if m.get("notification_id") in ours]
    for message in theirs:
        if message["send_id"] not in queued:
            verdict.faults.append(f"at the provider, but never queued: {message['send_id']}")
        elif message["send_id"] not in sent | unknown:
            verdict.faults.append(f"at the provider, but not reported as sent: {message['send_id']}")
    verdict.faults += [
        f"called off, and begun more than a second later: {event['send_id']}"
        for event in events
        if event["status"] == "sending" and _is_late(event, played.called_off)
    ]
    named = [letter for letter in dead if letter["field"] == "event_type"]
    if len(named) != played.malformed:
        verdict.faults.append(
            f"{played.malformed} malformed records, but {len(named)} dead letters that name the field"
        )
    return verdict


def _is_late(event: Event, called_off: Mapping[Recipient, int]) -> bool:
    """Whether the call began more than a second after the cancel was acknowledged."""
    since = called_off.get((event["notification_id"], event["user_id"]))
    return since is not None and parse_ms(event["occurred_at"]) > since + _CANCEL_COUNTS_MS


def latencies(events: Iterable[Event], accepted: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Milliseconds from accepted to the provider's own acceptance (the inbox: to sent), by channel, sorted.

    What had to wait (for its time, a hold, a retry, the step before it) isn't in it: its time says nothing of speed.
    Nor is what a replay sent, at its own pace.
    """
    begun: dict[tuple[str, str], int] = {}
    waited: set[str] = set()
    scheduled: set[Recipient] = set()
    send_of: dict[str, tuple[str, str, str]] = {}
    inbox: dict[str, int] = {}
    for event in events:
        recipient = (event["notification_id"], event["user_id"])
        if event.get("replay_id"):
            continue
        if event["status"] == "accepted":
            begun[recipient] = parse_ms(event["occurred_at"])
        elif event["status"] == "scheduled":
            scheduled.add(recipient)
        elif event["status"] in ("held", "retrying", "in_doubt"):
            waited.add(event["send_id"] or f"{recipient}{event['channel']}")
        elif event["status"] == "queued":
            send_of[event["send_id"]] = (*recipient, event["channel"])
            if step_of(event):
                waited.add(event["send_id"])
        elif event["status"] == "sent" and event["channel"] == "in_app":
            inbox[event["send_id"]] = parse_ms(event["occurred_at"])
    arrived = {m["send_id"]: m["at_ms"] for m in reversed(list(accepted)) if m["send_id"] in send_of}
    found: dict[str, list[int]] = defaultdict(list)
    for send_id, at_ms in (arrived | inbox).items():
        if send_id not in send_of:
            continue
        notification_id, user_id, channel = send_of[send_id]
        if send_id in waited or f"{(notification_id, user_id)}{channel}" in waited:
            continue
        if (notification_id, user_id) in begun.keys() - scheduled:
            found[channel].append(at_ms - begun[notification_id, user_id])
    return {channel: sorted(values) for channel, values in found.items()}


def percentile(ordered: Sequence[int], share: float) -> int | None:
    """The value below which ``share`` of them lie; None of nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def render(
    played: Played, balance: Balance, verdict: Verdict, speed_of: Mapping[str, Sequence[int]], effects: Effects
) -> RenderableType:
    """The report for a terminal."""
    sends = sum(balance.outcomes.values())
    rate = sends / played.seconds if played.seconds else 0.0
    lines = [
        f"{len(played.recipients)} notifications in {played.seconds:.0f} s "
        f"({played.by_kafka} by Kafka, {played.by_http} by HTTP; {played.produced_twice} produced twice), "
        f"{sends} outcomes, {rate:.0f}/s",
        f"duplicates at the providers: {verdict.duplicates} · malformed records in notify_dead: {played.malformed}",
    ]
    tables = (_outcomes(balance, speed_of), _reasons(balance), _rules(effects))
    return Group(*tables, *(Text(line) for line in lines), _shown_verdict(verdict))


def _outcomes(balance: Balance, speed_of: Mapping[str, Sequence[int]]) -> Table:
    counts: Counter[tuple[str, str]] = Counter()
    for (channel, outcome, _), count in balance.outcomes.items():
        counts[channel, outcome] += count
    channels = [channel for channel in (*CHANNELS, "-") if any(c == channel for c, _ in counts)]
    table = Table(title="What became of it", title_justify="left")
    table.add_column("outcome")
    for channel in channels:
        table.add_column(channel if channel != "-" else "all channels", justify="right")
    for outcome in _OUTCOMES:
        if any(o == outcome for _, o in counts):
            table.add_row(outcome, *(f"{counts[channel, outcome] or ''}" for channel in channels))
    table.add_section()
    for share in (0.5, 0.99):
        speeds = [percentile(speed_of.get(channel, ()), share) for channel in channels]
        table.add_row(f"p{share * 100:.0f} ms", *("" if value is None else str(value) for value in speeds))
    return table


def _reasons(balance: Balance) -> Table:
    table = Table(title="Why some were not sent (or not yet)", title_justify="left")
    for name in ("outcome", "reason", "channel"):
        table.add_column(name)
    table.add_column("count", justify="right")
    not_sent = {key: count for key, count in balance.outcomes.items() if key[1] != "sent"}
    for (channel, outcome, reason), count in sorted(not_sent.items(), key=lambda item: -item[1]):
        table.add_row(outcome, reason, channel if channel != "-" else "all", str(count))
    return table


def _rules(effects: Effects) -> Table:
    table = Table(title="What the rules did", title_justify="left")
    table.add_column("rule")
    table.add_column("effect")
    for rule, effect in effects.lines():
        table.add_row(rule, effect)
    return table


def _shown_verdict(verdict: Verdict) -> Text:
    if not verdict.faults:
        return Text(
            "balance kept: every recipient accepted once, every channel ended once or waits", style="bold green"
        )
    shown = "\n".join(f"  {fault}" for fault in verdict.faults[:_SHOWN_PROBLEMS])
    return Text(f"BALANCE NOT KEPT: {len(verdict.faults)} faults\n{shown}", style="bold red")


async def reasons(gateway: Gateway, examples: Mapping[str, Recipient]) -> list[str]:
    """Of each rule one example in the system's own words, and how to ask for the whole of it."""
    lines = ["For example (tocsin why ID --user USER tells all of it):"] if examples else []
    for rule, (notification_id, user_id) in examples.items():
        asked = partial(gateway.operator.notifications.why, notification_id, user_id=user_id)
        lines.append(f"  {rule:<11} {notification_id} {user_id}: {(await once_known(asked)).summary}")
    return lines
