"""Whether a send that a channel did not get out may be made again by a replay, and what is reported of it.

A replay never sends twice: it leaves alone whatever may have reached the user, or may yet. What it errs in, it errs in
towards not sending: ends are final, so a result that is yet to come can only turn ``open`` into something else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.replays import Begun, NotBegun
from schemas.words import Status

Refusal = Literal["replayed_before", "already_sent", "in_doubt", "open"]


@dataclass(frozen=True, slots=True)
class Made:
    """One send that was made of the notification, to the same user on the same channel (push: device), the candidate
    among them; or a wait that may become one. ``end`` "": none is known."""

    end: Status | Literal[""]
    came_back: bool = False
    in_doubt: bool = False
    #: It is the one that is to be made again.
    is_candidate: bool = False
    #: It was made later than the candidate.
    is_later: bool = False
    #: Another replay's.
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ChainStands:
    """How the fallback chain stands of which the candidate is a step. ``informed``: a later step was sent, or one of
    the states was reached that end the chain; ``may_be``: nobody knows about a later step; ``open``: more may come."""

    informed: bool = False
    may_be: bool = False
    open: bool = False


NO_CHAIN = ChainStands()


def refusal(made: Sequence[Made], chain: ChainStands = NO_CHAIN, *, came_back: bool = False) -> Refusal | None:
    """Why the candidate is left alone, the first reason in the order of the receipt; None: it may be made again.

    ``came_back``: a receipt came of the notification that names no send.
    """
    others = [each for each in made if not each.is_candidate]
    if any(each.replayed and (each.end in ("", "sent") or _may_have_arrived(each)) for each in others):
        return "replayed_before"
    if came_back or chain.informed or any(each.end == "sent" or each.came_back for each in made):
        return "already_sent"
    if chain.may_be or any((each.in_doubt and not each.end) or _may_have_arrived(each) for each in made):
        return "in_doubt"
    if chain.open or any(not each.end for each in made):
        return "open"
    return None


def _may_have_arrived(made: Made) -> bool:
    """The candidate itself may be ``unknown``, where the operator asks for such; what was made since may not."""
    return made.end == "unknown" and made.is_later


#: The reasons of ``suppressed`` that have a name of their own in the receipt.
_NAMED: dict[str | None, NotBegun] = {"erased": "erased", "opted_out": "opted_out", "no_consent": "opted_out"}


def outcome_of(status: Status, reason: str | None) -> NotBegun | Begun:
    """What the receipt of a replay calls a send that is at this status."""
    match status:
        case "sent" | "failed" | "unknown" | "expired" | "cancelled":
            return status
        case "suppressed":
            return _NAMED.get(reason, "suppressed")
        case _:
            return "waiting"
