"""Records of a user go where Kafka's own clients put them."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from app.domain.partition import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [  # the vectors of the Java client's own test, UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hash_equals_the_java_clients(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


@given(st.binary(max_size=200), st.integers(1, 500))
def test_partition_equals_that_of_the_producer_for_any_key(key: bytes, partitions: int) -> None:
    chosen = DefaultPartitioner()(key, list(range(partitions)), [])

    assert murmur2(key) == aiokafka_murmur2(key)
    assert partition_of(key, partitions) == chosen
