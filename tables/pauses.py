"""pauses: the sends of each user that are held or wait for a retry, in the order in which they were accepted."""

from msgspec import Struct

from tables.table import Table, TableSpec


class Pause(Struct, frozen=True, array_like=True, gc=False):
    """``begun``: a call was made."""

    begun: bool
    notification_id: str
    collapse_key: str | None = None


PAUSES: TableSpec[Pause] = TableSpec("pauses", Pause)


def _prefix(user_id: str) -> bytes:
    """User ids hold no control characters, so a user's rows lie together."""
    return user_id.encode() + b"\0"


def pause_key(user_id: str, accepted_at: int, offset: int, send_key: bytes) -> bytes:
    """``offset``: of the send's record, for those that were accepted in one batch."""
    return _prefix(user_id) + accepted_at.to_bytes(8, "big") + offset.to_bytes(8, "big") + send_key


class Pauses(Table[Pause]):
    def of(self, user_id: str) -> list[tuple[bytes, Pause]]:
        """Keys of ``attempts`` and what waits there, in order of acceptance."""
        start = _prefix(user_id)
        return [(key[-16:], pause) for key, pause in self.scan(start, start[:-1] + b"\1")]
