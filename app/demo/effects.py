"""What the rules did to all that was asked for: counted from lifecycle events, with an example of each."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from app.demo.balance import Event, Recipient, digests_of
from schemas.words import CAME_BACK


@dataclass(slots=True)
class Effects:
    """Counts of channels, unless something else is said; of each rule one recipient as an example."""

    gathered: int = 0
    #: Notifications that were made of what was gathered.
    digests: int = 0
    #: Held by a digest that then had too few.
    singly: int = 0
    #: (cap, outcome)
    capped: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Held by quiet hours; and what became of those in the end.
    quiet: int = 0
    after_quiet: Counter[str] = field(default_factory=Counter)
    #: Notifications that waited for their time.
    scheduled: int = 0
    chains: int = 0
    next_steps: int = 0
    #: Steps of a chain that weren't needed any more.
    taken_back: int = 0
    #: By event type.
    cancelled: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    #: Sends by the provider that took them.
    taken: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Recipient] = field(default_factory=dict)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Each rule with its effect, in words."""
        yield (
            "digest",
            f"{self.gathered:,} items became {self.digests:,} notifications; {self.singly:,} had no other to go with",
        )
        for (cap, outcome), count in sorted(self.capped.items()):
            yield f"cap {cap}", f"{count:,} {outcome}"
        became = ", ".join(f"{count:,} {status}" for status, count in self.after_quiet.most_common())
        yield "quiet hours", f"{self.quiet:,} held: {became or 'none'}"
        yield "schedule", f"{self.scheduled:,} notifications waited for their time"
        yield "cancel", ", ".join(f"{n:,} {kind}" for kind, n in self.cancelled.most_common()) or "none"
        went_on = f"{self.next_steps:,} went on to the next step, {self.taken_back:,} steps were no longer needed"
        yield "fallback", f"{self.chains:,} chains: {went_on}"
        yield "collapse", f"{self.replaced:,} replaced by a newer one"
        yield "providers", ", ".join(f"{count:,} {name}" for name, count in self.taken.most_common())


def effects_of(events: Iterable[Event]) -> Effects:
    """Of events in their order; one that is read twice counts once."""
    found = Effects()
    once = {event["event_id"]: event for event in events}.values()
    digests = digests_of(once)
    found.gathered, found.digests = digests.total(), len(digests)
    by_channel: dict[tuple[str, str, str], list[Event]] = {}
    for event in once:
        _count(event, found)
        if event["channel"] is not None:
            by_channel.setdefault((event["notification_id"], event["user_id"], event["channel"]), []).append(event)
    for its in by_channel.values():
        _count_channel(its, found)
    return found


def step_of(event: Event) -> int:
    """The step of a fallback chain that an event decided on; 0 also where there is none."""
    trail = (event["detail"] or {}).get("trail") or ()
    return next((entry[2] for entry in trail if entry[0] == "fallback"), 0)


def _count(event: Event, found: Effects) -> None:
    detail = event["detail"] or {}
    match event["status"], event["reason"]:
        case "sent", _ if event.get("provider"):
            found.taken[event["provider"]] += 1
        case "scheduled", _:
            found.scheduled += 1
        case "cancelled", _ if event["channel"] is None:
            found.cancelled[event["event_type"]] += 1
            _show("cancel", event, found)
        case "suppressed", "replaced":
            found.replaced += 1
            _show("collapse", event, found)
        case "suppressed", "rate_cap":
            found.capped[detail["cap"], "suppressed"] += 1
            _show("cap", event, found)
        case "held", "digest" if "cap" in detail:
            found.capped[detail["cap"], "collected by a digest"] += 1
        case "aggregated", _:
            _show("digest", event, found)


def _count_channel(its: list[Event], found: Effects) -> None:
    """``its``: the events of one channel of one recipient."""
    holds = {event["reason"] for event in its if event["status"] == "held"}
    last = next((event for event in reversed(its) if event["status"] not in CAME_BACK), its[-1])
    if "digest" in holds and not any(event["status"] == "aggregated" for event in its):
        found.singly += any(event["status"] == "queued" for event in its)
    if "quiet_hours" in holds:
        found.quiet += 1
        found.after_quiet["still waits" if last["status"] == "held" else last["status"]] += 1
        _show("quiet hours", last, found)
    trails = [event["detail"]["trail"] for event in its if (event["detail"] or {}).get("trail")]
    steps = [entry[2] for trail in trails[:1] for entry in trail if entry[0] == "fallback"]
    if last["status"] == "cancelled":
        found.taken_back += bool(steps)
        found.cancelled.update(() if steps else (last["event_type"],))
    if steps:
        found.chains += steps[0] == 0
        found.next_steps += steps[0] > 0
        if steps[0] > 0 and last["status"] == "sent":
            _show("fallback", last, found)


def _show(rule: str, event: Event, found: Effects) -> None:
    found.examples.setdefault(rule, (event["notification_id"], event["user_id"]))
