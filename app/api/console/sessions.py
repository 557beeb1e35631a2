"""Sessions of the console: an encrypted cookie that names the key, so that any gateway takes it and none keeps it. What
else a session's browser keeps for us is sealed the same way."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from secrets import token_bytes, token_urlsafe
from typing import Final, Self

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from msgspec import Struct

COOKIE: Final = "tocsin_console"
#: A session ends so long after it began.
LASTS_S: Final = 8 * 3600
_MOST_CHARACTERS = 1000


class Session(Struct, frozen=True):
    """``fingerprint``: of the key as it was, so that a key made anew under its id ends its sessions. ``csrf``: what
    every form must send back."""

    key_id: str
    fingerprint: str
    csrf: str


class Sessions:
    """Makes and reads the cookie. ``secret``: the installation's; ``clock``: Unix seconds."""

    def __init__(self, secret: bytes, clock: Callable[[], int]) -> None:
        self._secret, self.clock = secret, clock

    @classmethod
    def of_this_process(cls, clock: Callable[[], int]) -> Self:
        """Sessions that no other process takes."""
        return cls(token_bytes(32), clock)

    def begin(self, key_id: str, key_sha256: str) -> tuple[Session, str]:
        """A new session and its cookie's value."""
        session = Session(key_id, fingerprint_of(key_sha256), token_urlsafe(24))
        return session, self.sealed("session", msgspec.json.encode(session))

    def read(self, cookie: str) -> Session | None:
        """None: no session of ours, or one that is over."""
        content = self.unsealed("session", cookie, LASTS_S) if len(cookie) <= _MOST_CHARACTERS else None
        try:
            return None if content is None else msgspec.json.decode(content, type=Session)
        except msgspec.MsgspecError:
            return None

    def sealed(self, kind: str, content: bytes) -> str:
        """For a cookie or an address: any gateway of the installation opens it, and nobody else reads or makes it."""
        return self._fernet(kind).encrypt_at_time(content, self.clock()).decode()

    def unsealed(self, kind: str, sealed: str, within_s: int) -> bytes | None:
        """None: it isn't one of ours of that kind, or is older."""
        try:
            return self._fernet(kind).decrypt_at_time(sealed.encode("ascii"), within_s, self.clock())
        except (InvalidToken, UnicodeEncodeError):
            return None

    def _fernet(self, kind: str) -> Fernet:
        return Fernet(urlsafe_b64encode(hmac.digest(self._secret, f"console {kind}".encode(), "sha256")))


def fingerprint_of(key_sha256: str) -> str:
    return sha256(key_sha256.encode()).hexdigest()[:16]
