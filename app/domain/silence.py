"""Addresses that don't answer: after a few silent calls in a row the rest of an address's sends wait, as behind a
breaker, rather than take a call's whole time limit each."""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

#: Silent calls in a row after which an address rests.
SILENT_CALLS = 3
#: The first rest of an address, and the longest: each silent probe doubles it.
FIRST_REST_MS, LONGEST_REST_MS = 30_000, 600_000
#: So long nobody else calls while a probe is on its way.
_PROBE_MS = 20_000
#: Addresses that are remembered, of those whose calls took long.
_REMEMBERED = 10_000


@dataclass(slots=True)
class _Silence:
    #: Silent calls since the latest answer.
    calls: int = 0
    answered_at: int = 0
    rests_until: int = 0


class Silences:
    """What one process knows of the addresses that it called. All times in Unix ms."""

    def __init__(self) -> None:
        self._by_address: OrderedDict[bytes, _Silence] = OrderedDict()

    def rests_until(self, address: str, now: int) -> int | None:
        """Until when the address is left alone; None: it may be called."""
        silence = self._get(address)
        if silence is None or silence.calls < SILENT_CALLS or silence.rests_until <= now:
            return None
        return min(silence.rests_until, now + LONGEST_REST_MS)  # (the clock may have been set back)

    def is_suspect(self, address: str) -> bool:
        """Whether its latest call was silent: its calls are made one at a time, and say nothing of the provider."""
        silence = self._get(address)
        return silence is not None and silence.calls > 0

    def begin(self, address: str, now: int) -> None:
        """A call begins: where the address rested, it is the probe."""
        silence = self._get(address)
        if silence is not None and silence.calls >= SILENT_CALLS:
            silence.rests_until = now + _PROBE_MS

    def watch(self, address: str) -> None:
        """A call of the address takes long: from here on it counts when the address answers another one."""
        self._by_address.setdefault(_hash(address), _Silence())
        while len(self._by_address) > _REMEMBERED:
            self._by_address.popitem(last=False)

    def note_silent(self, address: str, called_at: int, now: int) -> None:
        """A call ran into its time limit. It says nothing where a later one was answered meanwhile."""
        self.watch(address)
        silence = self._by_address[_hash(address)]
        if silence.answered_at > called_at:
            return
        silence.calls += 1
        if silence.calls >= SILENT_CALLS:
            doubled = min(silence.calls - SILENT_CALLS, 16)
            silence.rests_until = now + min(FIRST_REST_MS << doubled, LONGEST_REST_MS)

    def note_answered(self, address: str, now: int) -> None:
        silence = self._get(address)
        if silence is not None:
            silence.calls, silence.answered_at, silence.rests_until = 0, now, 0

    def _get(self, address: str) -> _Silence | None:
        return self._by_address.get(_hash(address)) if self._by_address else None


def _hash(address: str) -> bytes:
    """Addresses themselves are kept nowhere but where they belong."""
    return blake2b(address.encode("utf-8", "surrogatepass"), digest_size=16).digest()
