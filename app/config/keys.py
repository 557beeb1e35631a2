"""API keys: made here, shown once, and kept in the settings as a hash only."""

import secrets
from collections.abc import Sequence
from typing import Any

from app.config.sections import ApiKey
from app.domain.api_keys import hash_of, whole_key


def new_api_key(key_id: str, source: str, scopes: Sequence[str], **limits: Any) -> str:
    """A new key, ``ID.SECRET``; the secret has 256 bits. ``limits``: ``rate``, ``critical``, ``expires_at``, as the
    settings have them. Raises pydantic's ValidationError for a bad id, scope or limit."""
    key = whole_key(key_id, secrets.token_urlsafe(32))
    settings_entry(key, source, scopes, **limits)
    return key


def settings_entry(key: str, source: str, scopes: Sequence[str], **limits: Any) -> ApiKey:
    """What the settings hold of a key: its id, the hash of the whole of it, what it may do, and its limits."""
    key_id, _, _ = key.partition(".")
    return ApiKey(id=key_id, sha256=hash_of(key), source=source, scopes=tuple(scopes), **limits)
