"""A bare server of live inboxes, which the gateway's cost is compared with: aiohttp and aiokafka, a queue for each
stream, nothing else. It knows neither who asks nor what a stream lacks, drops nobody and ends nothing.

``python -m bench.bare_inbox BOOTSTRAP PORT PARTITIONS`` is run by the benchmark ``inbox``.
"""

import asyncio
import sys
from typing import Any

import msgspec
import uvloop
from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.topics import INBOX_CHANGES

_POLL_MS = 1_000


class BareInboxes:
    def __init__(self) -> None:
        self._streams: dict[str, list[asyncio.Queue[bytes]]] = {}

    async def stream(self, request: web.Request) -> web.StreamResponse:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        user = request.match_info["user"]
        self._streams.setdefault(user, []).append(queue)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        try:
            await response.prepare(request)
            await response.write(b'id: 0\nevent: count\ndata: {"unread":0,"unseen":0}\n\n')
            while True:
                await response.write(await queue.get())
        except ConnectionError:
            return response
        finally:
            self._streams[user].remove(queue)

    async def follow(self, bootstrap: str, partitions: int) -> None:
        """The topic, from where it ends, for ever."""
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="latest")
        await consumer.start()
        consumer.assign([TopicPartition(INBOX_CHANGES, number) for number in range(partitions)])
        await consumer.seek_to_end()
        try:
            while True:
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for record in records:
                        self._tell(msgspec.json.decode(record.value))
        finally:
            await consumer.stop()

    def _tell(self, change: dict[str, Any]) -> None:
        streams = self._streams.get(change["user_id"])
        if not streams:
            return
        marks = {"id": change["notification_id"]} | {name: change[name] for name in ("seen", "read", "archived")}
        counts = {"unread": change["unread"], "unseen": change["unseen"]}
        version, encode = change["version"], msgspec.json.encode
        said = b"id: %d\nevent: update\ndata: %b\n\nid: %d\nevent: count\ndata: %b\n\n" % (
            *(version, encode(marks)),
            *(version, encode(counts)),
        )
        for queue in streams:
            queue.put_nowait(said)


async def serve(bootstrap: str, port: int, partitions: int) -> None:
    inboxes = BareInboxes()
    app = web.Application()
    app.router.add_get("/v1/users/{user}/inbox/stream", inboxes.stream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    following = asyncio.create_task(inboxes.follow(bootstrap, partitions))
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        await following
    finally:
        await runner.cleanup()


def main() -> None:
    bootstrap, port, partitions = sys.argv[1:]
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(serve(bootstrap, int(port), int(partitions)))


if __name__ == "__main__":
    main()
