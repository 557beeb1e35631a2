"""Announcements between our own processes, signed with the installation's secret and bounded in time.

Whoever may write to their topic can otherwise say anything: the signature covers the key, the whole value and the time
of each announcement. One that was copied says nothing new: it is no newer than the latest of that name.
"""

import re
from collections.abc import Sequence
from typing import Final

from app.domain.signatures import is_signature, signature_of

#: The header of an announcement, as ``AT:SIGNATURE``; AT in Unix milliseconds.
HEADER = "tocsin-announced"
#: Whoever hasn't announced anything for so long doesn't run; and no clock may be ahead of ours by more.
SILENT_MS: Final = 15_000

_USE = b"tocsin announcement 1"
_FORM = re.compile(rb"([0-9]{1,15}):([0-9a-f]{64})")


def signed(secret: bytes, key: bytes, value: bytes | None, at: int) -> bytes:
    """The header's value. ``value`` None: it is taken back."""
    return f"{at}:{_signature(secret, key, value, at)}".encode()


def announced_at(
    secret: bytes, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
) -> int | None:
    """When this was announced by one of our processes; None: it wasn't."""
    given = [held for name, held in headers if name == HEADER]
    form = _FORM.fullmatch(given[0]) if len(given) == 1 and given[0] is not None else None
    if form is None:
        return None
    at = int(form[1])
    return at if is_signature(_signature(secret, key, value, at), form[2]) else None


def _signature(secret: bytes, key: bytes, value: bytes | None, at: int) -> str:
    return signature_of(secret, _USE, (key, value, str(at).encode()))
