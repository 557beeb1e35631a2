"""How far a consumer group has come, for whoever isn't in it."""

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


async def committed_offsets(client_options: Mapping[str, Any], group: str) -> dict[TopicPartition, int]:
    """The next offset of each partition that the group has committed; those never committed are left out.

    Raises KafkaError.
    """
    return (await committed_by_group(client_options, [group]))[group]


async def committed_by_group(
    client_options: Mapping[str, Any], groups: Iterable[str]
) -> dict[str, dict[TopicPartition, int]]:
    """The same of several groups."""
    admin = AIOKafkaAdminClient(**client_options)
    try:
        await admin.start()
        found = {group: await admin.list_consumer_group_offsets(group) for group in groups}
    finally:
        await admin.close()
    return {
        group: {place: at.offset for place, at in offsets.items() if at.offset >= 0} for group, offsets in found.items()
    }
