"""The recipients of one campaign in their order, each user once, in a file: memory doesn't grow with their number.

The file is a copy, made anew by whoever begins to run campaigns. A user's first row counts, by the chunks' places in
the log: so the order is the same whoever reads them, also where a chunk was written anew without an erased user's data.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from app.domain.erasure import user_hash
from schemas.campaigns import MOST_ERRORS, Chunk, Place, Row, RowError

#: What is written anew is overwritten at once: nothing of an erased user stays in the file.
_TABLES = """
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA secure_delete = ON;
CREATE TABLE rows (chunk INTEGER, row INTEGER, user_id TEXT, data TEXT, PRIMARY KEY (chunk, row)) WITHOUT ROWID;
CREATE TABLE users (hash BLOB PRIMARY KEY, chunk INTEGER, row INTEGER) WITHOUT ROWID;
CREATE TABLE repeats (hash BLOB, chunk INTEGER, PRIMARY KEY (hash, chunk)) WITHOUT ROWID;
CREATE TABLE chunks (place INTEGER PRIMARY KEY, key BLOB, offset INTEGER, at INTEGER);
CREATE TABLE refused (hash INTEGER PRIMARY KEY, place INTEGER, number INTEGER, error BLOB);
CREATE INDEX shown ON refused (place, number) WHERE error IS NOT NULL;
"""

_LATEST_MS = 2**63 - 1


class Listing:
    """Used by one thread at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.unlink(missing_ok=True)
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.executescript(_TABLES)
        self.recipients = 0
        self.refused = 0
        #: By the router's partition: the key behind which the next users are found; None: all were.
        self.found: dict[int, str | None] = {}
        self._found_at: dict[int, int] = {}

    def close(self) -> None:
        self._db.close()
        self._file.unlink(missing_ok=True)

    def take(
        self, offset: int, key: bytes, at: int, chunk: Chunk, is_erased: Callable[[str], bool] = lambda _: False
    ) -> None:
        """The chunk that lies there, recorded ``at`` (Unix ms). ``is_erased``: of such a user no data is kept."""
        place = offset if chunk.place is None else chunk.place
        self._db.execute("BEGIN")
        try:
            self._db.execute("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)", (place, key, offset, at))
            for number, row in enumerate(chunk.rows):
                self._take(place, number, row, is_erased)
            for number, refused in enumerate(chunk.refused):
                self._refuse(place, number, refused, chunk.errors)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        if chunk.found is not None and place >= self._found_at.get(chunk.found[0], -1):
            partition, behind = chunk.found
            self.found[partition], self._found_at[partition] = behind, place

    def _take(self, chunk: int, number: int, row: Row, is_erased: Callable[[str], bool]) -> None:
        hashed, at = user_hash(row.user_id), (chunk, number)
        data = None if row.data is None or is_erased(row.user_id) else row.data
        before = self._db.execute("SELECT chunk, row FROM users WHERE hash = ?", (hashed,)).fetchone()
        if before is not None and before < at:
            if row.data is not None:
                self._db.execute("INSERT OR IGNORE INTO repeats VALUES (?, ?)", (hashed, chunk))
            return
        if before is None:
            self.recipients += 1
        elif before > at:
            self._db.execute("DELETE FROM rows WHERE chunk = ? AND row = ?", before)
            self._db.execute("INSERT OR IGNORE INTO repeats VALUES (?, ?)", (hashed, before[0]))
        self._db.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?)", (hashed, *at))
        self._db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", (*at, row.user_id, data))

    def _refuse(self, place: int, number: int, hashed: int, errors: Sequence[RowError]) -> None:
        error = msgspec.json.encode(errors[number]) if number < len(errors) else None
        added = self._db.execute("INSERT OR IGNORE INTO refused VALUES (?, ?, ?, ?)", (hashed, place, number, error))
        self.refused += added.rowcount

    def behind(self, at: Place, most: int) -> list[tuple[Place, Row]]:
        """The next recipients, in order."""
        rows = self._db.execute(
            "SELECT chunk, row, user_id, data FROM rows WHERE (chunk, row) > (?, ?) ORDER BY chunk, row LIMIT ?",
            (at.chunk, at.row, most),
        )
        return [(Place(chunk, row), Row(user_id, data)) for chunk, row, user_id, data in rows]

    def errors(self) -> tuple[RowError, ...]:
        """Of the first rows that were refused."""
        rows = self._db.execute(
            "SELECT error FROM refused WHERE error IS NOT NULL ORDER BY place, number LIMIT ?", (MOST_ERRORS,)
        )
        return tuple(msgspec.json.decode(error, type=RowError) for (error,) in rows)

    # --- what must go ---

    def chunks(self) -> list[bytes]:
        """The keys of all of them."""
        return [key for (key,) in self._db.execute("SELECT DISTINCT key FROM chunks")]

    def forget(self, erased: Iterable[tuple[bytes, int | None]]) -> list[int]:
        """Takes the data of these users out, as far as it came before they began anew (Unix ms; None: they haven't).
        Returns the offsets of the chunks that hold some."""
        places: set[int] = set()
        for hashed, until in erased:
            before = _LATEST_MS if until is None else until
            theirs = self._db.execute(
                "SELECT chunk, row FROM users JOIN chunks ON place = chunk WHERE hash = ? AND at < ?", (hashed, before)
            )
            if (found := theirs.fetchone()) is not None:
                changed = self._db.execute(
                    "UPDATE rows SET data = NULL WHERE chunk = ? AND row = ? AND data IS NOT NULL", found
                )
                if changed.rowcount:
                    places.add(found[0])
            repeated = self._db.execute(
                "SELECT chunk FROM repeats JOIN chunks ON place = chunk WHERE hash = ? AND at < ?", (hashed, before)
            ).fetchall()
            places.update(chunk for (chunk,) in repeated)
            self._db.executemany("DELETE FROM repeats WHERE hash = ? AND chunk = ?", ((hashed, c) for (c,) in repeated))
        return [
            offset
            for place in sorted(places)
            for (offset,) in self._db.execute("SELECT offset FROM chunks WHERE place = ?", (place,))
        ]
