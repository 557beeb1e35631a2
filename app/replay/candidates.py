"""The candidates of a replay in one partition, gathered from what happened to sends and from the sends themselves.

They are kept in a file of their own, so that memory doesn't grow with the range; it is deleted with the partition.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from app.replay.asking import names_end, names_send
from schemas.instants import parse_ms
from schemas.lifecycle import LifecycleEvent
from schemas.replay_jobs import ReplayJob
from schemas.replays import ReplayRequest, encode_replay_request
from schemas.sends import Send
from schemas.words import ENDS, Provider

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE ends (
    send_id TEXT PRIMARY KEY, queued_ms INTEGER, status TEXT, reason TEXT, provider TEXT, queued_version INTEGER,
    sending_version INTEGER
) WITHOUT ROWID;
CREATE TABLE candidates (
    notification_id TEXT, user_id TEXT, device_id TEXT, queued_ms INTEGER, accepted_ms INTEGER, place INTEGER,
    collapse_key TEXT, send_id TEXT, request BLOB, PRIMARY KEY (notification_id, user_id, device_id)
);
CREATE TABLE asked (send_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX in_order ON candidates (accepted_ms, place);
CREATE INDEX collapsing ON candidates (user_id, collapse_key, accepted_ms, place) WHERE collapse_key IS NOT NULL;
"""
_NEWER = """
SELECT notification_id FROM candidates
WHERE user_id = ? AND collapse_key = ? AND (accepted_ms, place) > (?, ?) AND notification_id != ?
ORDER BY accepted_ms DESC, place DESC LIMIT 1
"""
#: So many records are looked at before anybody else gets a turn.
AT_ONCE: Final = 200


class Candidates:
    """``order``: the channel's providers in the policy's order that have settings, for sends that don't say who could
    have carried them. Used by one thread at a time; a context manager."""

    def __init__(self, job: ReplayJob, file: Path, order: tuple[Provider, ...]) -> None:
        self._job = job
        self._order = order
        self._file = file
        file.unlink(missing_ok=True)
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.executescript(_TABLES)
        self._place = 0

    def __enter__(self) -> "Candidates":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()
        self._file.unlink(missing_ok=True)

    # --- what happened ---

    def take_events(self, events: Iterable[LifecycleEvent]) -> None:
        """The next lifecycle events of the partition, in their order; all of a send's, from its first on."""
        self._db.execute("BEGIN")
        for event in events:
            self._take_event(event)
        self._db.execute("COMMIT")

    def _take_event(self, event: LifecycleEvent) -> None:
        if event.channel != self._job.channel or event.send_id is None:
            return
        match event.status:
            case "queued":
                # Only the first counts: a send that was held by a last look is queued again.
                self._db.execute(
                    "INSERT OR IGNORE INTO ends (send_id, queued_ms, queued_version) VALUES (?, ?, ?)",
                    (event.send_id, parse_ms(event.occurred_at), event.template_version),
                )
            case "sending":
                self._db.execute(
                    "UPDATE ends SET provider = coalesce(?, provider), sending_version = ? WHERE send_id = ?",
                    (event.provider, event.template_version, event.send_id),
                )
            case status if status in ENDS:
                self._db.execute(
                    "UPDATE ends SET status = ?, reason = ? WHERE send_id = ?", (status, event.reason, event.send_id)
                )
            case _:
                pass

    # --- the sends ---

    def take_sends(self, sends: Iterable[Send]) -> None:
        """The partition's sends, once all that happened to them is known."""
        self._db.execute("BEGIN")
        for send in sends:
            self._take_send(send)
        self._db.execute("COMMIT")

    def _take_send(self, send: Send) -> None:
        filters = self._job.filters
        self._place += 1
        found = self._db.execute(
            "SELECT queued_ms, status, reason, provider, coalesce(sending_version, queued_version) FROM ends"
            " WHERE send_id = ?",
            (send.send_id,),
        ).fetchone()
        if found is None or send.channel != self._job.channel:
            return
        queued_ms, status, reason, called, version = found
        if status is None or not filters.from_ms <= queued_ms < filters.to_ms or not names_end(filters, status, reason):
            return
        carrier = called or send.provider or (self._order[0] if self._order and send.channel != "push" else None)
        if not names_send(
            filters,
            provider=carrier,
            category=send.category,
            campaign=send.campaign_id,
            event_type=send.event_type,
        ):
            return
        expires_after = self._job.expires_after_ms
        request = ReplayRequest(
            replay_id=self._job.replay_id,
            user_id=send.user_id,
            send=send,
            provider=called,
            dry_run=True,
            as_decided=self._job.as_decided,
            template_version=version,
            expires_at=None if expires_after is None else self._job.at + expires_after,
        )
        self._db.execute(
            "INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " queued_ms = excluded.queued_ms, accepted_ms = excluded.accepted_ms, place = excluded.place,"
            " collapse_key = excluded.collapse_key, send_id = excluded.send_id, request = excluded.request"
            " WHERE excluded.queued_ms > queued_ms OR (excluded.queued_ms = queued_ms AND excluded.place > place)",
            (
                send.notification_id,
                send.user_id,
                send.device_id or "",
                queued_ms,
                first_accepted(send),
                self._place,
                send.collapse_key,
                send.send_id,
                encode_replay_request(request),
            ),
        )

    # --- what comes of it ---

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM candidates").fetchone()[0]
        return count

    def leave_out(self, send_ids: Iterable[str]) -> None:
        """What was asked about before isn't asked about again."""
        self._db.executemany("INSERT OR IGNORE INTO asked VALUES (?)", ((send_id,) for send_id in send_ids))

    def requests(self) -> Iterator[ReplayRequest]:
        """In the order in which they were accepted, each with what it would be replaced by."""
        read = msgspec.json.Decoder(ReplayRequest).decode
        rows = self._db.execute(
            "SELECT request, user_id, collapse_key, accepted_ms, place, notification_id FROM candidates"
            " WHERE send_id NOT IN asked ORDER BY accepted_ms, place"
        )
        for raw, user_id, collapse_key, accepted_ms, place, notification_id in rows:
            request = read(raw)
            if collapse_key is not None:
                asked = (user_id, collapse_key, accepted_ms, place, notification_id)
                newer = self._db.execute(_NEWER, asked).fetchone()
                request = msgspec.structs.replace(request, newer=newer[0] if newer else None)
            yield request


def first_accepted(send: Send) -> int:
    """When its notification was accepted: a replayed send is as old as what it repeats."""
    return send.first_accepted_at or send.accepted_at
