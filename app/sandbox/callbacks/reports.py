"""One report as it goes over the wire, and who makes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid5

from app.sandbox.callbacks.plans import Kind
from app.sandbox.records import Accepted

_NAMES = UUID("8c0b1d0a-6f2e-4c0e-9a44-3a1f6f0f5f11")


@dataclass(frozen=True, slots=True)
class Post:
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """What to report. ``number``: of the report among those of its message; ``url``: the gateway's."""

    message: Accepted
    kind: Kind
    number: int
    url: str

    @property
    def name(self) -> str:
        """The same when it is reported again."""
        message = self.message
        return str(uuid5(_NAMES, f"{message.provider} {message.provider_message_id} {self.number} {self.kind}"))


class Reporter(Protocol):
    """One vendor: its words and its signature."""

    #: What a gateway needs to verify it, as settings of the provider.
    settings: Mapping[str, Any]

    def report(self, told: Told, now_ms: int) -> Post | None:
        """None: the vendor has no word for it."""
        ...

    def inbound(self, sender: str, said: str, name: str, url: str, now_ms: int) -> Post | None:
        """A text that came in; None: it is no vendor of SMS."""
        ...
