"""What every benchmark works on: users with all that the policy asks of, their requests, and the policy in force.

Everything is a function of the workload's numbers, so that each process makes the same of them by itself.
"""

import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from agents.router.machine import RouterMachine
from app.domain.caps import take
from app.domain.catalog import Catalog, default_catalog
from app.domain.out import Out, Produce
from app.domain.partition import partition_of
from app.domain.policy import Policy, parse_policy
from app.domain.routing import Providers
from schemas.config import PolicyVersion, encode_config, policy_key
from schemas.instants import rfc3339
from schemas.topics import COMMANDS, CONFIG, EVENTS
from tables.rows import MemoryRows
from tables.windows import Windows, windows_of

POLICY_VERSION = 1
EVENT_TYPE, URGENT_TYPE = "order.shipped", "login.otp"
SOURCE = "shop"
#: How many places a user has taken in each cap when a benchmark begins.
PLACES = 50
#: Those that the local system's settings name.
PROVIDERS: Providers = {
    "push": frozenset(("apns", "fcm")),
    "email": frozenset(("ses",)),
    "sms": frozenset(("twilio",)),
    "in_app": frozenset(("inbox",)),
}

_ZONES = ("Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Sydney")
_HOUR_MS = 3_600_000
#: Quiet hours begin so long after the workload was made: they are asked about and never hold.
_QUIET_IN, _QUIET_FOR = timedelta(hours=10), timedelta(hours=2)

_POLICY = """
timezone: UTC
defaults:
  dedup: {{keys: 7d, content: 10m}}
  quiet_hours: {{start: "{start}", end: "{end}", channels: [push, sms]}}
categories:
  security:  {{opt_out: never, critical: true, channels: [push]}}
  orders:    {{channels: [push]}}
  social:    {{channels: [push, in_app], default: {{email: false}}}}
  marketing: {{channels: [email], consent: [sms]}}
  other:     {{channels: [in_app]}}
caps:
  - {{name: user-day, limit: 10000, window: 24h}}
  - {{name: orders-week, category: orders, limit: 10000, window: 7d}}
  - {{name: push-day, channel: push, limit: 10000, window: 24h}}
digests:
  threads: {{key: data.thread_id, window: 10m, template: order_shipped, channels: [push]}}
event_types:
  order.shipped:
    category: orders
    priority: normal
    template: order_shipped
    digest: threads
  login.otp: {{category: security, priority: critical, template: otp}}
"""


class Workload(Struct, frozen=True, kw_only=True):
    """``now_ms``: when it was made. Request ``n`` is of a random user; each user has ``PLACES`` places in each cap."""

    users: int
    events: int
    partitions: int
    now_ms: int
    seed: int = 4


def policy_text(now_ms: int) -> str:
    """Three caps with room, a digest whose key no request has, and quiet hours that don't hold."""
    start, end = _quiet_hours(now_ms, "UTC")
    return _POLICY.format(start=start, end=end)


def catalog(now_ms: int) -> Catalog:
    """What the router makes of ``config_records``."""
    templates = default_catalog().templates
    return Catalog(parse_policy(policy_text(now_ms), templates=templates), POLICY_VERSION, templates)


def config_records(now_ms: int) -> list[Produce]:
    """The policy as records of notify_config."""
    version = PolicyVersion(version=POLICY_VERSION, text=policy_text(now_ms), at=rfc3339(now_ms))
    keys = (policy_key(POLICY_VERSION), policy_key())
    return [Produce(CONFIG, key.encode(), encode_config(version), 0) for key in keys]


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


# --- users ---


def user_id(number: int) -> str:
    return f"user-{number:08}"


def commands(number: int, now_ms: int) -> list[dict[str, object]]:
    """What makes a user known: addresses, a device, preferences with quiet hours of their own."""
    name, zone = user_id(number), _ZONES[number % len(_ZONES)]
    start, end = _quiet_hours(now_ms, zone)
    said = {"user_id": name, "at": rfc3339(now_ms)}
    return [
        {
            **said,
            "type": "profile.set",
            "id": f"{name}-profile",
            "email": f"{name}@example.com",
            "email_verified": True,
            "phone": f"+4479{number % 10**8:08}",
            "phone_verified": True,
            "locale": "en-GB",
            "timezone": zone,
            "name": f"User {number:08}",
        },
        {
            **said,
            "type": "device.add",
            "id": f"{name}-device",
            "device_id": "phone",
            "platform": "ios",
            "token": f"{number:064x}",
        },
        {
            **said,
            "type": "preferences.set",
            "id": f"{name}-preferences",
            "preferences": {
                "channels": {"sms": False},
                "categories": {
                    "marketing": {"email": False},
                    "orders": {"push": True, "email": False},
                },
                "event_types": {"comment.*": {"push": False}},
                "quiet_hours": {"enabled": True, "start": start, "end": end},
                "dnd": {"enabled": False, "until": None},
            },
        },
    ]


