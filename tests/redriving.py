"""Dead letters, and which were redriven, in memory: for what runs the real ``Redriver``."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from app.store.dead_letters import Letter, TooMany, Wanted, _ends_in
from app.store.erased import ErasedUsers
from app.store.redriver import Redriver
from schemas.dead import DeadLetter
from schemas.redriven import Redriven, encode_redriven, read_redriven
from schemas.topics import KEPT_DAYS

DAY = 24 * 3_600_000
KEPT_MS = {topic: days * DAY for topic, days in KEPT_DAYS.items()}


class MemoryDead:
    """See ``DeadLetters``. ``letters``: those that are there now, in one partition."""

    def __init__(self, letters: Callable[[], Sequence[DeadLetter]]) -> None:
        self._letters = letters

    def _all(self) -> list[Letter]:
        return [Letter(0, offset, letter) for offset, letter in enumerate(self._letters())]

    async def newest(
        self, limit: int, cursor: str | None = None, wanted: Wanted | None = None
    ) -> tuple[list[Letter], str | None]:
        assert 1 <= limit <= 500
        _ends_in(cursor)
        found = [each for each in reversed(self._all()) if wanted is None or wanted.takes(each.letter)]
        return found[:limit], None

    async def matching(self, wanted: Wanted, most: int) -> AsyncIterator[Letter]:
        if len(self._all()) > most:
            raise TooMany
        for letter in self._all():
            if wanted.takes(letter.letter):
                yield letter

    async def by_id(self, places: Iterable[tuple[int, int]]) -> AsyncIterator[Letter]:
        asked = set(places)
        for letter in self._all():
            if (letter.partition, letter.offset) in asked:
                yield letter


class MemoryRedriven:
    """See ``RedrivenLetters``."""

    def __init__(self) -> None:
        self.known: dict[str, Redriven] = {}

    def of(self, letter_id: str) -> Redriven | None:
        return self.known.get(letter_id)

    async def add(self, redriven: Sequence[tuple[str, Redriven]]) -> None:
        for letter_id, each in redriven:
            self.known.setdefault(letter_id, read_redriven(encode_redriven(each)))


def redriver_of(
    dead: MemoryDead,
    publisher: Any,
    secret: bytes,
    clock: Callable[[], int],
    redriven: MemoryRedriven | None = None,
    erased: Any = None,
) -> Redriver:
    """``publisher``: see ``KafkaPublisher.publish_many``."""
    held: Any = redriven or MemoryRedriven()
    letters: Any = dead
    return Redriver(letters, publisher, held, erased or ErasedUsers(), secret, KEPT_MS, clock)
