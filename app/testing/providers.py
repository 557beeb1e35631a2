"""Providers of a world that is made up: which there are, and what they answer."""

from collections.abc import Callable, Mapping

from agents.sender.calls import Call
from app.domain.outcome import Outcome
from schemas.words import Channel, Provider

#: What a provider answers to a call: ``call.provider``, ``call.message``, ``call.to`` and ``call.handle`` say what
#: is asked of it. Asked after a lost answer (``call.purpose`` is ``ask``), None says that nothing was found.
Answer = Callable[[Call], Outcome | None]

#: Every provider of each channel; which of them is asked is the policy's affair.
EVERY_PROVIDER: Mapping[Channel, frozenset[Provider]] = {
    "push": frozenset(("apns", "fcm", "webpush")),
    "email": frozenset(("ses", "sendgrid")),
    "sms": frozenset(("twilio", "vonage", "sns")),
    "in_app": frozenset(("inbox",)),
}

#: Nobody waits for an answer here; the time limit only has to be one.
TIMEOUT_MS = 15_000


class Accepting:
    """Accepts every message, and numbers them."""

    def __init__(self) -> None:
        self._accepted = 0

    def __call__(self, call: Call) -> Outcome:
        self._accepted += 1
        return Outcome("ok", provider_message_id=f"message-{self._accepted}")
