"""windows: the places that a user's notifications have taken in the caps, and who waits for one."""

from msgspec import Struct

from tables.table import TableSpec


class Windows(Struct, frozen=True, array_like=True, gc=False):
    """By the cap's name: the places (app/domain/caps.py says how they lie), and the notifications that wait, in order.

    Notifications are named by the 16 bytes of their id.
    """

    places: dict[str, bytes] = {}
    waiting: dict[str, tuple[bytes, ...]] = {}
    #: When the last place that was taken is free again, Unix milliseconds.
    until_ms: int = 0


NO_WINDOWS = Windows()

WINDOWS: TableSpec[Windows] = TableSpec(
    "windows", Windows, expires=lambda row: None if row.waiting else row.until_ms, kept=400
)
