"""Reads the router's broadcasts, as every role with tables takes them."""

from agents.shared.placement import check_keyless, check_place
from app.ports import LogRecord
from schemas.broadcasts import Broadcast, TokenDead, read_broadcast


def read_placed_broadcast(record: LogRecord, partitions: int) -> Broadcast:
    """The broadcast of a record that lies where it belongs. Raises Invalid."""
    assert record.value is not None
    message = read_broadcast(record.value)
    if isinstance(message, TokenDead):
        check_place(record, message.user_id, partitions)
    else:
        check_keyless(record)
    return message
