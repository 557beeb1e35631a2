"""tokens: which user of this partition a device token belongs to."""

from msgspec import Struct

from tables.table import TableSpec


class Holder(Struct, frozen=True, array_like=True, gc=False):
    user_id: str
    device_id: str


TOKENS: TableSpec[Holder] = TableSpec("tokens", Holder)
