"""Epochs: each row in a changelog carries the epoch of the owner that wrote it.

A row that lies behind one with a higher stamp came late: its writer had lost the partition without knowing, and whoever
took it over had written the same by then, or something newer (docs/decisions/0005-fencing-epochs.md).
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

#: As it lies in the log and in stores. Their order is that of their bytes.
Epoch = bytes

#: What rows say that were written before there were stamps.
NO_EPOCH: Final[Epoch] = b""

_HEADER = "stamp"
_FORM = Struct(">IQ")


def make_epoch(generation: int, claim: int) -> Epoch:
    """``generation``: how often the journal was made anew, and began to count again; ``claim``: the claim's offset."""
    return _FORM.pack(generation, claim)


def read_epoch(epoch: Epoch) -> tuple[int, int]:
    """(generation, claim); (0, -1) where there is none."""
    if not epoch:
        return 0, -1
    generation, claim = _FORM.unpack(epoch)
    return generation, claim


def headers_of(epoch: Epoch) -> list[tuple[str, bytes]]:
    """The headers of a row, the same for all that an owner writes."""
    return [(_HEADER, epoch)]


def epoch_of(record: Any) -> Epoch:
    """What a changelog's record says: only its writer's stamp is ever in its headers."""
    headers: Sequence[tuple[str, bytes]] = record.headers
    return headers[0][1] if headers else NO_EPOCH
