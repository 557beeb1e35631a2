"""A provider call that a sender asks for, and its result."""

from dataclasses import dataclass
from typing import Literal

from app.domain.outcome import Outcome
from app.ports import Address, Handle, Message
from schemas.words import Provider

#: A call begins at most so long, in ms, after the moment up to which the commands were known when it was claimed; else
#: the last look is taken again. What is acknowledged a second before a call has to count.
FRESH_MS = 800

#: What a call is for: to send, or to ask after a send in doubt.
Purpose = Literal["send", "ask"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a provider."""

    purpose: Purpose
    #: The send's key in ``attempts``, and the number of its claim.
    key: bytes
    number: int
    user_id: str
    provider: Provider
    message: Message
    to: Address
    handle: Handle
    #: When the last look was taken, Unix ms.
    claimed_at: int
    timeout_ms: int
    #: Up to when the look knew all commands, Unix ms; None: up to the claim.
    known_at: int | None = None
    #: The same in seconds of a clock that nobody sets; None: since the call began.
    fresh_since: float | None = None
    #: The address's latest call was silent: if this one is, too, that says nothing of the provider.
    suspect: bool = False
    #: Its send's trace is sampled: what is seen of the call is wanted.
    traced: bool = False

    @property
    def urgent(self) -> bool:
        return self.handle.priority == "critical"


@dataclass(slots=True)
class Seen:
    """What a trace shows of a call. Times are Unix ms; ``began_ms`` None: it was not made."""

    began_ms: int | None = None
    ended_ms: int = 0
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """``outcome`` None: of a send that it was not made because its last look was no longer fresh; of a question that
    nothing was found. ``calls``: whether what follows may bring calls at once."""

    call: Call
    outcome: Outcome | None
    calls: bool = True
    #: Of a traced one.
    seen: Seen | None = None
