"""Plays the flights: people first, then each event at its time, most by Kafka and some by HTTP, as services would."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaProducer

from app.demo.balance import Recipient
from app.demo.flights import Event, Flight
from app.demo.passengers import Passenger
from app.domain.ids import keyed_notification_id
from schemas.topics import COMMANDS, EVENTS

SOURCE = "demo"
#: One event in so many is sent by HTTP, to all of the flight's passengers at once.
_BY_HTTP = 10
#: How long a service goes on trying while the gateway doesn't answer.
_HTTP_PATIENCE_S, _HTTP_PAUSE_S = 60.0, 0.2
#: One request in so many is produced twice, as a service does that isn't sure of its first try.
_TWICE = 100


@dataclass(slots=True)
class Played:
    """The player's own log: what was asked for, and is now owed."""

    recipients: set[Recipient] = field(default_factory=set)
    by_kafka: int = 0
    by_http: int = 0
    produced_twice: int = 0
    malformed: int = 0
    seconds: float = 0.0


class Player:
    """Needs a running system. ``run`` names this performance, so that each one's ids are its own."""

    def __init__(
        self, producer: AIOKafkaProducer, session: aiohttp.ClientSession, gateway_url: str, api_key: str, run: str
    ) -> None:
        self._producer = producer
        self._session = session
        self._url = f"{gateway_url}/v1/notifications"
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._run = run
        self.played = Played()

    async def introduce(self, people: Sequence[Passenger], told: Callable[[int], None]) -> None:
        """Makes the passengers known; returns when Kafka has acknowledged all of it."""
        for passenger in people:
            for command in _commands(passenger, self._run):
                await self._produce(COMMANDS, passenger.user_id, command)
            told(1)
        await self._producer.flush()

    async def play(
        self,
        events: Sequence[Event],
        aboard: Mapping[Flight, Sequence[Passenger]],
        speed: float,
        told: Callable[[int], None],
    ) -> None:
        """Plays at ``speed`` times real time; returns when everything is acknowledged."""
        started, first_min = time.monotonic(), events[0].at_min
        for number, event in enumerate(events):
            await _until(started + (event.at_min - first_min) * 60 / speed)
            if number == len(events) // 2:
                await self._produce_malformed()
            if number % _BY_HTTP == 0:
                await self._post(event, aboard[event.flight])
            else:
                await self._produce_all(event, aboard[event.flight])
            told(1)
        await self._producer.flush()
        self.played.seconds = time.monotonic() - started

    async def _produce_all(self, event: Event, passengers: Sequence[Passenger]) -> None:
        for passenger in passengers:
            request = _request(event) | {
                "user_id": passenger.user_id,
                "source": SOURCE,
                "idempotency_key": self._key(event, passenger.user_id),
            }
            self._owe(request["idempotency_key"], passenger.user_id)
            times = 2 if self.played.by_kafka % _TWICE == _TWICE - 1 else 1
            for _ in range(times):
                await self._produce(EVENTS, passenger.user_id, request)
            self.played.by_kafka += 1
            self.played.produced_twice += times - 1

    async def _post(self, event: Event, passengers: Sequence[Passenger]) -> None:
        user_ids = sorted({passenger.user_id for passenger in passengers})
        key = self._key(event, "everyone")
        body = _request(event) | {"user_ids": user_ids}
        async with asyncio.timeout(_HTTP_PATIENCE_S):
            while not await self._is_accepted(key, body):  # noqa: ASYNC110 (it asks another process)
                await asyncio.sleep(_HTTP_PAUSE_S)
        for user_id in user_ids:
            self._owe(key, user_id)
        self.played.by_http += len(user_ids)

    async def _is_accepted(self, key: str, body: Mapping[str, Any]) -> bool:
        """False: ask again with the same key, which can't double anything."""
        headers = {**self._headers, "Idempotency-Key": key}
        try:
            async with self._session.post(self._url, json=body, headers=headers) as answer:
                if answer.status not in (202, 429, 503):
                    raise RuntimeError(f"the gateway answered {answer.status}: {await answer.text()}")
                return answer.status == 202
        except aiohttp.ClientConnectionError:
            return False

    async def _produce_malformed(self) -> None:
        """One record that can't be taken, between good ones: it must harm nobody else."""
        await self._produce(EVENTS, "pax-00001", {"user_id": "pax-00001", "event_type": "not a type!"})
        self.played.malformed += 1

    async def _produce(self, topic: str, user_id: str, record: Mapping[str, Any]) -> None:
        await self._producer.send(topic, key=user_id.encode(), value=msgspec.json.encode(record))

    def _owe(self, key: str, user_id: str) -> None:
        self.played.recipients.add((keyed_notification_id(SOURCE, key), user_id))

    def _key(self, event: Event, whom: str) -> str:
        return f"{self._run}:{event.flight.number}:{event.flight.scheduled_min}:{event.happening}:{whom}"


def _request(event: Event) -> dict[str, Any]:
    flight = event.flight
    data: dict[str, Any] = {"flight": flight.number, "origin": flight.origin, "destination": flight.destination}
    if event.happening == "flight.delayed":
        data |= {"delay_minutes": flight.delay_min, "departs_at": _clock(flight.scheduled_min + flight.delay_min)}
    return {"event_type": event.happening, "data": data, "created_at": datetime.now(UTC).isoformat()}


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _commands(passenger: Passenger, run: str) -> Iterator[dict[str, Any]]:
    common = {"user_id": passenger.user_id, "at": datetime.now(UTC).isoformat()}
    name = f"{run}:{passenger.user_id}"
    yield {**common, "type": "profile.set", "id": f"{name}:profile", **passenger.profile}
    yield {
        **common,
        "type": "preferences.set",
        "id": f"{name}:preferences",
        "preferences": dict(passenger.preferences),
    }
    for device in passenger.devices:
        yield {
            **common,
            "type": "device.add",
            "id": f"{name}:{device.device_id}",
            "device_id": device.device_id,
            "platform": device.platform,
            "token": device.token,
        }


async def _until(moment: float) -> None:
    wait_s = moment - time.monotonic()
    if wait_s > 0:
        await asyncio.sleep(wait_s)
