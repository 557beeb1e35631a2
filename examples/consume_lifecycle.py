"""Follows notify_lifecycle: everything that happens to a user's notifications, one line for each event.

An event may be written twice, byte for byte, after a crash: readers drop the second by its ``event_id``.
"""

import argparse
import asyncio
import json
from collections import OrderedDict

from aiokafka import AIOKafkaConsumer

#: So many event ids are remembered. A second copy comes soon after the first.
REMEMBERED = 100_000


async def follow(bootstrap: str, user_id: str, topic: str, events: int | None) -> None:
    """Prints until so many events have come; for ever if ``events`` is None."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    seen: OrderedDict[str, None] = OrderedDict()
    await consumer.start()
    try:
        async for record in consumer:
            if record.key != user_id.encode():
                continue
            event = json.loads(record.value)
            if event["event_id"] in seen:
                continue
            seen[event["event_id"]] = None
            if len(seen) > REMEMBERED:
                seen.popitem(last=False)
            where, why = event.get("channel") or "all channels", event.get("reason") or ""
            print(event["occurred_at"], event["notification_id"], where, event["status"], why, flush=True)
            if events is not None and len(seen) >= events:
                return
    finally:
        await consumer.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="a Kafka broker (default: %(default)s)")
    parser.add_argument("--user", default="ada", help="the user to follow (default: %(default)s)")
    parser.add_argument("--topic", default="notify_lifecycle", help="default: %(default)s")
    parser.add_argument("--events", type=int, help="stop after so many events (default: never)")
    options = parser.parse_args()
    asyncio.run(follow(options.bootstrap, options.user, options.topic, options.events))


if __name__ == "__main__":
    main()
