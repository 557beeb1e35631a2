"""Stamps: each row in a changelog says under which claim of its partition it was written.

A row that lies behind one with a higher stamp came late: its writer had lost the partition without knowing, and whoever
took it over had written the same by then, or something newer (docs/decisions/0005-claims-of-partitions.md).
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

#: As it lies in the log and in stores. Their order is that of their bytes.
Stamp = bytes

#: What rows say that were written before there were stamps.
UNSTAMPED: Final[Stamp] = b""

_HEADER = "stamp"
_FORM = Struct(">IQ")


def make_stamp(generation: int, claim: int) -> Stamp:
    """``generation``: how often the journal was made anew, and began to count again; ``claim``: the claim's offset."""
    return _FORM.pack(generation, claim)


def read_stamp(stamp: Stamp) -> tuple[int, int]:
    """(generation, claim); (0, -1) where there is none."""
    if not stamp:
        return 0, -1
    generation, claim = _FORM.unpack(stamp)
    return generation, claim


def headers_of(stamp: Stamp) -> list[tuple[str, bytes]]:
    """The headers of a row, the same for all that an owner writes."""
    return [(_HEADER, stamp)]


def stamp_of(record: Any) -> Stamp:
    """What a changelog's record says: only its writer's stamp is ever in its headers."""
    headers: Sequence[tuple[str, bytes]] = record.headers
    return headers[0][1] if headers else UNSTAMPED
