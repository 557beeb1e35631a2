"""Which partition a key belongs to: Kafka's default (murmur2) partitioner, as the Java client has it."""

from struct import unpack_from

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The unsigned 32-bit hash; Java's is the same bits read as signed."""
    length = len(key)
    words = length // 4
    h = _SEED ^ length
    for k in unpack_from(f"<{words}I", key):
        k = k * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if rest := key[words * 4 :]:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a keyed record on a topic with so many partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
