"""What a provider's answer means to us: seven outcomes, whatever the vendor's words."""

from dataclasses import dataclass, replace
from typing import Literal, TypeGuard, get_args

OutcomeKind = Literal["ok", "retry", "throttle", "drop", "bad_token", "config", "in_doubt"]
OUTCOME_KINDS: tuple[OutcomeKind, ...] = get_args(OutcomeKind)


#: Why a message can never work: for its size; because the provider knows that the user said stop; because the address
#: is one that the provider isn't to be called for; or for anything else.
Why = Literal["too_large", "opted_out", "no_provider", "permanent"]

#: Codes of refusals by our own gate (app/providers/gate.py), for which nobody was called.
CIRCUIT_OPEN, AT_CAPACITY, WARMING_UP = "lane_rests", "lane_full", "warming_up"

_OURS = frozenset((CIRCUIT_OPEN, AT_CAPACITY, WARMING_UP))

#: The longest that a provider may have us wait: what asks for more is asked again then.
LONGEST_WAIT_MS = 3_600_000
#: The lengths at which a provider's words are cut before they enter rows and events.
MAX_CODE, MAX_MESSAGE_ID = 64, 255
#: 2200-01-01T00:00:00Z, the end of the instants that records may hold, Unix ms.
_END_OF_TIME_MS = 7_258_118_400_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one provider call.

    ``ok`` accepted · ``retry`` certainly not accepted, may be tried again · ``throttle`` not processed, uses up no
    attempt · ``drop`` this message can never work · ``bad_token`` the address is dead · ``config`` credentials,
    account or sender are wrong, uses up no attempt · ``in_doubt`` may have been accepted.
    """

    kind: OutcomeKind
    #: The provider's own code (``Unregistered``, ``21610`` …), never a text with addresses in it.
    code: str | None = None
    #: The provider's id of the accepted message.
    provider_message_id: str | None = None
    #: Milliseconds to wait before the next call, where the provider said so.
    retry_after_ms: int | None = None
    #: For ``in_doubt``: ``timeout`` or ``connection_lost``.
    doubt: Literal["timeout", "connection_lost"] | None = None
    #: For ``bad_token``: since when the provider holds the token invalid, Unix milliseconds.
    invalid_since_ms: int | None = None
    #: For ``drop``.
    why: Why | None = None
    #: For ``config`` and ``throttle``: ``lane`` where it concerns all that is sent; ``address`` where it concerns this
    #: destination only (a country that the account may not send to, a device that gets too much).
    scope: Literal["lane", "address"] = "lane"
    #: Of evidence that doesn't name the send: every message that it could be.
    found: tuple[str, ...] = ()
    #: Of a refusal by an open circuit: for how long it has been open. None: another reason, or nobody knows.
    open_for_ms: int | None = None
    #: False: our client knew the answer, and the provider wasn't called.
    called: bool = True

    @property
    def is_about_recipient(self) -> bool:
        """A definite answer of the provider that concerns nobody but the recipient."""
        if self.kind in ("throttle", "config"):
            return self.scope == "address"
        return self.kind == "bad_token" or (self.kind == "drop" and self.why == "opted_out")


#: What made a send be tried again: the kind of the answer, or that nobody was called.
Answer = Literal["retry", "throttle", "config", "not_called"]
ANSWERS: frozenset[str] = frozenset(get_args(Answer))


def answer_of(outcome: Outcome) -> str:
    """Of an outcome after which the send is tried again (see ``Answer``)."""
    return "not_called" if outcome.code in (CIRCUIT_OPEN, AT_CAPACITY) else outcome.kind


def bounded(outcome: Outcome) -> Outcome:
    """The same within our bounds, whatever a provider sent: waits have an end, texts a length, instants a range."""
    wait_ms, since_ms = outcome.retry_after_ms, outcome.invalid_since_ms
    code = _clipped(outcome.code, MAX_CODE)
    return replace(
        outcome,
        code=f"provider_{code}" if code in _OURS else code,  # else it would pass for our own gate's
        provider_message_id=_clipped(outcome.provider_message_id, MAX_MESSAGE_ID),
        retry_after_ms=min(max(wait_ms, 0), LONGEST_WAIT_MS) if _is_number(wait_ms) else None,
        invalid_since_ms=since_ms if _is_number(since_ms) and 0 <= since_ms < _END_OF_TIME_MS else None,
    )


def _clipped(text: object, length: int) -> str | None:
    """Printable ASCII passes; of anything else a question mark stands for each character."""
    if text is None:
        return None
    shown = str(text)[:length]
    return shown if shown.isascii() and shown.isprintable() else "".join(_printable(c) for c in shown)


def _printable(character: str) -> str:
    return character if character.isascii() and character.isprintable() else "?"


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
