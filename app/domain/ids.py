"""Ids are functions of what they name, so that whatever is done again gets the same ones (contract, "Requests")."""

from hashlib import blake2b, sha1
from uuid import UUID

_KEYED = UUID("6f1c9a52-0d57-5b0e-9a39-5f5c1d3f7a10").bytes


def _text(raw: bytes | bytearray) -> str:
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _uuid5(name: str) -> str:
    """``str(uuid5(KEYED, name))`` without the cost of a UUID object."""
    raw = bytearray(sha1(_KEYED + name.encode()).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    return _text(raw)


def _hashed(parts: tuple[str, ...]) -> bytearray:
    """A version 8 UUID's bytes from a hash over the parts (none of which holds a control character)."""
    raw = bytearray(blake2b("\n".join(parts).encode(), digest_size=16).digest())
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return raw


def keyed_notification_id(source: str, idempotency_key: str) -> str:
    """The id of every request of this source with this key."""
    return _uuid5(f"{source}\n{idempotency_key}")


def positioned_notification_id(topic: str, partition: int, offset: int) -> str:
    """The id of a request on Kafka that has neither id nor key."""
    return _text(_hashed(("position", topic, str(partition), str(offset))))


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
    raw = _hashed(
        ("send", notification_id, user_id, str(recorded_ms), channel, device_id or "", str(step), replay_id or "")
    )
    raw[14:16] = partition.to_bytes(2, "big")
    return _text(raw)


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
    return _text(_hashed(("event", subject, status, "" if attempt is None else str(attempt), cause)))


def derived_id(*parts: str) -> str:
    """An id for what has no other name (a digest's notification, a receipt of ours)."""
    return _text(_hashed(("derived", *parts)))
