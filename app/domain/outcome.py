"""What a provider's answer means to us: seven outcomes, whatever the vendor's words."""

from dataclasses import dataclass
from typing import Literal

OutcomeKind = Literal["ok", "retry", "throttle", "drop", "bad_token", "config", "in_doubt"]


#: Codes of refusals by our own gate (app/providers/gate.py), for which nobody was called.
LANE_RESTS, LANE_FULL = "lane_rests", "lane_full"


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
    #: For ``drop``: ``too_large`` where size was the reason, else ``permanent``; ``opted_out`` where the provider
    #: knows that the user said stop.
    why: Literal["permanent", "too_large", "opted_out"] | None = None
    #: For ``config``: ``lane`` where nothing can be sent until it is put right; ``address`` where it concerns this
    #: destination only (a country that the account may not send to).
    scope: Literal["lane", "address"] = "lane"
