"""Produces one request to notify_events: what a service does to notify a user.

The record's key is the user id, so that all of a user's records lie in one partition. The idempotency key names what
happened: the same key from the same source is the same notification, however often it is produced.
"""

import argparse
import asyncio
import json
import uuid

from aiokafka import AIOKafkaProducer


async def produce(bootstrap: str, user_id: str, topic: str, key: str) -> None:
    request = {
        "user_id": user_id,
        "event_type": "hello.world",
        "source": "examples",
        "idempotency_key": key,
        "channels": ["in_app"],
        "content": {"title": "Hello", "body": "It works."},
    }
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        written = await producer.send_and_wait(topic, json.dumps(request).encode(), key=user_id.encode())
    finally:
        await producer.stop()
    print(f"{written.topic}[{written.partition}] at {written.offset}: {key}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="a Kafka broker (default: %(default)s)")
    parser.add_argument("--user", default="ada", help="the user to notify (default: %(default)s)")
    parser.add_argument("--topic", default="notify_events", help="default: %(default)s")
    parser.add_argument("--key", default=str(uuid.uuid4()), help="the idempotency key (default: a random one)")
    options = parser.parse_args()
    asyncio.run(produce(options.bootstrap, options.user, options.topic, options.key))


if __name__ == "__main__":
    main()
