"""What is reported of a message, and when: a pure function of the message, the settings and chance."""

import random
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple
from zlib import crc32

import msgspec
from msgspec import Meta, Struct

from app.sandbox.records import Accepted
from schemas.decode import Invalid, Reader

#: ``accepted``: the provider's first word, which ends nothing.
Kind = Literal["accepted", "delivered", "bounced", "complained"]

_Part = Annotated[float, Meta(ge=0, le=1)]
_Milliseconds = Annotated[int, Meta(ge=0, le=3_600_000)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``url``: the gateway's; None: nothing is reported. ``bounce`` and ``complain``: parts of the addresses, the same
    ones for a ``seed``. ``lose`` and ``repeat``: parts of the reports. ``disorder``: a later one may come first."""

    url: Annotated[str, Meta(pattern=r"^https?://[!-~]+$", max_length=2_048)] | None = None
    min_delay_ms: _Milliseconds = 50
    max_delay_ms: _Milliseconds = 500
    bounce: _Part = 0
    complain: _Part = 0
    lose: _Part = 0
    repeat: _Part = 0
    disorder: bool = False
    seed: int = 0


class Planned(NamedTuple):
    """``number``: of the report among those of its message."""

    delay_ms: int
    kind: Kind
    number: int


_read: Reader[Settings] = Reader(Settings)
encode_settings = msgspec.json.Encoder().encode


def read_settings(body: bytes) -> Settings:
    """Raises Invalid, which names the field."""
    settings = _read(body)
    if settings.max_delay_ms < settings.min_delay_ms:
        raise Invalid("is less than min_delay_ms", "max_delay_ms")
    if settings.bounce + settings.complain > 1:
        raise Invalid("and bounce are more than all", "complain")
    return settings


def plan(message: Accepted, settings: Settings, chance: random.Random) -> Sequence[Planned]:
    """The reports of a message, those that are lost left out and those that are repeated twice."""
    planned: list[Planned] = []
    delay_ms = 0
    for number, kind in enumerate(_fate(message.address, settings)):
        own_ms = chance.randint(settings.min_delay_ms, settings.max_delay_ms)
        delay_ms = own_ms if settings.disorder else delay_ms + own_ms
        if chance.random() < settings.lose:
            continue
        planned.append(Planned(delay_ms, kind, number))
        if chance.random() < settings.repeat:
            planned.append(Planned(delay_ms + own_ms, kind, number))
    return planned


def _fate(address: str, settings: Settings) -> Sequence[Kind]:
    """A mailbox that is gone stays gone."""
    lot = crc32(f"{settings.seed}:{address}".encode()) / 2**32
    if lot < settings.bounce:
        return ("accepted", "bounced")
    if lot < settings.bounce + settings.complain:
        return ("accepted", "delivered", "complained")
    return ("accepted", "delivered")
