"""The load: made-up users with hot ones among them, and an open loop of requests and commands, by Kafka and by HTTP.

The client tries again with the same key until it is answered, so everything that it asked for is in its log in the end.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.record.util import calc_crc32c

from app.dev.state import State
from app.domain.partition import partition_of
from faults.policy import EVENT_TYPES
from faults.record import Record, unix_ms
from tocsin.client import AsyncTocsin, Retrying, TooMany, Unavailable, Unreachable

_KEYED = uuid.UUID("6f1c9a52-0d57-5b0e-9a39-5f5c1d3f7a10")
_COMMANDS = "notify_commands"
_LANES = {"critical": "notify_events_critical", "low": "notify_events_bulk"}
_CHANNELS = ("push", "email", "sms", "in_app")
_RETRY_S = 0.3
#: Each try is seen, so the client makes one at a time.
_ONE_TRY = Retrying(attempts=1, total_s=30.0, timeout_s=30.0)
#: What goes on for as long as things are being broken, after what was planned.
_AFTERWARDS = 0.25
_HOT_SHARE, _HOT_TRAFFIC = 0.01, 0.2
#: Where in a batch the bytes begin that its checksum covers.
_CHECKED_FROM = 21


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is asked for, and of what kind; shares are of all requests."""

    notifications: int
    #: A second.
    rate: float
    #: Each request is made so often.
    times: int = 1
    by_http: float = 0.1
    critical: float = 0.05
    low: float = 0.1
    scheduled: float = 0.05
    expiring: float = 0.05
    #: Opt-outs, cancels, erasures, devices removed: as many as this share of the requests.
    commands: float = 0.04
    #: Of provider calls that fail, chosen by chance.
    errors: float = 0.2


