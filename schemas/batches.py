"""What a role drew in a batch, and what came of it, so that it can be decided the same again (docs/audit.md).

One record on ``tocsin_batches`` for each checkpoint, in the partition that it is of; about 100 bytes, nothing of users.
"""

from hashlib import blake2b, sha256
from typing import Any

import msgspec
from msgspec import Struct

from schemas.decode import Undecodable


class Drawn(Struct, frozen=True, array_like=True, gc=False):
    """Records of a topic, from the offset ``first`` to ``last``, or what fell due (``topic`` "").

    ``dues``: of what fell due, ``due_mark`` of each key, one after the other.
    """

    topic: str
    count: int
    first: int = 0
    last: int = 0
    dues: bytes = b""


class Step(Struct, frozen=True, array_like=True, gc=False):
    """What was drawn at one moment (``now``, Unix ms), in this order."""

    now: int
    drawn: list[Drawn]


class Batch(Struct, frozen=True, array_like=True, gc=False):
    """``after``: the offset of the journal's latest record before it. ``steps``: the last one is the checkpoint's; what
    came to nothing before it stands first. ``catalog``: ``Catalog.mark``. ``outputs``, ``digest``: of what it
    produced. ``code``: ``app.revision.code_mark`` of who decided. ``role``: the one whose batch it is."""

    after: int
    steps: list[Step]
    catalog: bytes
    outputs: int
    digest: bytes
    code: bytes = b""
    role: str = "router"


encode_batch = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode
_encode_outputs = msgspec.msgpack.Encoder().encode


def read_batch(value: bytes) -> Batch:
    """Raises Undecodable."""
    try:
        return _decode(value)
    except msgspec.MsgspecError as error:
        raise Undecodable("is not a batch") from error


def due_mark(key: bytes) -> bytes:
    """Tells rows of the schedule apart, among those that are due at one moment."""
    return blake2b(key, digest_size=DUE_MARK_BYTES).digest()


DUE_MARK_BYTES = 4


def digest_of_outputs(outputs: Any) -> bytes:
    """``outputs``: what is to be produced, in order. (With the CPU's help SHA-256 takes half as long as BLAKE2.)"""
    return sha256(_encode_outputs(outputs)).digest()[:8]
