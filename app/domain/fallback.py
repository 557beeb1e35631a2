"""Fallback chains: which channel comes next, and when (docs/policy.md#fallback).

A chain is for one recipient. Its steps begin one after the other; each function takes the chain's state and what
happened, and says what to do. Whoever begins a step judges its channel and reports ``waits`` or ``step_failed``.
"""

from dataclasses import dataclass

from msgspec import Struct, structs

from schemas.receipts import IMPLIES
from schemas.words import Channel, Status


@dataclass(frozen=True, slots=True)
class Chain:
    steps: tuple[Channel, ...]
    wait_ms: int
    until: frozenset[Status]

    def within(self, channels: tuple[Channel, ...]) -> "Chain":
        """Cut down to the channels that the request names (or the template has)."""
        return Chain(tuple(step for step in self.steps if step in channels), self.wait_ms, self.until)


class ChainState(Struct, frozen=True, array_like=True, gc=False):
    """Where a chain is. ``due_ms``: when the current step's wait is over, None before it was queued or held."""

    steps: tuple[Channel, ...]
    step: int = 0
    due_ms: int | None = None
    #: Sends of the current step that haven't failed (on push one for each device).
    live: tuple[str, ...] = ()
    #: A state of ``until`` was reached, or no step is left.
    over: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """``begin``: the step to begin now. ``cancel``: steps of which what isn't sent yet is cancelled."""

    state: ChainState
    begin: int | None = None
    cancel: tuple[int, ...] = ()


def waits(state: ChainState, chain: Chain, now_ms: int, sends: tuple[str, ...] = ()) -> ChainState:
    """The current step was held, or queued as ``sends``: its wait runs from the first of the two."""
    if state.over:
        return state
    due_ms = now_ms + chain.wait_ms if state.due_ms is None else state.due_ms
    return structs.replace(state, due_ms=due_ms, live=sends or state.live)


def step_failed(state: ChainState, step: int) -> Move:
    """The step as a whole failed or was suppressed: the next begins at once. An earlier step's failure is no news."""
    if state.over or step != state.step:
        return Move(state)
    return _next(state)


def send_failed(state: ChainState, send_id: str) -> Move:
    """A send failed, bounced or was suppressed; the step has failed when all of its sends have."""
    if state.over or send_id not in state.live:
        return Move(state)
    live = tuple(other for other in state.live if other != send_id)
    return Move(structs.replace(state, live=live)) if live else _next(state)


def timed_out(state: ChainState, now_ms: int) -> Move:
    """The step's wait is over without a state of ``until``: the next begins, and this one's unsent are cancelled."""
    if state.over or state.due_ms is None or now_ms < state.due_ms or state.step + 1 >= len(state.steps):
        return Move(state)
    move = _next(state)
    return Move(move.state, move.begin, (state.step,))


def reached(state: ChainState, chain: Chain, status: Status) -> Move:
    """A send of the notification reached ``status``: one of ``until`` ends the chain and cancels what isn't sent."""
    if state.over or not chain.until & {status, *IMPLIES.get(status, ())}:
        return Move(state)
    return Move(structs.replace(state, over=True, due_ms=None), cancel=tuple(range(state.step + 1)))


def _next(state: ChainState) -> Move:
    step = state.step + 1
    if step >= len(state.steps):
        return Move(structs.replace(state, live=(), over=True, due_ms=None))
    return Move(ChainState(state.steps, step), begin=step)
