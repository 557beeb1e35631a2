"""Made-up passengers for real flights: a seeded generator of people with devices, wishes, hours and time zones."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from app.demo.flights import Airport, Flight
from app.sandbox.webpush import subscription

_HOME = "America/New_York"
#: People who are on far more flights than anyone: the caps are for them.
_FREQUENT_FLYERS = 4
_FREQUENT_SHARE = 0.06
_NIGHT_NOW_SHARE = 0.15
#: Of those for whom it is night; the others sleep on to the end.
_EARLY_RISER_SHARE = 0.6
_DEAD_TOKEN_SHARE = 0.02
#: What people have, and how many of a hundred.
_DEVICES = (("ios",), ("android",), ("web",), ("ios", "android"), ("android", "web"), ())
_DEVICE_WEIGHTS = (42, 30, 8, 8, 4, 8)


@dataclass(frozen=True, slots=True)
class Device:
    device_id: str
    platform: str
    #: Where its provider's sandbox finds it; of a browser its subscription's endpoint.
    address: str = field(repr=False)
    #: The fields of ``device.add`` that say so.
    registered: Mapping[str, Any] = field(repr=False)
    #: The provider will say that this token is no longer registered.
    dead: bool = False


@dataclass(frozen=True, slots=True)
class Passenger:
    user_id: str
    profile: Mapping[str, Any] = field(repr=False)
    devices: tuple[Device, ...]
    preferences: Mapping[str, Any]
    #: It is night for them, and they get up before it is over.
    gets_up: bool = False


class Passengers:
    """Who is on which flight; the same seed makes the same people. ``push_service``: where their browsers subscribe."""

    def __init__(
        self, seed: int, airports: Mapping[str, Airport], per_flight: int, now: datetime, push_service: str
    ) -> None:
        self._random = Random(seed)
        self._airports = airports
        self._per_flight = per_flight
        self._now = now
        self._push_service = push_service
        self._everyone: list[Passenger] = []
        self._frequent = [self._make(_HOME) for _ in range(_FREQUENT_FLYERS)]

    @property
    def everyone(self) -> list[Passenger]:
        return self._everyone

    def board(self, flights: Iterable[Flight]) -> dict[Flight, list[Passenger]]:
        """The passengers of each flight, ``per_flight`` of them on average."""
        return {flight: list(self._of(flight)) for flight in flights}

    def _of(self, flight: Flight) -> Iterator[Passenger]:
        airport = self._airports.get(flight.destination)
        for _ in range(self._random.randint(1, max(1, 2 * self._per_flight - 1))):
            if self._random.random() < _FREQUENT_SHARE:
                yield self._random.choice(self._frequent)
            else:
                lives_there = airport is not None and self._random.random() < 0.5
                yield self._make(airport.timezone if airport and lives_there else _HOME)

    def _make(self, timezone: str) -> Passenger:
        number = len(self._everyone) + 1
        asleep = self._random.random() < _NIGHT_NOW_SHARE
        passenger = Passenger(
            user_id=f"pax-{number:05d}",
            profile=self._profile(number, timezone),
            devices=tuple(self._devices(number)),
            preferences=self._preferences(timezone, asleep),
            gets_up=asleep and self._random.random() < _EARLY_RISER_SHARE,
        )
        self._everyone.append(passenger)
        return passenger

    def _profile(self, number: int, timezone: str) -> dict[str, Any]:
        chance = self._random.random
        profile: dict[str, Any] = {"timezone": timezone, "locale": "en-US", "name": f"Passenger {number}"}
        if chance() < 0.95:
            profile |= {"email": f"pax-{number:05d}@example.com", "email_verified": True}
        if chance() < 0.80:
            profile |= {"phone": f"+1917555{number % 10_000:04d}", "phone_verified": chance() < 0.9}
        return profile

    def _devices(self, number: int) -> Iterator[Device]:
        kinds = self._random.choices(_DEVICES, weights=_DEVICE_WEIGHTS)[0]
        for kind in kinds:
            name = self._random.randbytes(32).hex()
            dead = self._random.random() < _DEAD_TOKEN_SHARE
            address = name if kind == "ios" else f"fcm-{name[:48]}"
            registered: dict[str, Any] = {"token": address}
            if kind == "web":
                subscribed = subscription(self._push_service, name)
                address, registered = subscribed["endpoint"], {"subscription": subscribed}
            yield Device(f"{kind}-{number:05d}", kind, address, registered, dead)

    def _preferences(self, timezone: str, asleep: bool) -> dict[str, Any]:
        chance = self._random.random
        preferences: dict[str, Any] = {"quiet_hours": self._quiet_hours(timezone, asleep)}
        opted_out = {channel: False for channel, share in (("push", 0.05), ("email", 0.06)) if chance() < share}
        if opted_out:
            preferences["categories"] = {"travel": opted_out}
        if chance() < 0.10:
            preferences["channels"] = {"sms": False}
        if chance() < 0.03:
            preferences["dnd"] = {"enabled": True, "until": None}
        return preferences

    def _quiet_hours(self, timezone: str, asleep: bool) -> dict[str, Any]:
        """Eight hours of night by the passenger's own clock, which began four hours ago or begin in eight, whatever
        the hour at which the demonstration runs."""
        start = self._now.astimezone(ZoneInfo(timezone)) + timedelta(hours=-4 if asleep else 8)
        return {"enabled": True, "start": f"{start:%H}:00", "end": f"{start + timedelta(hours=8):%H}:00"}
