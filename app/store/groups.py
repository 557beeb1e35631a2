"""How far a consumer group has come, for whoever isn't in it."""

from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


async def committed_offsets(client_options: Mapping[str, Any], group: str) -> dict[TopicPartition, int]:
    """The next offset of each partition that the group has committed; those never committed are left out.

    Raises KafkaError.
    """
    admin = AIOKafkaAdminClient(**client_options)
    try:
        await admin.start()
        found = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return {place: at.offset for place, at in found.items() if at.offset >= 0}
