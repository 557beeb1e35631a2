"""Tokens of links: what they name is encrypted and signed (AES-256-SIV, RFC 5297): nobody else reads or makes one.

The same words under the same key are the same token: all attempts of a send carry the same mail. What a token is for is
part of what is signed, so that one that opens a page never unsubscribes.
"""

import base64
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from schemas.words import Channel

Use = Literal["open", "click", "unsubscribe", "preferences"]

#: As many as a link of 2,048 characters needs, whatever user and category it belongs to.
MAX_TOKEN_CHARS = 6_000
_FORM = re.compile(rf"[A-Za-z0-9_-]{{22,{MAX_TOKEN_CHARS}}}")
_KEY_BYTES = 64


class OfSend(Struct, frozen=True, array_like=True, gc=False):
    """A send and whose it is. ``send``: the 16 bytes of its id."""

    user_id: str
    channel: Channel
    category: str
    send: bytes


class Click(Struct, frozen=True, array_like=True, gc=False):
    """A link of a mail, and where it leads."""

    sent: OfSend
    url: str


class Preferences(Struct, frozen=True, array_like=True, gc=False):
    """A user's preference page. ``until``: Unix seconds."""

    user_id: str
    until: int


NamedT = TypeVar("NamedT", OfSend, Click, Preferences)


class _Key:
    def __init__(self, signing_key: bytes) -> None:
        derived = HKDF(SHA512(), _KEY_BYTES, salt=None, info=b"tocsin link tokens 1").derive(signing_key)
        self.name = sha256(b"name\0" + derived).hexdigest()[:8]
        self.cipher = AESSIV(derived)


class Tokens:
    """Of the keys in ``gateway.signing_keys`` the first makes tokens, and all read them."""

    def __init__(self, signing_keys: Sequence[str]) -> None:
        """Raises ValueError where there is none."""
        if not signing_keys:
            raise ValueError("tokens need a signing key")
        self._keys = [_Key(key.encode()) for key in signing_keys]

    @property
    def current(self) -> str:
        """The name of the key that makes tokens; nobody can tell the key from it."""
        return self._keys[0].name

    def make(self, use: Use, named: OfSend | Click | Preferences, key: str | None = None) -> str:
        """The token. ``key``: the name of the key that made a mail's other tokens, as long as it is there."""
        maker = next((each for each in self._keys if each.name == key), self._keys[0])
        sealed = maker.cipher.encrypt(msgspec.msgpack.encode(named), [use.encode()])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def read(self, use: Use, token: str, kind: type[NamedT]) -> NamedT | None:
        """What the token names; None for one that isn't ours, or is for something else."""
        if _FORM.fullmatch(token) is None:
            return None
        try:
            sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            return None
        for key in self._keys:
            try:
                return msgspec.msgpack.decode(key.cipher.decrypt(sealed, [use.encode()]), type=kind)
            except (InvalidTag, ValueError):
                continue
            except msgspec.MsgspecError:  # of a revision that wrote something else
                return None
        return None
