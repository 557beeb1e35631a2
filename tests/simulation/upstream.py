"""What comes from outside: requests, commands and receipts of a few users, some of them twice or in the wrong place."""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from random import Random
from typing import Any
from uuid import UUID

from app.domain.out import Produce
from app.domain.partition import partition_of
from schemas.instants import rfc3339
from schemas.topics import COMMANDS, EVENTS, EVENTS_BULK, EVENTS_CRITICAL, RECEIPTS
from tests.simulation.broker import Broker
from tests.simulation.vendors import Vendor

TYPES = {
    "order.shipped": 5,
    "mail.sent": 2,
    "login.otp": 4,
    "like.made": 4,
    "payment.failed": 4,
    "offer.made": 3,
    "note.filed": 1,
}
CATEGORIES = ("orders", "mail", "social", "marketing", "security")
CHANNELS = ("push", "email", "sms", "in_app")

_COMMANDS = {
    "opt_out": 6,
    "opt_in": 3,
    "dnd": 3,
    "cancel": 6,
    "erase": 2,
    "profile": 2,
    "device": 2,
    "no_device": 2,
    "active": 1,
    "suppress": 1,
}


class Upstream:
    """Acknowledged by the log as soon as it is said. ``tell``: notes what was said."""

    def __init__(
        self,
        users: Sequence[str],
        partitions: int,
        broker: Broker,
        vendors: Sequence[Vendor],
        chance: Random,
        clock: Callable[[], int],
        tell: Callable[[str], None],
    ) -> None:
        self._users, self._partitions, self._broker, self._vendors = users, partitions, broker, vendors
        self._chance, self._clock, self._tell = chance, clock, tell
        self._count = 0
        self._asked: list[str] = []

    def introduce(self) -> None:
        """Everyone has an address of each kind."""
        for number, user in enumerate(self._users):
            self._command(
                user,
                "profile.set",
                email=f"{user}@example.com",
                email_verified=True,
                phone=f"+4420718387{number:02d}",
                phone_verified=True,
            )
            for device in range(1 + number % 2):
                self._device(user, device)

    def something(self) -> None:
        kind = self._chance.random()
        if kind < 0.55:
            self._request()
        elif kind < 0.8:
            self._anything_known()
        elif kind < 0.95:
            self._receipt()
        else:
            self._nonsense()

    # --- requests ---

    def _request(self) -> None:
        chance = self._chance
        event_type = chance.choices(list(TYPES), list(TYPES.values()))[0]
        said: dict[str, Any] = {"event_type": event_type, "user_id": chance.choice(self._users)}
        if chance.random() < 0.8:
            said["notification_id"] = str(UUID(int=chance.getrandbits(128), version=4))
            self._asked.append(said["notification_id"])
        elif chance.random() < 0.5:
            said["idempotency_key"] = f"k{chance.randint(1, 5)}"
        said["data"] = {"n": chance.randint(1, 3)}
        if chance.random() < 0.2:
            said["campaign_id"] = chance.choice(("c1", "c2"))
        if chance.random() < 0.2:
            said["collapse_key"] = "x"
        if chance.random() < 0.1:
            said["priority"] = chance.choice(("low", "critical"))
        if chance.random() < 0.1:
            said["channels"] = chance.sample(CHANNELS, 2)
        if chance.random() < 0.1:
            said["send_at"] = rfc3339(self._clock() + chance.choice((500, 3_000, 3_600_000)))
        elif chance.random() < 0.1:
            said["expires_at"] = rfc3339(self._clock() + chance.choice((4_000, 20_000, 600_000)))
        topic = chance.choice((EVENTS, EVENTS, EVENTS_CRITICAL, EVENTS_BULK))
        self._say(topic, said["user_id"], said, twice=0.15, astray=0.1)

    def _nonsense(self) -> None:
        user = self._chance.choice(self._users)
        kind = self._chance.randrange(3)
        partition = partition_of(user.encode(), self._partitions)
        if kind == 0:
            self._broker.append(partition, Produce(EVENTS, user.encode(), b"{nonsense"))
        elif kind == 1:
            self._broker.append(partition, Produce(EVENTS, user.encode(), None))
        else:
            self._command(user, "preferences.set", preferences={"channels": "none"})

    # --- commands ---

    def _anything_known(self) -> None:
        chance = self._chance
        user, category = chance.choice(self._users), chance.choice(CATEGORIES)
        match chance.choices(list(_COMMANDS), list(_COMMANDS.values()))[0]:
            case "opt_out":
                wish = {"categories": {category: {chance.choice(CHANNELS): False}}}
                self._command(user, "preferences.patch", preferences=wish)
            case "opt_in":
                wish = {"categories": {category: dict.fromkeys(CHANNELS, True)}}
                self._command(user, "preferences.patch", preferences=wish)
            case "dnd":
                self._command(user, "preferences.patch", preferences={"dnd": {"enabled": chance.random() < 0.5}})
            case "cancel" if self._asked and chance.random() < 0.7:
                self._command(user, "notification.cancel", notification_id=chance.choice(self._asked[-4:]))
            case "cancel":
                self._command(user, "notification.cancel", campaign_id=chance.choice(("c1", "c2")))
            case "erase":
                self._command(user, "user.erase")
            case "profile":
                self._command(
                    user, "profile.set", email=f"{user}{chance.randint(1, 9)}@example.com", email_verified=True
                )
            case "device":
                self._device(user, chance.randrange(2))
            case "no_device":
                self._command(user, "device.remove", device_id=f"d{chance.randrange(2)}")
            case "active":
                self._command(user, "activity.seen")
            case "suppress":
                self._command(user, "suppression.add", channel="email", address=f"{user}@example.com", reason="asked")

    def _device(self, user: str, number: int) -> None:
        self._count += 1
        platform = self._chance.choice(("ios", "android"))
        token = f"token {user} {self._count}"
        if platform == "ios":
            token = sha256(token.encode()).hexdigest()
        self._command(user, "device.add", device_id=f"d{number}", platform=platform, token=token)

    def _command(self, user: str, kind: str, **fields: Any) -> None:
        self._count += 1
        said = {"type": kind, "user_id": user, "id": f"c{self._count}", "at": rfc3339(self._clock()), **fields}
        self._say(COMMANDS, user, said, twice=0.1, astray=0.0)

    # --- receipts ---

    def _receipt(self) -> None:
        made = [made for vendor in self._vendors for made in vendor.ledger if made.accepted is not None]
        if not made:
            return
        self._count += 1
        status = self._chance.choice(("delivered", "delivered", "delivered", "opened", "clicked", "bounced", "failed"))
        send_id = self._chance.choice(made).send_id
        said = {"id": f"r{self._count}", "send_id": send_id, "status": status, "occurred_at": rfc3339(self._clock())}
        if status == "bounced":
            said["reason"] = self._chance.choice(("hard", "soft"))
        self._tell(f"receipt {said}")
        for _ in range(1 + (self._chance.random() < 0.2)):
            self._broker.append(int(send_id[-4:], 16), Produce(RECEIPTS, None, json.dumps(said).encode()))

    # --- saying ---

    def _say(self, topic: str, user: str, said: dict[str, Any], twice: float, astray: float) -> None:
        partition = partition_of(user.encode(), self._partitions)
        if self._chance.random() < astray:
            partition = (partition + 1) % self._partitions
        times = 1 + (self._chance.random() < twice)
        self._tell(f"{topic}[{partition}] {said}{' twice' if times > 1 else ''}")
        for _ in range(times):
            self._broker.append(partition, Produce(topic, user.encode(), json.dumps(said).encode()))
