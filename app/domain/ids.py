"""Ids are functions of what they name, so that whatever is done again gets the same ones (docs/records.md#ids)."""

from hashlib import blake2b, sha1
from uuid import UUID

_KEYED = UUID("6f1c9a52-0d57-5b0e-9a39-5f5c1d3f7a10").bytes


#: The variant's two bits in place of the first two of a hexadecimal digit.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def _text(h: str, version: str) -> str:
    """The UUID of this version over 32 hexadecimal digits."""
    return f"{h[:8]}-{h[8:12]}-{version}{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


def _uuid5(name: str) -> str:
    """``str(uuid5(KEYED, name))`` without the cost of a UUID object."""
    return _text(sha1(_KEYED + name.encode()).hexdigest(), "5")


def _hashed(text: str) -> str:
    """A version 8 UUID from a hash. ``text``: its parts by line (none of which holds a control character)."""
    return _text(blake2b(text.encode(), digest_size=16).hexdigest(), "8")


def keyed_notification_id(source: str, idempotency_key: str) -> str:
    """The id of every request of this source with this key."""
    return _uuid5(f"{source}\n{idempotency_key}")


def positioned_notification_id(topic: str, partition: int, offset: int) -> str:
    """The id of a request on Kafka that has neither id nor key."""
    return _hashed(f"position\n{topic}\n{partition}\n{offset}")


def send_id(
    notification_id: str,
    user_id: str,
    recorded_ms: int,
    channel: str,
    device_id: str | None,
    step: int,
    partition: int,
    replay_id: str | None = None,
) -> str:
    """Names one send; its last four hex digits are the user's partition."""
    named = _hashed(
        f"send\n{notification_id}\n{user_id}\n{recorded_ms}\n{channel}\n{device_id or ''}\n{step}\n{replay_id or ''}"
    )
    return f"{named[:-4]}{partition:04x}"


def partition_of_send(send_id: str) -> int | None:
    """The partition in a send id's last digits; None if it isn't a UUID."""
    try:
        return int(UUID(send_id).hex[-4:], 16)
    except ValueError:
        return None


def event_id(subject: str, status: str, attempt: int | None, cause: str) -> str:
    """Names a lifecycle event by what it tells and what caused it.

    ``subject``: the send id, else notification, user and channel. ``cause``: the record's position, the receipt's or
    command's id, or the due time of the wait that ended.
    """
    return _hashed(f"event\n{subject}\n{status}\n{'' if attempt is None else attempt}\n{cause}")


def derived_id(*parts: str) -> str:
    """An id for what has no other name (a digest's notification, a receipt of ours)."""
    return _hashed("\n".join(("derived", *parts)))
