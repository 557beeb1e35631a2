"""Which dead letters were put back: ``tocsin_redriven`` has a record for each, by the letter's id
(docs/decisions/0019)."""

from typing import Final

import msgspec
from msgspec import Struct

from schemas.decode import Reader


class Redriven(Struct, frozen=True, kw_only=True):
    """``at``: RFC 3339. ``by``: the API key's id. ``to``: where the record lies now, as ``topic:partition:offset``."""

    at: str
    by: str
    to: str


read_redriven: Final = Reader[Redriven](Redriven, own=True)
encode_redriven: Final = msgspec.json.Encoder().encode
