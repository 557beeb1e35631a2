"""Which key and which partition a record must have."""

from app.domain.ids import partition_of_send
from app.domain.partition import partition_of
from schemas.decode import Invalid, Misplaced
from schemas.receipts import Receipt


def user_key(key: bytes | None, user_id: str) -> bytes:
    """The key of a record about a user. Raises Misplaced where it isn't the user's id."""
    if key is None or key != user_id.encode():
        raise Misplaced("is not the user_id", "key")
    return key


def no_key(key: bytes | None) -> None:
    """Raises Misplaced where a record that names no user has a key."""
    if key:
        raise Misplaced("is given, but there is no user_id", "key")


def receipt_partition(key: bytes | None, receipt: Receipt, partitions: int) -> int:
    """Its user's partition, or the one in its send's id where it lacks key or user. Raises Misplaced, Invalid."""
    if receipt.user_id is not None and (key is not None or receipt.send_id is None):
        return partition_of(user_key(key, receipt.user_id), partitions)
    partition = partition_of_send(receipt.send_id or "")
    if partition is None:
        raise Invalid("is not a send's id", "send_id")
    return partition
