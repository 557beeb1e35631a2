"""Who was erased, as ``tocsin_erasures`` says it: for whoever must not show, keep or write down what was theirs."""

from collections.abc import Mapping
from typing import Any

import structlog

from app.domain.erasure import user_hash
from app.ports import Guard, LogRecord
from app.store.follower import TopicFollower
from schemas.decode import Invalid
from schemas.erasures import (
    REDACT,
    REDACTED,
    USER,
    Erased,
    Redacted,
    ToRedact,
    read_erased,
    read_redacted,
    read_to_redact,
)
from schemas.topics import ERASURES

log = structlog.get_logger(__name__)


class ErasedUsers:
    """What was said up to now. Times are Unix ms."""

    def __init__(self) -> None:
        self._users: dict[bytes, Erased] = {}
        #: By the erasure's id: whose rows in ClickHouse are still to be redacted, and whose were.
        self.to_redact: dict[str, ToRedact] = {}
        self.redacted: dict[str, Redacted] = {}

    def take(self, record: LogRecord) -> None:
        """Takes the next record of the topic."""
        key, value = record.key or b"", record.value
        try:
            if key.startswith(USER):
                _note(self._users, bytes.fromhex(_id(key, USER)), read_erased(value) if value is not None else None)
            elif key.startswith(REDACT):
                _note(self.to_redact, _id(key, REDACT), read_to_redact(value) if value is not None else None)
            elif key.startswith(REDACTED):
                _note(self.redacted, _id(key, REDACTED), read_redacted(value) if value is not None else None)
        except (Invalid, ValueError) as invalid:
            log.warning("can't read an erasure", offset=record.offset, reason=str(invalid))

    def since(self, user_id: str, at_ms: int) -> bool:
        """Whether the user was erased at that moment or after it."""
        erased = self._users.get(user_hash(user_id)) if self._users else None
        return erased is not None and erased.erased_at >= at_ms

    def hides(self, user_id: str, at_ms: int) -> bool:
        """Whether what was recorded of the user then is of somebody who was erased, and hadn't begun anew."""
        erased = self._users.get(user_hash(user_id)) if self._users else None
        return erased is not None and (erased.until is None or at_ms < erased.until)

    def known(self) -> list[tuple[bytes, int | None]]:
        """The hash of everybody who was erased, and when they began anew."""
        return [(hashed, erased.until) for hashed, erased in self._users.items()]

    def until(self, user_id: str) -> int | None:
        """When the user began anew, if they did."""
        erased = self._users.get(user_hash(user_id))
        return erased.until if erased is not None else None

    def partition_of(self, erasure_id: str) -> int | None:
        """The partition of the erased user; None for an erasure that isn't known."""
        known = self.to_redact.get(erasure_id) or self.redacted.get(erasure_id)
        return known.partition if known is not None else None


def _note(known: dict[Any, Any], key: str | bytes, value: Any) -> None:
    if value is None:
        known.pop(key, None)
    else:
        known[key] = value


def _id(key: bytes, kind: bytes) -> str:
    return key.removeprefix(kind).decode(errors="replace")


def follow_erased(client_options: Mapping[str, Any], guard: Guard | None = None) -> tuple[ErasedUsers, TopicFollower]:
    """The users, and what keeps them up to date once it is started."""
    users = ErasedUsers()
    return users, TopicFollower(client_options, ERASURES, users.take, guard=guard)
