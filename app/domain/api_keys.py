"""API keys that are made over HTTP: how they come to be, change and end. Decisions only."""

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from schemas.decode import Invalid
from schemas.instants import rfc3339
from schemas.keys import KeyRevoked, KeySecret, MadeKey

#: How many keys may count at once, and how many ids may ever have been used: all of them are in every gateway's memory.
MOST_KEYS, MOST_IDS = 1_000, 10_000
#: How long a secret goes on after another one was made, unless it is said: and at most.
DEFAULT_OVERLAP = "24h"
MOST_OVERLAP_MS = 30 * 86_400_000
_MOST_SECRETS = 2
#: The number of the secret of a key in the settings: it has only one.
IN_SETTINGS = 0


class NotNow(Exception):
    """The key can't be changed like this as it is now."""


def whole_key(key_id: str, secret: str) -> str:
    """What a service sends as its credentials."""
    return f"{key_id}.{secret}"


def hash_of(credential: str) -> str:
    """Of the whole key, in hex."""
    return sha256(credential.encode(errors="surrogateescape")).hexdigest()


def in_words(
    key_id: str,
    scopes: Sequence[str],
    source: str,
    expires_at: int | None,
    *,
    critical: bool,
    certificates: Sequence[str],
) -> str:
    """What a key may do, what matters most first: a long list of event types hides nothing."""
    plain = [scope for scope in scopes if ":" not in scope or scope == "admin:read"]
    limited = [scope for scope in scopes if scope not in plain]
    shown = [*plain, *([f"{len(limited)} of event types"] if limited else [])]
    parts = [f"{key_id} ({', '.join(shown)}) of {source or 'no source'}"]
    parts += [f"until {rfc3339(expires_at)}"] if expires_at is not None else []
    parts += [] if critical else ["not critical"]
    parts += [f"bound to {' or '.join(certificates)}"] if certificates else []
    return ", ".join(parts) + (f": {', '.join(limited)}" if limited else "")


def check_expiry(expires_at: int | None, now: int) -> None:
    """Raises Invalid for one that is past."""
    if expires_at is not None and expires_at <= now:
        raise Invalid("must be in the future", "expires_at")


def check_overlap(ms: int) -> None:
    """Raises Invalid for more than there may be."""
    if ms > MOST_OVERLAP_MS:
        raise Invalid("is more than 30d", "overlap")


def rotated(made: MadeKey, sha256_of_new: str, overlap_ms: int, now: int) -> MadeKey:
    """The key with a new secret. The one before it ends when the overlap is over; without overlap all former ones end
    now. Raises NotNow where two go on already, or the key has expired."""
    if made.expires_at is not None and made.expires_at <= now:
        raise NotNow("the key has expired: revoke it, then make it again")
    going_on = live_secrets(made.secrets, now) if overlap_ms else []
    if len(going_on) >= _MOST_SECRETS:
        ends = going_on[0].expires_at
        until = f" until {rfc3339(ends)}" if ends is not None else ""
        raise NotNow(
            f"two of its secrets count{until}: end one first (DELETE /v1/keys/{made.id}/secrets/NUMBER), or rotate "
            "with an overlap of 0s, which ends both"
        )
    version = made.version + 1
    before = [msgspec.structs.replace(secret, expires_at=now + overlap_ms) for secret in going_on]
    new = KeySecret(number=version, sha256=sha256_of_new, created_at=now)
    return msgspec.structs.replace(made, version=version, secrets=[*before, new])


def without_secret(made: MadeKey, number: int, now: int) -> MadeKey:
    """The key without one of its secrets; the one that is left goes on with the key. Raises LookupError where there is
    none of that number, NotNow where it is the only one."""
    going_on = live_secrets(made.secrets, now)
    left = [secret for secret in going_on if secret.number != number]
    if len(left) == len(going_on):
        raise LookupError(number)
    if not left:
        raise NotNow("it is the key's only secret: revoke the key (DELETE /v1/keys/ID), or rotate it")
    # What was left to end soon, as there was a newer one, is the only one again.
    last = msgspec.structs.replace(left[-1], expires_at=None)
    return msgspec.structs.replace(made, version=made.version + 1, secrets=[*left[:-1], last])


def revoked(made: MadeKey, now: int) -> KeyRevoked:
    return KeyRevoked(id=made.id, creation=made.creation, version=made.version, at=now)


def is_revoked(made: MadeKey, by: KeyRevoked | None) -> bool:
    """``by``: what was written last of the id."""
    return by is not None and (by.creation == made.creation or made.version <= by.version)


def live_secrets(secrets: Sequence[KeySecret], now: int) -> list[KeySecret]:
    """Those that haven't ended."""
    return [secret for secret in secrets if secret.expires_at is None or now < secret.expires_at]
