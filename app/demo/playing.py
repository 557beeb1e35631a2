"""Plays the flights: people first, then each event at its time, most by Kafka and some by HTTP, as services would."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zlib import crc32

import msgspec
from aiokafka import AIOKafkaProducer

from app.demo.balance import Recipient
from app.demo.flights import Event, Flight, Happening
from app.demo.gateway import Gateway
from app.demo.passengers import Passenger
from app.domain.ids import keyed_notification_id
from schemas.topics import COMMANDS, EVENTS, EVENTS_BULK

SOURCE = "demo"
#: One event in so many is sent by HTTP, to all whom it is for at once.
_BY_HTTP = 10
#: One request in so many is produced twice, as a service does that isn't sure of its first try.
_TWICE = 100
#: What is for one passenger in so many: who hasn't checked in yet, who wants it in writing, whose opinion is asked for.
_FOR_ONE_IN: dict[Happening, int] = {"checkin.open": 3, "delay.noted": 2, "offer.rebooking": 2, "survey.flown": 3}
_BULK: frozenset[Happening] = frozenset(("offer.rebooking", "survey.flown"))
#: On the second day: who rises early gets up; and when planes fly again, the campaign of offers is called off.
_DAWN_MIN, _CALLED_OFF_MIN = 30 * 60, 36 * 60
_GATES = 40

#: A minute of 2013, and what happens then.
Turn = tuple[int, Callable[[], Awaitable[None]]]


@dataclass(slots=True)
class Played:
    """The player's own log: what was asked for, and is now owed."""

    recipients: set[Recipient] = field(default_factory=set)
    by_kafka: int = 0
    by_http: int = 0
    produced_twice: int = 0
    malformed: int = 0
    seconds: float = 0.0
    #: Ids of the boarding calls, which phones open.
    boarding: set[str] = field(default_factory=set)
    #: When (Unix ms) a cancel of it was acknowledged.
    called_off: dict[Recipient, int] = field(default_factory=dict)


class Clock:
    """Minutes of 2013 as moments of today: ``first_min`` is now, and time runs ``speed`` times as fast."""

    def __init__(self, first_min: int, speed: float) -> None:
        self._first_min, self._speed = first_min, speed
        self._started, self._began = time.monotonic(), datetime.now(UTC)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    async def until(self, at_min: int) -> None:
        wait_s = self._after_s(at_min) - self.elapsed_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def moment(self, at_min: int) -> str:
        return (self._began + timedelta(seconds=self._after_s(at_min))).isoformat()

    def _after_s(self, at_min: int) -> float:
        return (at_min - self._first_min) * 60 / self._speed


