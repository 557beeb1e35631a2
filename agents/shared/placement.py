"""Whether a record lies where it belongs. Every role checks for itself; only the router moves records."""

from app.domain.partition import partition_of
from app.domain.placement import no_key, receipt_partition, user_key
from app.ports import LogRecord
from schemas.commands import AnyCommand
from schemas.decode import Misplaced
from schemas.receipts import Receipt


def check_key(record: LogRecord, user_id: str) -> bytes:
    """Returns the key. Raises Misplaced where it isn't the user's id."""
    return user_key(record.key, user_id)


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
    no_key(record.key)


def check_lies_in(record: LogRecord, partition: int) -> None:
    """Raises Misplaced where the record lies in another partition."""
    if record.partition != partition:
        raise Misplaced(f"belongs to partition {partition}, but the record is in {record.partition}", "key")


def partition_of_receipt(record: LogRecord, receipt: Receipt, partitions: int) -> int:
    """Its user's partition, or the one in its send's id where it lacks key or user. Raises Misplaced, Invalid."""
    return receipt_partition(record.key, receipt, partitions)
