"""Holdouts: the part of a category's or a campaign's recipients who get nothing, to compare the others with
(docs/policy.md#holdout).

A share is a whole number of hundredths of a percent, 0 to 10,000. A campaign's comes with each of its requests in a
header that is signed, so that nobody but the gateway can give one.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from app.domain.signatures import is_signature, signature_of

#: The header that says a campaign's share, as ``share:signature``.
HOLDOUT = "tocsin-holdout"

ALL = 10_000

#: Tells this use of the installation's secret from others.
_USE = b"tocsin campaign holdout 1"
_LONGEST = 100
_PERCENT = re.compile(r"([0-9]{1,3})(?:[.]([0-9]{1,2}))?%")


def share_of(text: str) -> int:
    """``5%`` or ``0.25%``. Raises ValueError."""
    found = _PERCENT.fullmatch(text)
    share = int(found[1] + (found[2] or "").ljust(2, "0")) if found else ALL + 1
    if share > ALL:
        raise ValueError(f"{text[:20]!r} is no part in percent, such as 5%")
    return share


def percent(share: int) -> str:
    """``5%``, ``0.25%``."""
    whole, decimals = divmod(share, 100)
    return f"{whole}.{decimals:02}".rstrip("0").rstrip(".") + "%"


def is_held_out(user_id: str, group: Sequence[str], share: int) -> bool:
    """Whether the user is among the ``share`` of the group's recipients who get nothing: the same whenever it is asked,
    and with a greater share still. ``group``: names what they are the recipients of."""
    return is_drawn(b"holdout", group, user_id, share)


def is_drawn(purpose: bytes, group: Sequence[str], user_id: str, share: int) -> bool:
    """Whether the user is in the part of the group that ``purpose`` (at most 16 bytes) draws. One purpose tells nothing
    of another."""
    if share <= 0:
        return False
    named = "\n".join((*group, user_id)).encode()
    number = int.from_bytes(blake2b(named, digest_size=8, person=purpose).digest(), "big")
    return number * ALL < share << 64


def group_of(category: str, source: str, campaign_id: str | None) -> tuple[str, ...]:
    """Of a request of a campaign the campaign, which its source and its id name; else the category."""
    return ("category", category) if campaign_id is None else ("campaign", source, campaign_id)


def signed_holdout(secret: bytes, source: str, campaign_id: str, share: int) -> bytes:
    """The header's value, the same for all requests of the campaign."""
    return f"{share}:{_signature(secret, source, campaign_id, share)}".encode()


def holdout_of(
    secret: bytes, source: str, campaign_id: str | None, headers: Sequence[tuple[str, bytes | None]]
) -> int | None:
    """The campaign's share; None unless the record has one such header, and a true one."""
    given = [content for name, content in headers if name == HOLDOUT]
    if campaign_id is None or len(given) != 1 or given[0] is None or len(given[0]) > _LONGEST:
        return None
    digits, _, signature = given[0].partition(b":")
    if not digits.isdigit() or len(digits) > 5:
        return None
    share = int(digits)
    return share if share <= ALL and is_signature(_signature(secret, source, campaign_id, share), signature) else None


@lru_cache(maxsize=256)
def _signature(secret: bytes, source: str, campaign_id: str, share: int) -> str:
    return signature_of(secret, _USE, (source.encode(), campaign_id.encode(), str(share).encode()))