class Player:
    """Needs a running system. ``run`` names this performance, so that each one's ids are its own."""

    def __init__(self, producer: AIOKafkaProducer, gateway: Gateway, run: str) -> None:
        self._producer = producer
        self._gateway = gateway
        self._run = run
        self._campaign = f"rebooking-{run}"
        #: Of each flight: what was asked for and isn't due yet, and for whom.
        self._reminders: dict[Flight, list[tuple[str, list[Passenger]]]] = {}
        self._offered: list[tuple[str, Passenger]] = []
        self._called_off = False
        self.played = Played()

    async def introduce(self, people: Sequence[Passenger], progress: Callable[[int], None]) -> None:
        """Makes the passengers known; returns when Kafka has acknowledged all of it."""
        for passenger in people:
            for command in _commands(passenger, self._run):
                await self._produce(COMMANDS, passenger.user_id, command)
            progress(1)
        await self._producer.flush()

    async def play(
        self,
        events: Sequence[Event],
        aboard: Mapping[Flight, Sequence[Passenger]],
        speed: float,
        progress: Callable[[int], None],
        turns: Iterable[Turn] = (),
    ) -> None:
        """Plays at ``speed`` times real time; returns when everything is acknowledged. ``turns``: what else happens."""
        clock = Clock(events[0].at_min, speed)
        people = {passenger.user_id: passenger for each in aboard.values() for passenger in each}
        own: list[Turn] = [
            (_DAWN_MIN, partial(self._wake, people.values())),
            (_CALLED_OFF_MIN, self._call_off_offers),
        ]
        due = sorted((*own, *turns), key=lambda turn: turn[0])
        for number, event in enumerate(events):
            await clock.until(event.at_min)
            while due and event.at_min >= due[0][0]:
                await due.pop(0)[1]()
            if number == len(events) // 2:
                await self._produce_malformed()
            await self._notify(event, _audience(event, aboard[event.flight]), clock, number % _BY_HTTP == 0)
            progress(1)
        for _, turn in due:
            await turn()
        await self._producer.flush()
        self.played.seconds = clock.elapsed_s

    async def _notify(self, event: Event, passengers: Sequence[Passenger], clock: Clock, by_http: bool) -> None:
        if not passengers or (self._called_off and event.happening == "offer.rebooking"):
            return
        asked = self._request(event, clock)
        made = (
            [await self._post(event, asked, passengers)]
            if by_http
            else [await self._produce_one(event, asked, passenger) for passenger in passengers]
        )
        match event.happening:
            case "checkin.open":
                self._reminders.setdefault(event.flight, []).extend(made)
            case "offer.rebooking":
                self._offered += [(name, passenger) for name, those in made for passenger in those]
            case "flight.boarding":
                self.played.boarding.update(name for name, _ in made)
            case "flight.cancelled":
                await self._call_off_reminders(event.flight)

    async def _produce_one(
        self, event: Event, asked: Mapping[str, Any], passenger: Passenger
    ) -> tuple[str, list[Passenger]]:
        key, user_id = self._key(event, passenger.user_id), passenger.user_id
        name = self._owe(key, user_id)
        times = 2 if self.played.by_kafka % _TWICE == _TWICE - 1 else 1
        topic = EVENTS_BULK if event.happening in _BULK else EVENTS
        for _ in range(times):
            await self._produce(topic, user_id, {**asked, "user_id": user_id, "source": SOURCE, "idempotency_key": key})
        self.played.by_kafka += 1
        self.played.produced_twice += times - 1
        return name, [passenger]

    async def _post(
        self, event: Event, asked: Mapping[str, Any], passengers: Sequence[Passenger]
    ) -> tuple[str, list[Passenger]]:
        those = list({passenger.user_id: passenger for passenger in passengers}.values())
        key = self._key(event, "everyone")
        everyone = [passenger.user_id for passenger in those]
        await self._gateway.service.notifications.send(**asked, user_ids=everyone, idempotency_key=key)
        names = [self._owe(key, passenger.user_id) for passenger in those]
        self.played.by_http += len(those)
        return names[0], those

    async def _call_off_reminders(self, flight: Flight) -> None:
        """Nobody is to check in for a flight that won't leave."""
        for name, passengers in self._reminders.pop(flight, ()):
            if len(passengers) > 1:
                await self._gateway.service.notifications.cancel(name)
                self._note_called_off(name, passengers)
            else:
                await self._cancel(name, passengers[0], notification_id=name)

    async def _call_off_offers(self) -> None:
        self._called_off = True
        for name, passenger in self._offered:
            await self._cancel(name, passenger, campaign_id=self._campaign)

    async def _cancel(self, name: str, passenger: Passenger, **what: str) -> None:
        command = {**_command("notification.cancel", passenger, f"{self._run}:off:{name}"), "source": SOURCE, **what}
        acknowledged = await self._produce(COMMANDS, passenger.user_id, command)
        acknowledged.add_done_callback(lambda _: self._note_called_off(name, [passenger]))

    def _note_called_off(self, name: str, passengers: Sequence[Passenger]) -> None:
        now_ms = time.time_ns() // 1_000_000
        self.played.called_off.update({(name, passenger.user_id): now_ms for passenger in passengers})

    async def _wake(self, people: Iterable[Passenger]) -> None:
        """Those who rise early say that it is no longer night for them."""
        for passenger in people:
            if passenger.gets_up:
                up = {"quiet_hours": {"enabled": False}}
                command = _command("preferences.patch", passenger, f"{self._run}:{passenger.user_id}:up")
                await self._produce(COMMANDS, passenger.user_id, {**command, "preferences": up})

    async def _produce_malformed(self) -> None:
        """One record that can't be taken, between good ones: it must harm nobody else."""
        await self._produce(EVENTS, "pax-00001", {"user_id": "pax-00001", "event_type": "not a type!"})
        self.played.malformed += 1

    async def _produce(self, topic: str, user_id: str, record: Mapping[str, Any]) -> "asyncio.Future[Any]":
        sent: asyncio.Future[Any] = await self._producer.send(
            topic, key=user_id.encode(), value=msgspec.json.encode(record)
        )
        return sent

    def _owe(self, key: str, user_id: str) -> str:
        name = keyed_notification_id(SOURCE, key)
        self.played.recipients.add((name, user_id))
        return name

    def _key(self, event: Event, whom: str) -> str:
        flight = event.flight
        return f"{self._run}:{flight.number}:{flight.scheduled_min}:{event.happening}:{event.at_min}:{whom}"

    def _request(self, event: Event, clock: Clock) -> dict[str, Any]:
        asked = {"event_type": event.happening, "data": _data(event), "created_at": datetime.now(UTC).isoformat()}
        if event.due_min is not None:
            asked["send_at"] = clock.moment(event.due_min)
        if event.happening in ("flight.delayed", "flight.gate_changed"):
            asked["collapse_key"] = f"{event.happening}:{event.flight.number}"
        if event.happening == "offer.rebooking":
            asked["campaign_id"] = self._campaign
        return asked


def _audience(event: Event, passengers: Sequence[Passenger]) -> list[Passenger]:
    share = _FOR_ONE_IN.get(event.happening, 1)
    return [passenger for passenger in passengers if crc32(passenger.user_id.encode()) % share == 0]


def _data(event: Event) -> dict[str, Any]:
    flight = event.flight
    data: dict[str, Any] = {"flight": flight.number, "origin": flight.origin, "destination": flight.destination}
    match event.happening:
        case "flight.delayed" | "delay.noted":
            data |= {"delay_minutes": event.delay_min, "departs_at": _clock(flight.scheduled_min + event.delay_min)}
        case "flight.gate_changed" | "flight.boarding":
            data["gate"] = 1 + crc32(f"{flight.number} {flight.scheduled_min}".encode()) % _GATES  # not in the data
    return data


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _command(kind: str, passenger: Passenger, name: str) -> dict[str, Any]:
    return {"type": kind, "id": name, "at": datetime.now(UTC).isoformat(), "user_id": passenger.user_id}


def _commands(passenger: Passenger, run: str) -> Iterator[dict[str, Any]]:
    name = f"{run}:{passenger.user_id}"
    yield {**_command("profile.set", passenger, f"{name}:profile"), **passenger.profile}
    command = _command("preferences.set", passenger, f"{name}:preferences")
    yield {**command, "preferences": dict(passenger.preferences)}
    for device in passenger.devices:
        yield {
            **_command("device.add", passenger, f"{name}:{device.device_id}"),
            "device_id": device.device_id,
            "platform": device.platform,
            **device.registered,
        }
