"""API keys: made here, shown once, and kept in the settings as a hash only."""

import hashlib
import secrets
from collections.abc import Sequence

from app.config.sections import ApiKey, Scope


def new_api_key(key_id: str, source: str, scopes: Sequence[Scope]) -> str:
    """A new key, ``ID.SECRET``; the secret has 256 bits. Raises pydantic's ValidationError for a bad id or scope."""
    key = f"{key_id}.{secrets.token_urlsafe(32)}"
    settings_entry(key, source, scopes)
    return key


def settings_entry(key: str, source: str, scopes: Sequence[Scope]) -> ApiKey:
    """What the settings hold of a key: its id, the hash of the whole of it, and what it may do."""
    key_id, _, _ = key.partition(".")
    sha256 = hashlib.sha256(key.encode()).hexdigest()
    return ApiKey(id=key_id, sha256=sha256, source=source, scopes=tuple(scopes))
