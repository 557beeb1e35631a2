"""Sessions of the console: an encrypted cookie that names the key, so that any gateway takes it and none keeps it."""

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
        self._fernet = Fernet(urlsafe_b64encode(hmac.digest(secret, b"console session", "sha256")))
        self._clock = clock

    @classmethod
    def of_this_process(cls, clock: Callable[[], int]) -> Self:
        """Sessions that no other process takes."""
        return cls(token_bytes(32), clock)

    def begin(self, key_id: str, key_sha256: str) -> tuple[Session, str]:
        """A new session and its cookie's value."""
        session = Session(key_id, fingerprint_of(key_sha256), token_urlsafe(24))
        return session, self._fernet.encrypt_at_time(msgspec.json.encode(session), self._clock()).decode()

    def read(self, cookie: str) -> Session | None:
        """None: no session of ours, or one that is over."""
        if len(cookie) > _MOST_CHARACTERS:
            return None
        try:
            return msgspec.json.decode(
                self._fernet.decrypt_at_time(cookie.encode("ascii"), LASTS_S, self._clock()), type=Session
            )
        except (InvalidToken, UnicodeEncodeError, msgspec.MsgspecError):
            return None


def fingerprint_of(key_sha256: str) -> str:
    return sha256(key_sha256.encode()).hexdigest()[:16]
