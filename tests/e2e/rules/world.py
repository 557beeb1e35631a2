"""One running system and the people whom it tells things: what is said to it, and what can be seen from outside."""

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import jwt
import psutil
from aiokafka import AIOKafkaProducer

from app.demo.watching import LogWatch
from app.dev.system import DevSystem
from schemas.topics import COMMANDS, EVENTS, RECEIPTS
from schemas.words import ENDS
from tests.conftest import eventually

_REPOSITORY = Path(__file__).parents[3]
#: On a busy machine; nothing is judged by how long it takes.
LIMIT_S = 240.0
_LOOK_EVERY_S = 0.03
HELLO = {"title": "Hello", "body": "You."}

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    user_id: str
    email: str
    phone: str
    zone: str
    #: By platform.
    tokens: dict[str, str]

    @property
    def clock(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    def quiet_now(self) -> dict[str, Any]:
        """Preferences whose quiet hours began two hours ago on this person's clock, and end in two."""
        local = datetime.now(self.clock)
        start, end = (f"{local + timedelta(hours=hours):%H:%M}" for hours in (-2, 2))
        return {"quiet_hours": {"enabled": True, "start": start, "end": end}}


class World:
    """What a service, an app and an operator do, and what they see of it."""

    def __init__(
        self, system: DevSystem, producer: AIOKafkaProducer, session: aiohttp.ClientSession, log: LogWatch
    ) -> None:
        self.system = system
        self.asked: set[tuple[str, str]] = set()
        self._producer, self._session, self._log = producer, session, log
        self._people = 0

    @property
    def events(self) -> list[Event]:
        return self._log.events

    @property
    def dead(self) -> list[dict[str, Any]]:
        return self._log.dead

    # --- what is said to it ---

    async def person(self, *platforms: str, zone: str = "Asia/Kolkata", **profile: Any) -> Person:
        """Somebody with a device on each platform and with verified addresses, unless the profile says otherwise."""
        self._people += 1
        n, name = self._people, uuid.uuid4().hex[:8]
        tokens = {platform: uuid.uuid4().hex * 2 for platform in platforms}
        person = Person(f"{name}-{n}", f"{name}@example.com", f"+1917555{n:04d}", zone, tokens)
        reached = {"email": person.email, "email_verified": True, "phone": person.phone, "phone_verified": True}
        await self.command("profile.set", person, **{**reached, "timezone": zone, **profile})
        for platform, token in tokens.items():
            said = {"subscription": _subscription(token)} if platform == "web" else {"token": token}
            await self.command("device.add", person, device_id=platform, platform=platform, **said)
        return person

    async def awake(self, *platforms: str) -> Person:
        """Somebody without quiet hours: at what hour the test runs doesn't matter."""
        person = await self.person(*platforms)
        await self.prefer(person, quiet_hours={"enabled": False})
        return person

    async def command(self, kind: str, person: Person | None, **fields: Any) -> None:
        """Produces a command, one that is about nobody in particular to every partition."""
        said = {"type": kind, "id": str(uuid.uuid4()), "at": _now(), **fields}
        if person is not None:
            await self.produce(COMMANDS, person.user_id, {**said, "user_id": person.user_id})
            return
        for partition in sorted(await self._producer.partitions_for(COMMANDS)):
            await self._producer.send_and_wait(COMMANDS, json.dumps(said).encode(), partition=partition)

    async def prefer(self, person: Person, **preferences: Any) -> None:
        await self.command("preferences.patch", person, preferences=preferences)

    async def ask(self, person: Person, event_type: str, topic: str = EVENTS, **fields: Any) -> str:
        """Produces a request with some content, or with the fields that are given; returns its notification's id."""
        name = fields.pop("notification_id", None) or str(uuid.uuid4())
        shown = {} if {"content", "template_id"} & fields.keys() else {"content": HELLO}
        request = {"user_id": person.user_id, "event_type": event_type, "notification_id": name, **shown, **fields}
        self.asked.add((name, person.user_id))
        await self.produce(topic, person.user_id, request)
        return name

    async def receipt(self, status: str, event: Event, **fields: Any) -> None:
        """Produces what came back of an event's send, as a webhook would: knowing nothing but the send."""
        said = {"id": str(uuid.uuid4()), "occurred_at": _now(), "status": status, "send_id": event["send_id"]}
        partition = int(event["send_id"][-4:], 16)
        await self._producer.send_and_wait(RECEIPTS, json.dumps({**said, **fields}).encode(), partition=partition)

    async def subscription(self) -> dict[str, Any]:
        """A browser's, on the sandbox's push service."""
        async with self._session.post(f"{self.system.state.sandbox_url}/subscriptions") as response:
            assert response.status == 201, await response.text()
            made: dict[str, Any] = await response.json()
            return made

    async def misbehave(self, provider: str, action: str, address: str, **fields: Any) -> None:
        """The provider does so with the next request to this address."""
        url = f"{self.system.state.sandbox_url}/faults"
        fault = {"provider": provider, "action": action, "address": address, "times": 1, **fields}
        async with self._session.post(url, json=fault) as response:
            assert response.status == 201, await response.text()

    # --- what is seen of it ---

    def told(self, notification: str, channel: str | None = None) -> list[Event]:
        """The events of a notification: of a channel, or those that speak of all. One that is read twice is one."""
        found = {event["event_id"]: event for event in self.events_of(notification)}
        return [event for event in found.values() if event["channel"] == channel]

    def story(self, notification: str, channel: str | None = None) -> list[str | tuple[str, str]]:
        """Statuses in order, with the reason where there is one."""
        return [_word(event) for event in self.told(notification, channel)]

    async def end_of(self, notification: str, channel: str) -> Event:
        """Waits for its end on a channel on which it has one send."""

        def ends() -> list[Event]:
            return [event for event in self.told(notification, channel) if event["status"] in ENDS]

        await self.until(lambda: bool(ends()))
        return ends()[0]

    async def becomes(self, notification: str, channel: str | None, status: str, reason: str | None = None) -> Event:
        """Waits for an event and returns it; fails with what was told instead."""

        def found() -> list[Event]:
            told = self.told(notification, channel)
            return [event for event in told if (event["status"], event["reason"]) == (status, reason)]

        try:
            await self.until(lambda: bool(found()))
        except TimeoutError:
            told = [(event["channel"], _word(event)) for event in self.events_of(notification)]
            raise AssertionError(f"{channel} never became {status}, {reason}; told was {told}") from None
        return found()[0]

    async def until(self, question: Callable[[], bool]) -> None:
        """Waits until the answer, by what is seen here, is yes."""
        async with asyncio.timeout(LIMIT_S):
            while not question():
                await asyncio.sleep(_LOOK_EVERY_S)

    def events_of(self, notification: str) -> list[Event]:
        return [event for event in self.events if event["notification_id"] == notification]

    async def shown(self, notification: str) -> list[dict[str, Any]]:
        """What phones and mailboxes show of it, in order."""
        sends = {event["send_id"] for event in self.events_of(notification) if event["send_id"]}
        found = [message for send in sends for message in await self.in_sandbox("accepted", send_id=send)]
        return sorted(found, key=lambda message: int(message["seq"]))

    async def in_sandbox(self, book: str, **filters: str) -> list[dict[str, Any]]:
        url = f"{self.system.state.sandbox_url}/{book}"
        async with self._session.get(url, params=filters) as response:
            found: list[dict[str, Any]] = (await response.json())[book]
            return found

    async def post(self, path: str, headers: dict[str, str], **body: Any) -> Any:
        """A service's call with headers of its own; returns the answer's body."""
        state = self.system.state
        headers = {"Authorization": f"Bearer {state.api_keys['demo']}", **headers}
        async with self._session.post(state.gateway_url + path, headers=headers, json=body) as response:
            assert response.status == 202, await response.text()
            return await response.json()

    async def api(self, method: str, path: str, as_user: Person | None = None, key: str = "admin", **body: Any) -> Any:
        """An HTTP call by a service, or by a user's own app, that has to go well; returns the answer's body."""
        status, answer = await self.call(method, path, as_user, key, **body)
        assert status < 300, answer
        return answer

    async def call(
        self, method: str, path: str, as_user: Person | None = None, key: str = "admin", **body: Any
    ) -> tuple[int, Any]:
        """The same, however it goes; returns status and body."""
        state = self.system.state
        token = state.api_keys[key]
        if as_user:
            token = jwt.encode({"sub": as_user.user_id, "exp": time.time() + 3600}, state.jwt_secret)
        headers = {"Authorization": f"Bearer {token}"}
        url = state.gateway_url + path
        async with self._session.request(method, url, headers=headers, json=body or None) as response:
            answer = await response.read()
            return response.status, json.loads(answer) if answer else None

    async def inbox_holds(self, person: Person, *notifications: str) -> None:
        """Waits until these are the items in the person's inbox, newest first."""

        async def so_it_is() -> bool:
            page = await self.api("GET", f"/v1/users/{person.user_id}/inbox", as_user=person)
            return [item["id"] for item in page["notifications"]] == list(notifications)

        await eventually(so_it_is, LIMIT_S)

    async def tocsin(self, *arguments: str) -> str:
        """What a command of ours prints; it has to end well."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app.cli",
            *arguments,
            cwd=_REPOSITORY,
            env={**self.system.environment, "TOCSIN_API_KEY": self.system.state.api_keys["admin"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    @contextmanager
    def stopped(self, role: str) -> Iterator[None]:
        """The role stands still, and knows nothing of it."""
        pid = self.system.processes[role].pid
        assert pid is not None
        process = psutil.Process(pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    async def produce(self, topic: str, key: str, record: dict[str, Any]) -> None:
        await self._producer.send_and_wait(topic, json.dumps(record).encode(), key=key.encode())


@asynccontextmanager
async def reaching(system: DevSystem) -> AsyncIterator[World]:
    producer = AIOKafkaProducer(bootstrap_servers=system.state.kafka_bootstrap, acks="all", enable_idempotence=True)
    log = LogWatch(system.state.kafka_bootstrap)
    async with aiohttp.ClientSession() as session:
        await producer.start()
        try:
            await log.start()
            yield World(system, producer, session, log)
        finally:
            await log.stop()
            await producer.stop()


def _subscription(token: str) -> dict[str, Any]:
    """A browser's, with keys of the right form."""
    keys = {"p256dh": "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM"}
    return {"endpoint": f"https://push.example.com/{token}", "keys": {**keys, "auth": "tBHItJI5svbpez7KI4CCXg"}}


def in_s(seconds: float) -> str:
    """The time in so many seconds."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def _now() -> str:
    return in_s(0)


def _word(event: Event) -> str | tuple[str, str]:
    return (event["status"], event["reason"]) if event["reason"] else event["status"]
