"""What a batch of decisions wants done: records to produce and calls to make, carried out by the runner."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Produce:
    """One record. ``partition`` None: the partition that is being handled."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(slots=True)
class Out:
    """Collects, in order. Records are durable before any call begins."""

    records: list[Produce] = field(default_factory=list)
    #: What the role's ``perform`` is to do outside (a provider call); its result comes back to ``settle``.
    calls: list[Any] = field(default_factory=list)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self.records.append(Produce(topic, key, value, partition, headers))

    def call(self, effect: Any) -> None:
        self.calls.append(effect)
