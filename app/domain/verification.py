"""Verifying an address: how many codes a user may ask for, and whether a code may still be tried. Times are Unix ms."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas.verifications import VerifiedChannel

#: A code is good for so long.
CODE_MS = 10 * 60 * 1000
#: So many wrong tries make it void.
MOST_WRONG = 5
#: What is asked for is counted in the hour before.
WINDOW_MS = 3600 * 1000
#: Answers are kept for the calls that wait for them: so many of one user's at a time.
_MOST_ANSWERS = 8

#: Of a request: ``sent``, or why not. Of a check: ``verified``, ``wrong``, or ``void``: there is no code to try (any
#: more).
Outcome = Literal[
    "sent", "verified", "limited", "changed", "no_address", "suppression_list", "no_provider", "wrong", "void"
]


class Answer(Struct, frozen=True, array_like=True, gc=False):
    """``number``: of ``limited``, when the next code may be asked for; of ``wrong``, how many tries are left."""

    outcome: Outcome
    number: int = 0


class Challenge(Struct, frozen=True, array_like=True, gc=False):
    """A code that was sent. ``name``: the code's. ``mark``: of the address that it is for (``codes.mark_of``)."""

    name: str
    mark: str
    until_ms: int
    wrong: int = 0


class Verification(Struct, frozen=True, array_like=True, gc=False):
    """What one user's codes came to: when they were asked for, the latest of each channel, and the latest answers."""

    asked_ms: tuple[int, ...] = ()
    challenges: dict[VerifiedChannel, Challenge] = {}
    answers: dict[str, Answer] = {}
    #: When none of it means anything any more.
    until_ms: int = 0

    def challenge(self, channel: VerifiedChannel, now: int) -> Challenge | None:
        """The one that may be tried."""
        found = self.challenges.get(channel)
        return found if found is not None and now < found.until_ms else None

    def next_ms(self, most: int, now: int) -> int | None:
        """When the next code may be asked for, of which there are ``most`` in an hour; None: now."""
        counted = [at for at in self.asked_ms if at > now - WINDOW_MS]
        return None if len(counted) < most else counted[-most] + WINDOW_MS


NO_VERIFICATION = Verification()


def asked(before: Verification, channel: VerifiedChannel, challenge: Challenge | None, now: int) -> Verification:
    """One more code was asked for. ``challenge`` None: it could not be sent. Either way the one before it is void."""
    others = {of: each for of, each in before.challenges.items() if of != channel}
    counted = tuple(at for at in before.asked_ms if at > now - WINDOW_MS)
    challenges = others if challenge is None else {**others, channel: challenge}
    return replace(before, asked_ms=(*counted, now), challenges=challenges)


def tried(
    before: Verification, channel: VerifiedChannel, challenge: Challenge, *, right: bool
) -> tuple[Verification, Answer]:
    """A code was tried: the right one is used up, and so is one that was guessed at too often."""
    wrong = challenge.wrong + 1
    over = right or wrong >= MOST_WRONG
    challenges = {of: each for of, each in before.challenges.items() if of != channel}
    if not over:
        challenges[channel] = replace(challenge, wrong=wrong)
    return replace(before, challenges=challenges), Answer("verified") if right else Answer("wrong", MOST_WRONG - wrong)


def answered(before: Verification, call: str, answer: Answer, now: int) -> Verification:
    answers = dict(list(before.answers.items())[1 - _MOST_ANSWERS :])
    return replace(before, answers={**answers, call: answer}, until_ms=now + WINDOW_MS)
