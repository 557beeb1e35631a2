"""Users of the embedded ClickHouse who may only ask: their names, and hashes of their passwords, in ``data.dir``.

A server has users of its own: for it this makes the statements that an administrator runs.
"""

import fcntl
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.private import write_private
from app.store.reading import DATABASE

_FILE = "query_users.json"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TAKEN = frozenset(("tocsin", "reader", "default"))
MOST = 100
#: So that a password can't be guessed from its hash it is made here, of 192 random bits.
_BYTES = 24


class BadQueryUser(Exception):
    """The message names what is wrong."""


def check_name(name: str) -> None:
    """Raises BadQueryUser."""
    if not _NAME.fullmatch(name):
        raise BadQueryUser("NAME: lower-case letters, digits and _, beginning with a letter, at most 32 characters")
    if name in _TAKEN:
        raise BadQueryUser(f"NAME: {name} is Tocsin's own")


def new_password() -> str:
    return secrets.token_urlsafe(_BYTES)


def hash_of(password: str) -> str:
    """In hex, as ClickHouse's ``sha256_hash`` has it."""
    return hashlib.sha256(password.encode("utf-8", "surrogateescape")).hexdigest()


class QueryUsers:
    """The file of a ``data.dir``. What changes there is seen at the next look."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / _FILE
        self._read_at: tuple[int, int] | None = None
        self._hashes: Mapping[str, str] = {}

    def hashes(self) -> Mapping[str, str]:
        """By name. With a file that can't be read nobody is let in."""
        try:
            found = self._path.stat()
        except OSError:
            self._read_at, self._hashes = None, {}
            return self._hashes
        at = (found.st_mtime_ns, found.st_ino)
        if at != self._read_at:
            try:
                self._read_at, self._hashes = at, self.read()
            except (OSError, BadQueryUser):
                self._read_at, self._hashes = at, {}
        return self._hashes

    def read(self) -> Mapping[str, str]:
        """As ``hashes``, for whoever shows or changes them. Raises OSError; BadQueryUser if the file is damaged."""
        try:
            users = json.loads(self._path.read_text("utf-8"))["users"]
            return {str(name): str(value) for name, value in users.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadQueryUser(f"{self._path} is damaged: repair it, or delete it and create all users anew") from None

    def is_known(self, name: str, password: str) -> bool:
        expected = self.hashes().get(name)
        return expected is not None and hmac.compare_digest(expected, hash_of(password))

    def add(self, name: str, password: str) -> None:
        """Raises BadQueryUser, OSError."""
        check_name(name)
        with self._alone():
            there = dict(self.read())
            if name in there:
                raise BadQueryUser(f"NAME: {name} is there already: drop it first, or choose another")
            if len(there) >= MOST:
                raise BadQueryUser(f"there are {MOST} users already: drop one first")
            self._write({**there, name: hash_of(password)})

    def drop(self, name: str) -> None:
        """Raises BadQueryUser, OSError."""
        with self._alone():
            there = dict(self.read())
            if there.pop(name, None) is None:
                raise BadQueryUser(f"NAME: there is no user {name}")
            self._write(there)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of two that change the file at once, the second waits, and finds what the first wrote."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, hashes: Mapping[str, str]) -> None:
        write_private(self._path, json.dumps({"users": hashes}, indent=2).encode())


def statements(name: str, password: str) -> str:
    """What an administrator of a server runs: a user who may read the database ``notify`` within limits.

    A quota is of one user for good: one that a former user of the name has left is replaced, or it would limit nobody.
    """
    changeable = "CHANGEABLE_IN_READONLY"
    return f"""\
CREATE SETTINGS PROFILE IF NOT EXISTS tocsin_query_user SETTINGS readonly = 1,
    max_execution_time = 30 MIN 1 MAX 30 {changeable}, max_memory_usage = 200000000 MIN 1 MAX 200000000 {changeable},
    max_result_rows {changeable}, max_result_bytes {changeable}, result_overflow_mode {changeable},
    output_format_json_quote_64bit_integers {changeable};
CREATE USER {name} IDENTIFIED WITH sha256_hash BY '{hash_of(password)}' SETTINGS PROFILE tocsin_query_user;
GRANT SELECT, SHOW ON {DATABASE}.* TO {name};
CREATE QUOTA OR REPLACE {name} FOR INTERVAL 1 minute MAX queries = 600, execution_time = 60 TO {name};"""
