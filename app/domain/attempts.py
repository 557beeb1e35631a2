"""What a send does next after a provider's answer: end, try again, or ask after a lost one.

See docs/policy.md#attempts-and-providers.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from app.domain.outcome import CIRCUIT_OPEN, Outcome
from app.domain.policy import InDoubt, Retries
from schemas.words import Platform, Provider

#: A provider serves only the devices of its platform.
_PLATFORM: dict[Provider, Platform] = {"apns": "ios", "fcm": "android", "webpush": "web"}

#: Where a lost answer can be asked after, or is told by itself later; the others know nothing of a send.
_EVIDENCE: frozenset[Provider] = frozenset(("ses", "sendgrid", "twilio", "vonage"))

#: Who can be asked for a text only: what is found may be another send's.
SHARED_EVIDENCE: frozenset[Provider] = frozenset(("twilio",))

#: Who has nothing by which the user or we could tell a second message from the first.
_NEVER_RESENT: frozenset[Provider] = frozenset(("sns",))

#: How the answer to a call can end a send.
Ended = Literal["sent", "failed", "unknown"]

#: Why a message can't work, as far as events report it.
_REPORTED = frozenset(("too_large", "no_provider"))

_FIRST_ASK_MS = 5_000
#: How long to wait for word from the app before a push is sent again: the provider itself can't be asked.
_WORD_FROM_APP_MS = 10_000


class Tries(Struct, frozen=True, array_like=True, gc=False):
    """How far a send has come. Part of its row."""

    #: Attempts used up: calls that the provider took, refused for good or lost the answer of.
    used: int = 0
    #: Waits so far: each is twice as long as the one before.
    waits: int = 0
    #: Whom the latest call went to, or the next one goes to.
    provider: Provider | None = None
    #: An answer was lost, and no evidence found: the message may have arrived.
    doubted: bool = False
    #: It was sent again in spite of that.
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """Call ``tries.provider`` at ``at`` (Unix ms). ``outage``: its lane rests, nobody was called."""

    at: int
    tries: Tries
    reason: str | None = None
    outage: bool = False


@dataclass(frozen=True, slots=True)
class End:
    status: Ended
    reason: str | None


@dataclass(frozen=True, slots=True)
class Doubt:
    """Nobody knows whether the message was accepted. The attempt isn't used up before that is settled."""

    reason: str


Next = Again | End | Doubt


def candidates(
    order: Sequence[Provider], configured: frozenset[Provider], platform: Platform | None
) -> tuple[Provider, ...]:
    """Who can carry the send, in the policy's order; on push those of the device's platform."""
    return tuple(p for p in order if p in configured and (platform is None or _PLATFORM.get(p) == platform))


def behind(order: Sequence[Provider], provider: Provider) -> tuple[Provider, ...]:
    """Those that come after it in the order; of one that isn't there (any more), all."""
    return tuple(order[order.index(provider) + 1 :] if provider in order else order)


def provider_for(tries: Tries, able: Sequence[Provider]) -> Provider | None:
    """Whom to call now. A send in doubt stays where it was: nobody else can tell that it is the same message."""
    if tries.provider in able:
        return tries.provider
    return able[0] if able and not tries.doubted else None


def after(
    outcome: Outcome,
    tries: Tries,
    rule: Retries,
    able: Sequence[Provider],
    send_id: str,
    now: int,
    paused: Container[Provider] = (),
    takeover_ms: int = 0,
) -> Next:
    """What to do after the answer to a call of ``tries.provider``.

    ``able``: see ``candidates``. ``paused``: those of them that aren't called now. ``now``: Unix ms. ``takeover_ms``:
    how long a circuit has to be open before the next provider takes over.
    """
    counted = tries if outcome.kind in ("throttle", "config") else replace(tries, used=tries.used + 1)
    match outcome.kind:
        case "ok":
            return End("sent", None)
        case "drop" | "bad_token" if tries.doubted:
            return End("unknown", None)  # an earlier call may have arrived
        case "drop":
            return End("failed", outcome.why if outcome.why in _REPORTED else "permanent")
        case "bad_token":
            return End("failed", "invalid_token")
        case "in_doubt":
            return Doubt(outcome.doubt or "connection_lost")
        case "retry" if counted.used >= rule.attempts:
            return spent(counted)
        case _:
            return _again(outcome, counted, rule, able, send_id, now, paused, takeover_ms)


