"""windows: the places that a user's notifications have taken in the caps, and who waits for one."""

from collections.abc import Mapping

from msgspec import Struct

from tables.table import TableSpec


class Windows(Struct, frozen=True, array_like=True, gc=False):
    """By the cap's name: its window (app/domain/caps.py says how the places lie there), and the notifications that
    wait, in order. Notifications are named by the 16 bytes of their id.

    Caps of several lengths mostly count the same sends, so a window that is the end of ``shared`` lies there, and
    ``ends`` has how many bytes of it.
    """

    ends: dict[str, bytes | int] = {}
    waiting: dict[str, tuple[bytes, ...]] = {}
    #: When the last place that was taken is free again, Unix milliseconds.
    until_ms: int = 0
    shared: bytes = b""

    def places(self) -> dict[str, bytes]:
        """Each cap's window."""
        shared = self.shared
        return {cap: end if isinstance(end, bytes) else shared[-end:] for cap, end in self.ends.items()}


NO_WINDOWS = Windows()

WINDOWS: TableSpec[Windows] = TableSpec(
    "windows", Windows, until="until_ms", stays=lambda row: bool(row.waiting), kept=400
)


def windows_of(places: Mapping[str, bytes], waiting: dict[str, tuple[bytes, ...]], until_ms: int) -> Windows:
    """The row for these windows."""
    shared = max(places.values(), key=len, default=b"")
    ends: dict[str, bytes | int] = {
        cap: len(window) if window and shared.endswith(window) else window for cap, window in places.items()
    }
    return Windows(ends, waiting, until_ms, shared)
