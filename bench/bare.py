"""The least that an HTTP server in front of Kafka can do: what comes is produced, and 202 once it is acknowledged.

``python -m bench.bare BOOTSTRAP PORT``
"""

import asyncio
import sys

import msgspec
import uvloop
from aiohttp import web
from aiokafka import AIOKafkaProducer

from schemas.topics import EVENTS


async def serve(bootstrap: str, port: int) -> None:
    """Until it is killed. The producer is set up as the gateway's."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=2, max_batch_size=256 * 1024
    )
    await producer.start()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        key = msgspec.json.decode(body)["user_id"].encode()
        await producer.send_and_wait(EVENTS, body, key=key)
        return web.Response(body=b'{"status":"accepted"}', status=202, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/notifications", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
