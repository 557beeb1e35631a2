"""The name that was probably meant, for the words of a problem."""

from collections.abc import Collection
from difflib import get_close_matches

#: Of longer words nobody guesses.
_MAX_WORD = 100
#: Names that words are compared with, of one policy in all: each takes its time.
_MAX_COMPARED = 2_000


class Guesses:
    """Guesses for one policy, as long as it doesn't take too many comparisons."""

    def __init__(self) -> None:
        self._left = _MAX_COMPARED

    def closest(self, word: str, names: Collection[str]) -> str | None:
        if len(names) > self._left or len(word) > _MAX_WORD:
            return None
        self._left -= len(names)
        return next(iter(get_close_matches(word, sorted(names), n=1)), None)
