"""What became of a recipient's channel under a policy, folded from what the router told of it."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas.instants import parse_ms
from schemas.lifecycle import LifecycleEvent
from schemas.words import CAME_BACK, Channel

#: ``sent``: handed to its channel.
Outcome = Literal[
    "sent", "held", "scheduled", "suppressed", "failed", "expired", "cancelled", "aggregated", "unknown", "nothing"
]


class Fate(Struct, frozen=True, array_like=True):
    """``reason``: of the outcome. ``after``: what a sent one was held for before. ``at_ms``: when it was sent."""

    category: str
    outcome: Outcome
    reason: str | None = None
    after: str | None = None
    at_ms: int = 0
    #: Ids of what was handed to the channel and has not failed there (on push one for each device).
    sends: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The outcome with its reason: ``held, quiet_hours``; ``sent, after quiet_hours``."""
        return f"{self.outcome}, {self.why}" if self.why else self.outcome

    @property
    def why(self) -> str:
        return self.reason or (f"after {self.after}" if self.after else "")


#: By notification and channel ("": all of them, before any was begun): what became of one user's notifications.
Fates = dict[tuple[str, Channel | Literal[""]], Fate]


def after_event(before: Fate | None, event: LifecycleEvent) -> Fate | None:
    """The channel's fate once this is told of it. ``before`` None: nothing was told before."""
    category = event.category or ""
    match event.status:
        case "accepted" | "repeated" | "sending" | "sent" | "in_doubt" | "retrying":
            return before
        case status if status in CAME_BACK:
            return before
        case "queued":
            sends = before.sends if before is not None else ()
            held_for = before.after if before is not None else None
            name = () if event.send_id is None else (event.send_id,)
            return Fate(category, "sent", None, held_for, parse_ms(event.occurred_at), (*sends, *name))
        case "held":
            return Fate(category, "held", event.reason, event.reason)
        case "scheduled":
            return Fate(category, "scheduled", event.reason)
        case _ if before is not None and before.outcome == "sent":
            return before  # on push, one device of several that has no provider
        case _:
            return Fate(category, event.status, event.reason)  # type: ignore[arg-type]


def after_end(before: Fate, send_id: str, end: Outcome, reason: str | None) -> Fate:
    """The channel's fate once one of its sends ended without having been accepted by a provider."""
    if send_id not in before.sends:
        return before
    left = tuple(other for other in before.sends if other != send_id)
    return replace(before, sends=left) if left else Fate(before.category, end, reason)