def rows_of_users(load: Workload, first: int, last: int) -> dict[int, dict[str, dict[bytes, bytes]]]:
    """The router's rows of users ``first`` to ``last`` (not included), by partition and table.

    The machine itself makes them of the users' commands; only the places in the caps are put in directly.
    """
    policy = catalog(load.now_ms)
    machine = RouterMachine(policy, partitions=load.partitions, providers=PROVIDERS, secret=b"secret")
    stores = {p: MemoryRows() for p in range(load.partitions)}
    states = {p: machine.open(rows, p) for p, rows in stores.items()}
    chance = random.Random(f"{load.seed}-{first}")
    for number in range(first, last):
        key = user_id(number).encode()
        partition = partition_of(key, load.partitions)
        state, out = states[partition], Out()
        for command in commands(number, load.now_ms):
            machine.handle(
                Fed(COMMANDS, partition, 0, load.now_ms, key, msgspec.json.encode(command)), state, out, load.now_ms
            )
        state.windows.put(key, _places(policy.policy, chance, load.now_ms))
    for partition, rows in stores.items():
        for table in states[partition].tables():
            rows.write(table.spec.name, table.changes())
    return {p: rows.tables for p, rows in stores.items()}


def _places(policy: Policy, chance: random.Random, now_ms: int) -> Windows:
    """``PLACES`` in every cap that counts an order by push, taken one after the other in the last twelve hours."""
    places: dict[str, bytes] = {}
    apart = 12 * _HOUR_MS // PLACES
    for nth in range(PLACES):
        own_id = chance.randbytes(16)
        taken_ms = now_ms - (PLACES - nth) * apart
        for cap in policy.caps_of("orders", "push"):
            places[cap.name] = take(places.get(cap.name, b""), own_id, taken_ms, cap)
    return windows_of(places, {}, now_ms + 7 * 24 * _HOUR_MS)


def _quiet_hours(now_ms: int, zone: str) -> tuple[str, str]:
    start = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(zone)) + _QUIET_IN
    return f"{start:%H:%M}", f"{start + _QUIET_FOR:%H:%M}"


# --- requests ---


class Fed:
    """A record as the machine takes it, of what wasn't read from Kafka (or not by aiokafka)."""

    __slots__ = ("headers", "key", "offset", "partition", "timestamp", "topic", "value")

    def __init__(self, topic: str, partition: int, offset: int, timestamp: int, key: bytes, value: bytes) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
        self.key: bytes | None = key
        self.value: bytes | None = value
        self.headers: Sequence[tuple[str, bytes]] = ()


def requests(load: Workload, first: int = 0, last: int | None = None, topic: str = EVENTS) -> Iterator[Produce]:
    """Requests ``first`` to ``last``, each keyed, of users at random."""
    for number in range(first, load.events if last is None else last):
        yield request(load, number, topic)


def request(
    load: Workload, number: int, topic: str = EVENTS, event_type: str = EVENT_TYPE, user: int | None = None
) -> Produce:
    """Request ``number``; the same number is the same request, and on every topic of the same user. ``user``: whose it
    is; None: a random one's."""
    chance = random.Random(number * 2_654_435_761 + load.seed)
    name = user_id(chance.randrange(load.users) if user is None else user)
    said = {
        "user_id": name,
        "event_type": event_type,
        "source": SOURCE,
        "idempotency_key": f"{topic}-{number}",
        "data": {
            "order_id": f"A-{number:07}",
            "carrier": "Parcel Post",
            "items": 1 + number % 5,
            "total": f"{number % 900 / 10:.2f}",
            "code": f"{number % 1_000_000:06}",
        },
    }
    key = name.encode()
    return Produce(topic, key, msgspec.json.encode(said), partition_of(key, load.partitions))
