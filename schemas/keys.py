"""What lies on ``tocsin_keys`` (ours, compacted, one partition): the API keys that were made over HTTP, which of them
are revoked, and when keys were used last. Records are signed as announcements are (``app/domain/announcing.py``). Of a
secret only the hash is there. Times are Unix ms."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.decode import Reader, Source

_KEY, _REVOKED, _USED, _FORMER = "key:", "revoked:", "used:", "former:"

#: Of one key.
MAX_SCOPES = 50
#: A key's ``rate``, in requests a second.
LEAST_RATE, MOST_RATE = 0.01, 1_000_000.0

#: So users' tokens begin, as each is the Base64 of ``{"…``: a key of such an id would be taken for all of them.
TOKENS_BEGIN = "eyJ"
KeyId = Annotated[str, Meta(min_length=1, max_length=64, pattern=rf"^(?!{TOKENS_BEGIN})[A-Za-z0-9_-]+$(?!\n)")]
#: A whole scope. ``send:`` takes an event type, or a beginning and ``*``.
SCOPE_FORM = r"^(send|campaign|read|admin|admin:read|send:([A-Za-z0-9_.-]{1,100}|[A-Za-z0-9_.-]{0,99}\*))$(?!\n)"
Scope = Annotated[str, Meta(max_length=105, pattern=SCOPE_FORM)]
Scopes = Annotated[list[Scope], Meta(min_length=1, max_length=MAX_SCOPES)]
#: Of one key.
MAX_CERTIFICATES, MAX_CERTIFICATE_CHARACTERS = 10, 1000
#: How a key names a client certificate: by a DNS name or URI of its subjectAltName, or the SHA-256 of its public key.
CERTIFICATE_FORM = r"^(dns:[a-z0-9._-]{1,253}|uri:[!-~]{1,990}|spki:[0-9a-f]{64})$(?!\n)"
CertificateName = Annotated[str, Meta(max_length=MAX_CERTIFICATE_CHARACTERS, pattern=CERTIFICATE_FORM)]
Certificates = Annotated[list[CertificateName], Meta(min_length=1, max_length=MAX_CERTIFICATES)]
KeyRate = Annotated[float, Meta(ge=LEAST_RATE, le=MOST_RATE)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Creation = Annotated[str, Meta(min_length=1, max_length=36)]


class KeySecret(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of a key's secrets. ``sha256``: of the whole key. ``number``: the key's version that began it, so that no
    other secret of this id ever has it. ``expires_at`` None: with the key."""

    number: int
    sha256: Sha256
    created_at: int
    expires_at: int | None = None


class MadeKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as it is from now on. ``creation``: a random id, another one when a revoked key's id is taken again.
    ``version``: counts the changes of an id. ``secrets``: the oldest first. ``by``: the API key that created it.
    ``certificates``: a call must come with one of them; none: it needs none."""

    id: KeyId
    creation: Creation
    version: int
    source: Source
    scopes: list[str]
    secrets: list[KeySecret]
    created_at: int
    by: str | None = None
    rate: float | None = None
    critical: bool = True
    expires_at: int | None = None
    certificates: list[str] = []

    @property
    def key(self) -> bytes:
        return made_key(self.id)


class KeyRevoked(Struct, frozen=True, kw_only=True):
    """That creation of the key counts no more, whatever is written of it."""

    id: KeyId
    creation: Creation
    version: int
    at: int

    @property
    def key(self) -> bytes:
        return revoked_key(self.id)


class KeyUsed(Struct, frozen=True, kw_only=True):
    """About when a key was used last, with that of its secrets (0: of a key in the settings)."""

    id: KeyId
    number: int
    at: int

    @property
    def key(self) -> bytes:
        return used_key(self.id, self.number)


class FormerEnded(Struct, frozen=True, kw_only=True):
    """All keys that the installation's former secrets signed are signed with the present one, which signs this: what
    only a former one has signed counts no more."""

    at: int

    @property
    def key(self) -> bytes:
        return _FORMER.encode()


def made_key(key_id: str) -> bytes:
    return f"{_KEY}{key_id}".encode()


def revoked_key(key_id: str) -> bytes:
    return f"{_REVOKED}{key_id}".encode()


def used_key(key_id: str, number: int) -> bytes:
    return f"{_USED}{key_id}:{number}".encode()


KeyRecord = MadeKey | KeyRevoked | KeyUsed | FormerEnded

read_made_key: Reader[MadeKey] = Reader(MadeKey, own=True)
read_key_revoked: Reader[KeyRevoked] = Reader(KeyRevoked, own=True)
read_key_used: Reader[KeyUsed] = Reader(KeyUsed, own=True)
read_former_ended: Reader[FormerEnded] = Reader(FormerEnded, own=True)
encode_key_record = msgspec.json.Encoder().encode

#: By the beginning of its key, what reads the record.
READERS: dict[bytes, Reader[MadeKey] | Reader[KeyRevoked] | Reader[KeyUsed] | Reader[FormerEnded]] = {
    _KEY.encode(): read_made_key,
    _REVOKED.encode(): read_key_revoked,
    _USED.encode(): read_key_used,
    _FORMER.encode(): read_former_ended,
}
