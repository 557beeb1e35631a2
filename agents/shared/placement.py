"""Whether a record lies where it belongs. Every role checks for itself; only the router moves records."""

from app.domain.ids import partition_of_send
from app.domain.partition import partition_of
from app.ports import LogRecord
from schemas.commands import AnyCommand
from schemas.decode import Invalid, Misplaced
from schemas.receipts import Receipt


def check_key(record: LogRecord, user_id: str) -> bytes:
    """Returns the key. Raises Misplaced where it isn't the user's id."""
    if record.key is None or record.key != user_id.encode():
        raise Misplaced("is not the user_id", "key")
    return record.key


def check_place(record: LogRecord, user_id: str, partitions: int) -> None:
    """Raises Misplaced where the key isn't the user's id, or the record lies in another partition than its key's."""
    check_lies_in(record, partition_of(check_key(record, user_id), partitions))


def check_command(record: LogRecord, command: AnyCommand, partitions: int) -> None:
    """A command without key and user is taken wherever it lies. Raises Misplaced."""
    if command.user_id is not None:
        check_place(record, command.user_id, partitions)
    else:
        check_keyless(record)


def check_receipt(record: LogRecord, receipt: Receipt, partitions: int) -> None:
    """Raises Misplaced, or Invalid where the send's id can't be one."""
    check_lies_in(record, partition_of_receipt(record, receipt, partitions))


def check_keyless(record: LogRecord) -> None:
    """Raises Misplaced where a record that names no user has a key."""
    if record.key:
        raise Misplaced("is given, but there is no user_id", "key")


def check_lies_in(record: LogRecord, partition: int) -> None:
    """Raises Misplaced where the record lies in another partition."""
    if record.partition != partition:
        raise Misplaced(f"belongs to partition {partition}, the record lies in {record.partition}", "key")


def partition_of_receipt(record: LogRecord, receipt: Receipt, partitions: int) -> int:
    """Its user's partition, or the one in its send's id where it lacks key or user. Raises Misplaced, Invalid."""
    if receipt.user_id is not None and (record.key is not None or receipt.send_id is None):
        return partition_of(check_key(record, receipt.user_id), partitions)
    partition = partition_of_send(receipt.send_id or "")
    if partition is None:
        raise Invalid("is not a send's id", "send_id")
    return partition