class Load:
    """Needs a running system. ``run`` begins every user's id, so that runs don't share any."""

    def __init__(
        self, state: State, record: Record, run: str, shape: Shape, random: Random, partitions: int = 8
    ) -> None:
        self._state = state
        self._partitions = partitions
        self._record = record
        self._run = run
        self._shape = shape
        self._random = random
        self._users = [f"{run}-{number:04d}" for number in range(max(20, shape.notifications // 5))]
        self._hot = self._users[: max(1, round(len(self._users) * _HOT_SHARE))]
        self._tasks: set[asyncio.Task[object]] = set()
        self._devices: dict[str, list[str]] = {}
        self._cancellable: list[tuple[str, str, str]] = []
        self._named = 0
        self._enough = asyncio.Event()
        self.asked = 0
        self.commanded = 0
        self.seconds = 0.0

    @property
    def users(self) -> list[str]:
        return self._users

    def neighbour_of(self, user: str) -> str:
        """Another user whose records lie in the same partition."""
        return self._random.choice([other for other in self._at(self._partition(user)) if other != user] or [user])

    def elsewhere(self, user: str) -> str:
        """A user whose records lie in another partition."""
        return next(other for other in self._users if self._partition(other) != self._partition(user))

    def _at(self, partition: int) -> list[str]:
        return [user for user in self._users if self._partition(user) == partition]

    def _partition(self, user: str) -> int:
        return partition_of(user.encode(), self._partitions)

    def end(self) -> None:
        """It may end as soon as it has asked for what was planned; until then it goes on for as long."""
        self._enough.set()

    async def run(self) -> None:
        """Makes the users known, then asks; returns when everything that was asked for is acknowledged."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._state.kafka_bootstrap, acks="all", linger_ms=5, max_request_size=16 << 20
        )
        async with _connections() as http:
            self._service = self._service_over(http)
            await self._producer.start()
            try:
                await self._introduce()
                await self._ask_for_all()
                while self._tasks:
                    await asyncio.gather(*self._tasks)
            finally:
                for task in self._tasks:
                    task.cancel()
                await self._producer.stop()

    def _service_over(self, http: httpx.AsyncClient) -> AsyncTocsin:
        return AsyncTocsin(self._state.gateway_url, self._state.api_keys["demo"], http=http, retrying=_ONE_TRY)

    # --- people ---

    async def _introduce(self) -> None:
        await asyncio.gather(*(self._introduce_one(n, user) for n, user in enumerate(self._users)))

    async def _introduce_one(self, number: int, user: str) -> None:
        chance = self._random.random
        profile: dict[str, Any] = {"locale": "en", "name": f"User {number}"}
        if chance() < 0.97:
            profile |= {"email": f"{user}@example.com", "email_verified": True}
        if chance() < 0.9:
            phone = f"+1917{self._random.randrange(10_000_000):07d}"
            profile |= {"phone": phone, "phone_verified": True}
        commands: list[tuple[str, dict[str, Any]]] = [("profile.set", profile)]
        for platform in self._random.choice((("ios",), ("android",), ("ios", "android"))):
            token = self._random.randbytes(32).hex() if platform == "ios" else f"fcm-{self._random.randbytes(24).hex()}"
            device = {"device_id": f"{platform}-{user}", "platform": platform, "token": token}
            self._devices.setdefault(user, []).append(device["device_id"])
            commands.append(("device.add", device))
        if chance() < 0.1:
            opted_out = {self._random.choice(("push", "email", "sms")): False}
            commands.append(("preferences.set", {"preferences": {"channels": opted_out}}))
        for kind, fields in commands:
            await self.command(kind, user, fields)

    async def newcomer(self) -> str:
        """A user of an experiment's own, whom the load neither asks for nor erases."""
        self._named += 1
        user = f"{self._run}-own-{self._named}"
        await self._introduce_one(self._named, user)
        return user

    # --- asking ---

    async def _ask_for_all(self) -> None:
        started = due = time.monotonic()
        while self.asked < self._shape.notifications or not self._enough.is_set():
            planned = self.asked < self._shape.notifications
            due += 1 / (self._shape.rate * (1 if planned else _AFTERWARDS))
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._begin_one()
            if self._random.random() < self._shape.commands:
                self._begin_command()
        self.seconds = time.monotonic() - started

    def _begin_one(self) -> None:
        self.asked += 1
        hot = self._random.random() < _HOT_TRAFFIC
        user = self._random.choice(self._hot if hot else self._users)
        body = self._request(user)
        by_http = self._random.random() < self._shape.by_http
        ask = self._post if by_http else self._produce
        for _ in range(self._shape.times):
            self._spawn(ask(f"{self._run}:{self.asked}", user, body))

    def _request(self, user: str) -> dict[str, Any]:
        chance, shape = self._random.random(), self._shape
        channels = [channel for channel in _CHANNELS if self._random.random() < 0.6] or ["push"]
        body: dict[str, Any] = {
            "user_id": user,
            "event_type": self._random.choice(EVENT_TYPES),
            "channels": channels,
            "content": {"title": f"Number {self.asked}", "body": f"The {self.asked}th of {self._run}."},
        }
        if chance < shape.critical:
            body["priority"] = "critical"
        elif chance < shape.critical + shape.low:
            body["priority"] = "low"
        chance = self._random.random()
        if chance < shape.scheduled:
            body["send_at"] = _in(self._random.uniform(1, 8))
        elif chance < shape.scheduled + shape.expiring:
            body["expires_at"] = _in(self._random.uniform(10, 30))
        return body

    async def _produce(self, key: str, user: str, body: Mapping[str, Any]) -> None:
        source = self._run
        request = {**body, "source": source, "idempotency_key": key}
        topic = _LANES.get(body.get("priority", ""), "notify_events")
        at = await self._acknowledged(topic, user.encode(), json.dumps(request).encode())
        where = {"topic": topic, "partition": at.partition, "offset": at.offset}
        self._took("kafka", user, source, key, str(uuid.uuid5(_KEYED, f"{source}\n{key}")), request, where)

    async def ask(self, user: str, *, data_text: str | None = None, **fields: Any) -> str:
        """One request of an experiment's own, by Kafka; returns the notification's id once it is acknowledged.

        ``data_text``: the data as JSON text. ``headers``, ``raw_header``, ``timestamp_ms``: see ``produce_raw``; other
        fields are the request's.
        """
        how = {name: fields.pop(name) for name in ("headers", "raw_header", "timestamp_ms") if name in fields}
        body: dict[str, Any] = {"user_id": user, "event_type": "order.shipped", "channels": ["in_app"], **fields}
        if body["event_type"] != "comment.created":
            body.setdefault("content", {"title": "Its own", "body": "Of an experiment."})
        self._named += 1
        key = f"{self._run}:own:{self._named}"
        text = json.dumps({**body, "source": self._run, "idempotency_key": key})
        if data_text is not None:
            text = f'{text[:-1]}, "data": {data_text}}}'
        topic = _LANES.get(body.get("priority", ""), "notify_events")
        at = await self.produce_raw(topic, user.encode(), text.encode(), **how)
        name = str(uuid.uuid5(_KEYED, f"{self._run}\n{key}"))
        where = {"topic": topic, "partition": at.partition, "offset": at.offset}
        self._took("kafka", user, self._run, key, name, body, where)
        return name

    async def ask_many(self, user: str, count: int, **fields: Any) -> None:
        """As many requests for one user."""
        for begun in range(0, count, 200):
            await asyncio.gather(*(self.ask(user, **fields) for _ in range(min(200, count - begun))))

    async def ask_by_http(self, user: str, refused: Callable[[str], None], **fields: Any) -> str:
        """One request of an experiment's own, by a connection of its own; returns the notification's id once it is
        acknowledged. ``refused`` hears of every try before that."""
        content = {"title": "Its own", "body": "Of an experiment."}
        self._named += 1
        body = {"user_id": user, "event_type": "order.shipped", "channels": ["in_app"], "content": content, **fields}
        async with _connections() as http:
            service = self._service_over(http)
            return await self._post(f"{self._run}:own:{self._named}", user, body, service, refused)

    async def _post(
        self,
        key: str,
        user: str,
        body: Mapping[str, Any],
        service: AsyncTocsin | None = None,
        refused: Callable[[str], None] = lambda why: None,
    ) -> str:
        asked: Any = {**body, "idempotency_key": key}
        while True:
            try:
                named = (await (service or self._service).notifications.send(**asked)).notification_id
                break
            except (TooMany, Unavailable, Unreachable) as error:
                refused(str(error))  # nothing was promised: the same key again
            await asyncio.sleep(_RETRY_S)
        self._took("http", user, "demo", key, named, dict(body), {"topic": None, "partition": None, "offset": None})
        return named

    def _took(
        self,
        via: str,
        user: str,
        source: str,
        key: str,
        name: str,
        request: Mapping[str, Any],
        where: Mapping[str, Any],
    ) -> None:
        line = {
            "at_ms": unix_ms(),
            "via": via,
            "user_id": user,
            "source": source,
            "idempotency_key": key,
            "notification_id": name,
            "event_type": request["event_type"],
            "channels": request["channels"],
            "priority": request.get("priority"),
            "expires_at_ms": _ms(request["expires_at"]) if "expires_at" in request else None,
            **where,
            "request": request,
        }
        self._record.accept(line)
        if not key.startswith(f"{self._run}:own:"):  # what an experiment counts is left alone
            self._cancellable.append((user, source, name))

    # --- commands ---

    def _begin_command(self) -> None:
        user = self._random.choice(self._users)
        match self._random.choices(("opt_out", "cancel", "remove", "erase"), weights=(5, 5, 2, 1))[0]:
            case "opt_out":
                channel = self._random.choice(("push", "email", "sms"))
                command = self.command("preferences.patch", user, {"preferences": {"channels": {channel: False}}})
            case "cancel" if self._cancellable:
                # The latest, which may be on its way at this very moment.
                user, source, name = self._random.choice(self._cancellable[-10:])
                command = self.command("notification.cancel", user, {"notification_id": name, "source": source})
            case "remove" if self._devices.get(user):
                command = self.command("device.remove", user, {"device_id": self._devices[user].pop()})
            case _:
                command = self.command("user.erase", user, {})
        self._spawn(command)

    async def command(self, kind: str, user: str, fields: Mapping[str, Any]) -> None:
        """Produces a command, and writes it down when it is acknowledged."""
        self._named += 1
        common = {"type": kind, "user_id": user, "at": _in(0), "id": f"{self._run}:command:{self._named}"}
        command = {**common, **fields}
        await self._acknowledged(_COMMANDS, user.encode(), json.dumps(command).encode())
        self._record.command(unix_ms(), command)
        self.commanded += 1

    # --- ways ---

    async def produce_raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Sequence[tuple[str, bytes | None]] = (),
        raw_header: bytes | None = None,
        timestamp_ms: int | None = None,
    ) -> Any:
        """One record as it stands; returns where it lies. ``raw_header``: the name of one header, as bytes."""
        if not headers and raw_header is None and timestamp_ms is None:
            return await self._acknowledged(topic, key, value)
        stand_in = "q" * len(raw_header or b"")
        batch = self._producer.create_batch()
        named = [*headers, *([(stand_in, b"value")] if raw_header is not None else [])]
        now = unix_ms() if timestamp_ms is None else timestamp_ms
        assert batch.append(timestamp=now, key=key, value=value, headers=named) is not None
        batch.close()
        if raw_header is not None:
            batch._buffer = _renamed(bytes(batch._build()), stand_in.encode(), raw_header)
        partition = 0 if key is None else partition_of(key, self._partitions)
        return await (await self._producer.send_batch(batch, topic, partition=partition))

    async def _acknowledged(self, topic: str, key: bytes | None, value: bytes | None) -> Any:
        while True:
            try:
                return await self._producer.send_and_wait(topic, value, key=key)
            except KafkaError as error:
                if not getattr(error, "retriable", False) and not isinstance(error, TimeoutError):
                    name = type(error).__name__
                    if name not in ("KafkaTimeoutError", "KafkaConnectionError", "RequestTimedOutError"):
                        raise
                await asyncio.sleep(_RETRY_S)

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)  # one that failed stays, for run to raise


def _connections() -> httpx.AsyncClient:
    """As many as are needed at once; the gateway is on this machine, and speaks no TLS."""
    return httpx.AsyncClient(limits=httpx.Limits(max_connections=None), verify=False)


def _renamed(batch: bytes, old: bytes, new: bytes) -> bytes:
    """The batch with another header name of the same length, and its checksum put right."""
    position = batch.rindex(old)
    changed = bytearray(batch)
    changed[position : position + len(old)] = new
    checked = bytes(changed[_CHECKED_FROM:])
    changed[_CHECKED_FROM - 4 : _CHECKED_FROM] = calc_crc32c(checked).to_bytes(4, "big")
    return bytes(changed)


def _in(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat(timespec="milliseconds")


def _ms(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1000)
