"""What the checker reads and what it says, as plain values. Times are Unix milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

#: A recipient of a notification: (notification_id, user_id).
Recipient = tuple[str, str]
#: Where a record lies: (topic, partition, offset).
Place = tuple[str, int, int]


class BadRun(Exception):
    """The run can't be judged; the message names file, line and field."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that Kafka or the gateway acknowledged, as the client saw it.

    ``poison``: made to be refused; it belongs into the dead letters.
    """

    at_ms: int
    via: str
    user_id: str
    source: str
    notification_id: str | None
    idempotency_key: str | None = None
    expires_at_ms: int | None = None
    place: Place | None = None
    poison: bool = False
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that was acknowledged."""

    at_ms: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault, and how many provider calls the process that it hit may have had in flight. ``clock_ms``: by how much
    it left the workers' clock ahead of the true one (negative: behind), None for another fault."""

    at_ms: int
    until_ms: int | None
    fault: str
    role: str | None
    in_flight: int
    clock_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed offset as it was seen. ``rewound``: an operator set it on purpose."""

    at_ms: int
    group: str
    topic: str
    partition: int
    offset: int
    rewound: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A request that the sandbox received for a send.

    ``lost``: answers that it let callers miss, also of other requests, where their connection went with it.
    ``swept``: the connection went, with whatever was still on its way to the sandbox.
    """

    at_ms: int
    provider: str
    outcome: str
    address: str | None
    send_id: str | None
    attempt: int | None = None
    lost: int = 0
    swept: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the sandbox accepted."""

    at_ms: int
    provider: str
    send_id: str | None
    notification_id: str | None
    address: str


@dataclass(frozen=True, slots=True)
class Campaign:
    """One message to many, after its end.

    Attributes:
        users: whom an acknowledged upload named.
        status, recipients, produced: how it was shown last.
        holds: from when a pause or cancel was acknowledged until it was to go on (None: never).
        allowance_ms: by how much a record may be dated later than it should, on a machine that has much to do.
    """

    notification_id: str
    source: str
    users: frozenset[str]
    status: str
    recipients: int
    produced: int
    holds: tuple[tuple[int, int | None], ...]
    allowance_ms: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run was made under.

    Attributes:
        settle_ms: how long a send may be in doubt.
        slack_ms: from the start of a call to its arrival at the sandbox, at most; also what a timer may be late.
        policy: the policy document in force, as JSON; without it the documented defaults count.
    """

    name: str
    seed: int | str
    bootstrap: str
    started_ms: int
    quiesced_ms: int
    settle_ms: int = 300_000
    clickhouse_url: str | None = None
    timeout_ms: int = 15_000
    slack_ms: int = 500
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run folder's contents."""

    terms: Terms
    asked: tuple[Asked, ...]
    commands: tuple[Command, ...] = ()
    injected: tuple[Injected, ...] = ()
    committed: tuple[Committed, ...] = ()
    calls: tuple[Call, ...] = ()
    taken: tuple[Taken, ...] = ()
    campaigns: tuple[Campaign, ...] = ()

    @cached_property
    def users(self) -> frozenset[str]:
        """Whose requests these are; every other user's records are another run's."""
        return frozenset(each.user_id for each in self.asked).union(*(each.users for each in self.campaigns))

    @cached_property
    def sources(self) -> frozenset[str]:
        return frozenset((*(each.source for each in self.asked), *(each.source for each in self.campaigns)))


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


@dataclass(slots=True)
class Event:
    """A lifecycle event, as far as it is judged. ``order``: the offset of its first copy, in its user's partition."""

    notification_id: str
    user_id: str
    send_id: str | None
    status: str
    reason: str | None
    channel: str | None
    provider: str | None
    attempt: int | None
    event_type: str | None
    category: str | None
    priority: str | None
    source: str | None
    campaign_id: str | None
    at_ms: int
    order: int
    #: The time that a wait states, else None.
    until_ms: int | None
    #: A provider's code.
    error: str | None
    into: str | None
    #: Of a replay's send.
    replay_id: str | None = None
    device_id: str | None = None
    #: Of a send that is made once more: the first of them.
    of: str | None = None

    @property
    def recipient(self) -> Recipient:
        return self.notification_id, self.user_id

    def __str__(self) -> str:
        where = f"{self.channel or 'all channels'} {self.send_id or ''}".strip()
        return f"{self.notification_id} of {self.user_id}, {where}: {self.status} {self.reason or ''}".rstrip()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One invariant's. It holds if ``value`` is at most ``bound`` and nothing else speaks against it."""

    name: str
    means: str
    value: int
    bound: int = 0
    #: Cases that break it however small the value is.
    otherwise: int = 0
    #: Up to ``SHOWN`` cases that break it, in words.
    examples: tuple[str, ...] = ()
    #: What is told in full though it breaks nothing: the members of D.
    listed: tuple[Mapping[str, Any], ...] = ()

    @property
    def holds(self) -> bool:
        return self.value <= self.bound and not self.otherwise

    @property
    def verdict(self) -> str:
        return "pass" if self.holds else "FAIL"

    def as_json(self) -> dict[str, Any]:
        """``{name, means, value, bound, verdict, examples}``, and ``otherwise``, ``listed`` where there are any."""
        said = {
            "name": self.name,
            "means": self.means,
            "value": self.value,
            "bound": self.bound,
            "verdict": self.verdict,
            "examples": list(self.examples),
        }
        more = {"otherwise": self.otherwise, "listed": list(self.listed)}
        return said | {name: value for name, value in more.items() if value}


SHOWN = 10


def verdict(
    name: str,
    means: str,
    broken: list[str],
    bound: int = 0,
    *,
    value: int | None = None,
    otherwise: int = 0,
    listed: tuple[Mapping[str, Any], ...] = (),
) -> Verdict:
    """``broken``: one text a case; ``value``: how many there are, where that isn't their number."""
    value = len(broken) if value is None else value
    return Verdict(name, means, value, bound, otherwise, tuple(broken[:SHOWN]), listed)