def spent(tries: Tries) -> End:
    """All attempts are used up. What may have arrived hasn't failed."""
    return End("unknown", None) if tries.doubted else End("failed", "retries_exhausted")


def backoff_ms(rule: Retries, waits: int, send_id: str) -> int:
    """Twice as long each time up to the cap, of which a half is spread by the send's id."""
    longest: int = min(rule.base_ms << min(waits, 40), rule.cap_ms)
    share = int.from_bytes(blake2b(f"{send_id}:{waits}".encode(), digest_size=4).digest(), "big") / 2**32
    return longest // 2 + round(longest / 2 * share)


def _again(
    outcome: Outcome,
    tries: Tries,
    rule: Retries,
    able: Sequence[Provider],
    send_id: str,
    now: int,
    paused: Container[Provider],
    takeover_ms: int,
) -> Again:
    outage = outcome.code == CIRCUIT_OPEN
    another = following(tries, able, paused) if outage or outcome.kind != "throttle" else None
    left_ms = 0 if outcome.open_for_ms is None else takeover_ms - outcome.open_for_ms
    if another is not None and left_ms <= 0:
        return Again(now, replace(tries, provider=another), outcome.code, outage=False)
    wait_ms = max(outcome.retry_after_ms or 0, backoff_ms(rule, tries.waits, send_id))
    if another is not None:
        wait_ms = min(wait_ms, left_ms)
    stays = tries.doubted or not able or (outcome.kind == "throttle" and not outage)
    first = tries.provider if stays else able[0]
    return Again(now + wait_ms, replace(tries, waits=tries.waits + 1, provider=first), outcome.code, outage)


def following(tries: Tries, able: Sequence[Provider], paused: Container[Provider] = ()) -> Provider | None:
    """The next provider in order that is called; None after the last, or where only the same one may be called."""
    if tries.doubted or tries.provider not in able:
        return None
    rest = able[able.index(tries.provider) + 1 :]
    return next((provider for provider in rest if provider not in paused), None)


# --- in doubt ----------------------------------------------------------------------------------------------------


def may_resend(rule: InDoubt, category: str, tries: Tries) -> bool:
    """Whether a send of which nothing was found is sent once more."""
    return rule.then(category) == "resend" and not tries.resent and tries.provider not in _NEVER_RESENT


def resend(tries: Tries) -> Tries:
    """Nothing was found of the latest call: the same message once more, by the same provider."""
    return replace(tries, used=tries.used + 1, doubted=True, resent=True)


def settle_until(rule: InDoubt, category: str, tries: Tries, now: int, expires_at: int) -> int:
    """Until when to look for evidence (Unix ms), from the moment of doubt.

    At most ``settle``. What will be sent again must still be of use then: after half of the time that it has left,
    and at once where the provider can't be asked and a repeat replaces the first on the device.
    """
    longest = now + rule.settle_ms
    if not may_resend(rule, category, tries):
        return longest
    if tries.provider not in _EVIDENCE:
        longest = min(longest, now + _WORD_FROM_APP_MS)
    return min(longest, now + max(0, expires_at - now) // 2)


def ask_at(doubted_at: int, asked: int, until: int) -> int:
    """When to ask for the ``asked``-th time (from 0): 5, 15, 35, 75 … seconds after the doubt, the last at the end."""
    return min(doubted_at + _FIRST_ASK_MS * ((2 << asked) - 1), until)
