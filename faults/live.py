"""A client of a live inbox, as an app is one: it reads the page once, follows the stream, and comes back whenever that
ends. What it was given that can't be is kept in ``wrong``."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

_FOREVER = aiohttp.ClientTimeout(total=None, sock_connect=5)
_ONE_CALL = aiohttp.ClientTimeout(total=20)
_AGAIN_S = 0.1


class LiveClient:
    """Takes the ``gateways`` (URLs) in turn, one for each stream. ``token``: the user's."""

    def __init__(self, http: aiohttp.ClientSession, gateways: Sequence[str], user_id: str, token: str) -> None:
        self.user_id = user_id
        self.items: list[dict[str, Any]] = []
        self.counts: dict[str, int] = {}
        #: Each event: id, name and data, as JSON.
        self.events: list[tuple[str, str, str]] = []
        self.wrong: list[str] = []
        self._last_id = "0"
        self._http = http
        self._gateways = gateways
        self._path = f"/v1/users/{user_id}/inbox"
        self._headers = {"Authorization": f"Bearer {token}"}

    async def follow(self) -> None:
        """Until it is cancelled."""
        while (page := await self.read("?limit=100")) is None:
            await asyncio.sleep(_AGAIN_S)
        self.items, self._last_id = page["notifications"], page["last_event_id"]
        turn = 0
        while True:
            gateway, turn = self._gateways[turn % len(self._gateways)], turn + 1
            with suppress(aiohttp.ClientError, TimeoutError):
                await self._follow_one(f"{gateway}{self._path}/stream?last_event_id={self._last_id}")
            await asyncio.sleep(_AGAIN_S)

    async def agrees(self, count: int) -> bool:
        """Whether the inbox has so many items, and what the client saw is the inbox."""
        page, counts = await self.read("?limit=100"), await self.read("/count")
        if page is None or counts is None:
            return False
        return len(page["notifications"]) == count and (page["notifications"], counts) == (self.items, self.counts)

    async def read(self, what: str = "") -> Any:
        """Of the inbox, as JSON values; None: nobody answers just now."""
        try:
            url = f"{self._gateways[-1]}{self._path}{what}"
            async with self._http.get(url, headers=self._headers, timeout=_ONE_CALL) as answer:
                return await answer.json() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def post(self, what: str) -> None:
        """A mark, once it is taken."""
        url = f"{self._gateways[-1]}{self._path}{what}"
        while True:
            try:
                async with self._http.post(url, headers=self._headers, timeout=_ONE_CALL) as answer:
                    if answer.status == 204:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(_AGAIN_S)

    async def _follow_one(self, url: str) -> None:
        is_first = True
        async with self._http.get(url, headers=self._headers, timeout=_FOREVER) as answer:
            while answer.status == 200 and (block := await answer.content.readuntil(b"\n\n")).endswith(b"\n\n"):
                lines = [line for line in block.decode().splitlines() if ": " in line]
                fields = dict(line.split(": ", 1) for line in lines)
                if "event" in fields:
                    if is_first and fields["event"] != "count":
                        self.wrong.append(f"a stream begins with {fields['event']}")
                    is_first = False
                    self._take(fields["id"], fields["event"], fields["data"])

    def _take(self, event_id: str, event: str, text: str) -> None:
        data = json.loads(text)
        known = [item["id"] for item in self.items]
        if int(event_id) < int(self._last_id):
            self.wrong.append(f"{event_id} comes after {self._last_id}")
        elif event != "count" and event_id == self._last_id:
            self.wrong.append(f"{event} {event_id} comes twice")
        self._last_id = event_id
        self.events.append((event_id, event, text))
        match event:
            case "count":
                self.counts = data
            case "notification":
                if data["id"] in known:
                    self.wrong.append(f"item {data['id']} comes twice")
                self.items.insert(0, data)
            case "update" if "all" in data:
                marks = {name: mark for name, mark in data.items() if name != "all"}
                self.items = [item | marks for item in self.items]
            case "update" if "removed" in data:
                self.items = [item for item in self.items if item["id"] != data["id"]]
            case "update":
                self.items = [item | data if item["id"] == data["id"] else item for item in self.items]
            case _:
                self.wrong.append(f"{event} though nothing was lost")


@asynccontextmanager
async def following(*clients: LiveClient) -> AsyncIterator[None]:
    """Raises what ends a client before its time."""
    tasks = [asyncio.create_task(client.follow()) for client in clients]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
