"""Puts dead letters back: finds them, tells which may be, produces their records and notes that it did.

Two passes: the first keeps of each place only which letter is its newest; the second reads those again and produces
them, piece by piece. What is produced and not noted, because the process died between the two, is produced again by
the next call: a further copy of a place changes nothing (docs/decisions/0019).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from app.domain.redrive import Original, headers_of, original_of, why_not
from app.store.dead_letters import DeadLetters, Letter, TooMany, Wanted, is_of_erased
from app.store.erased import ErasedUsers
from app.store.publisher import KafkaPublisher, Outgoing
from app.store.redriven import RedrivenLetters
from schemas.instants import parse_ms, rfc3339
from schemas.redriven import Redriven

Would = Literal["accepted", "expired", "dead"]

#: Places that one call may put back, and letters that it may look at for them.
MOST_PLACES, MOST_LOOKED_AT = 10_000, 200_000
#: Records, and bytes of their values, that are held at once.
_PIECE, _PIECE_OCTETS = 500, 8 << 20
#: Letters that are evaluated before other calls have their turn.
_AT_A_TIME = 50


class Refusal(NamedTuple):
    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Result:
    """By places: letters of one place count as one. ``would``: of a dry run, what would come of those that aren't
    refused."""

    matched: int
    redriven: int
    refused: list[Refusal]
    left_out: int
    would: Mapping[Would, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Place:
    """What was found of one place: its newest letter, and all of them."""

    newest: tuple[str, int, int]
    ids: list[str]
    why_not: str | None
    would: Would | None


class _Found(NamedTuple):
    places: dict[str, _Place]
    missing: list[str]
    #: Places of users who were erased since.
    left_out: set[str]


class Redriver:
    """``secret``: the installation's. ``kept_ms``: how long each topic keeps its records. ``clock``: Unix ms.

    Raises KafkaError, PublishError, TooMany.
    """

    def __init__(
        self,
        dead: DeadLetters,
        publisher: KafkaPublisher,
        redriven: RedrivenLetters,
        erased: ErasedUsers,
        secret: bytes,
        kept_ms: Mapping[str, int],
        clock: Callable[[], int],
    ) -> None:
        self._dead = dead
        self._publisher = publisher
        self._redriven = redriven
        self._erased = erased
        self._secret = secret
        self._kept_ms = kept_ms
        self._clock = clock

    def original(self, letter: Letter) -> Original:
        """The letter's record, as it was."""
        return original_of(letter.letter, self._secret)

    def redriven(self, letter: Letter) -> Redriven | None:
        """When, by whom and to where the letter was put back."""
        return self._redriven.of(letter.id)

    async def dry_run(self, asked: Sequence[str] | Wanted, evaluate: Callable[[Original], Would]) -> Result:
        """What ``redrive`` would do now, and what would come of it. ``evaluate``: of one record."""
        found = await self._find(asked, evaluate)
        would = Counter(place.would for place in found.places.values() if place.would is not None)
        return _result(found, 0, {"accepted": would["accepted"], "expired": would["expired"], "dead": would["dead"]})

    async def redrive(self, asked: Sequence[str] | Wanted, by: str) -> Result:
        """Puts back the letters with these ids, or all that match and weren't yet. ``by``: the API key's id."""
        found = await self._find(asked, None)
        chosen = {place.newest[1:]: place for place in found.places.values() if place.why_not is None}
        done = 0
        piece: list[tuple[Letter, _Place]] = []
        octets = 0
        async for letter in self._dead.by_id(chosen):
            piece.append((letter, chosen[letter.partition, letter.offset]))
            octets += len(letter.letter.value or "")
            if len(piece) >= _PIECE or octets >= _PIECE_OCTETS:
                done += await self._produce(piece, by)
                piece, octets = [], 0
        done += await self._produce(piece, by)
        return _result(found, done, {})

    async def redrive_edited(self, letter: Letter, edited: Original, by: str) -> Result:
        """Puts back one record that was corrected, in place of the letter's."""
        await self._produce_as([(edited, letter.id, [letter.id])], by)
        return Result(1, 1, [], 0)

    async def one(self, letter_id: str) -> Letter | None:
        """None: there is no such letter (any more), or its user was erased since."""
        async for letter in self._dead.by_id([_place_of(letter_id)]):
            return None if is_of_erased(letter.letter, self._erased) else letter
        return None

    def why_not(self, letter: Letter) -> str | None:
        """Why the letter can't be put back; None: it can."""
        if (before := self._redriven.of(letter.id)) is not None:
            return f"it was redriven at {before.at}, to {before.to}"
        kept_ms = self._kept_ms.get(letter.letter.topic)
        return why_not(letter.letter, kept_ms, self._clock())

    async def _find(self, asked: Sequence[str] | Wanted, evaluate: Callable[[Original], Would] | None) -> _Found:
        by_filter = isinstance(asked, Wanted)
        letters = (
            self._dead.matching(asked, MOST_LOOKED_AT)
            if isinstance(asked, Wanted)
            else self._dead.by_id({_place_of(letter_id) for letter_id in asked})
        )
        found = _Found({}, [], set())
        seen: set[str] = set()
        looked_at = 0
        async for letter in letters:
            looked_at += 1
            if looked_at % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # others' calls have their turn
            seen.add(letter.id)
            if by_filter and self._redriven.of(letter.id) is not None:
                continue
            original = self.original(letter)
            if is_of_erased(letter.letter, self._erased):
                found.left_out.add(original.place)
            else:
                self._note(found.places, letter, original, evaluate)
            if len(found.places) > MOST_PLACES:
                raise TooMany
        if not isinstance(asked, Wanted):
            found.missing.extend(letter_id for letter_id in dict.fromkeys(asked) if letter_id not in seen)
        return found

    def _note(
        self,
        places: dict[str, _Place],
        letter: Letter,
        original: Original,
        evaluate: Callable[[Original], Would] | None,
    ) -> None:
        order = (letter.letter.at, letter.partition, letter.offset)
        why = self.why_not(letter)
        would = evaluate(original) if evaluate is not None and why is None else None
        known = places.get(original.place)
        if known is None:
            places[original.place] = _Place(order, [letter.id], why, would)
            return
        known.ids.append(letter.id)
        if (parse_ms(order[0]), *order[1:]) > (parse_ms(known.newest[0]), *known.newest[1:]):
            known.newest, known.why_not, known.would = order, why, would

    async def _produce(self, piece: Sequence[tuple[Letter, _Place]], by: str) -> int:
        await self._produce_as([(self.original(letter), letter.id, place.ids) for letter, place in piece], by)
        return len(piece)

    async def _produce_as(self, piece: Sequence[tuple[Original, str, list[str]]], by: str) -> None:
        if not piece:
            return
        records = [
            Outgoing(
                original.topic,
                original.contents.key,
                original.contents.value,
                original.partition,
                headers_of(original, letter_id, self._secret),
                original.timestamp_ms,
            )
            for original, letter_id, _ in piece
        ]
        positions = await self._publisher.publish_many(records)
        at = rfc3339(self._clock())
        await self._redriven.add(
            [
                (letter_id, Redriven(at=at, by=by, to=f"{original.topic}:{partition}:{offset}"))
                for (original, _, ids), (partition, offset) in zip(piece, positions, strict=True)
                for letter_id in ids
            ]
        )


def _result(found: _Found, redriven: int, would: Mapping[Would, int]) -> Result:
    refused = [
        Refusal(f"{place.newest[1]}-{place.newest[2]}", place.why_not)
        for place in found.places.values()
        if place.why_not is not None
    ]
    refused += [Refusal(letter_id, "there is no such letter (any more)") for letter_id in found.missing]
    left_out = len(found.left_out - found.places.keys())
    return Result(len(found.places) + len(found.missing) + left_out, redriven, refused, left_out, would)


def _place_of(letter_id: str) -> tuple[int, int]:
    partition, _, offset = letter_id.partition("-")
    return int(partition), int(offset)
