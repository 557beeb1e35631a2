"""Writes the settings file of a local system: free ports, fresh secrets that stay, the sandbox as its providers."""

import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomli_w
from msgspec import Struct, field

from app.config.keys import new_api_key, settings_entry
from app.config.sections import Scope
from app.private import write_private

SETTINGS_FILE = "tocsin.toml"
_SECRETS_FILE = "secrets.json"

#: The development keys: source and scopes, by id.
_API_KEYS: dict[str, tuple[str, tuple[Scope, ...]]] = {
    "demo": ("demo", ("send", "campaign", "read")),
    "admin": ("", ("admin",)),
}


class Secrets(Struct, frozen=True, kw_only=True):
    """Kept from one run to the next, so that what was pasted once works again."""

    api_keys: dict[str, str] = field(
        default_factory=lambda: {key_id: new_api_key(key_id, *grants) for key_id, grants in _API_KEYS.items()}
    )
    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    signing_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))


def kept_secrets(folder: Path) -> Secrets:
    """The secrets of this folder, made the first time."""
    path = folder / _SECRETS_FILE
    if not path.exists():
        write_private(path, msgspec.json.encode(Secrets()))
    return msgspec.json.decode(path.read_bytes(), type=Secrets)


def write_settings(
    folder: Path,
    bootstrap: str,
    gateway_port: int,
    providers: Mapping[str, Any],
    kept: Secrets,
    partitions: int = 8,
) -> Path:
    """Writes ``tocsin.toml`` (its owner's alone) and returns its path. Keys that were added to it by hand stay."""
    path = folder / SETTINGS_FILE
    settings = {
        "kafka": {"bootstrap": bootstrap, "partitions": partitions},
        "data": {"dir": str(folder / "data")},
        "gateway": {
            "port": gateway_port,
            "public_url": f"http://127.0.0.1:{gateway_port}",
            "signing_keys": [kept.signing_key],
        },
        "auth": {
            "api_keys": [*_development_keys(kept), *_keys_added_by_hand(path)],
            "jwt": {"secret": kept.jwt_secret, "algorithms": ["HS256"]},
        },
        "providers": providers,
    }
    write_private(path, tomli_w.dumps(settings).encode())
    return path


def _development_keys(kept: Secrets) -> list[dict[str, Any]]:
    return [
        settings_entry(key, *_API_KEYS[key_id]).model_dump(exclude_unset=True) for key_id, key in kept.api_keys.items()
    ]


def _keys_added_by_hand(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    entries = tomllib.loads(path.read_text()).get("auth", {}).get("api_keys", [])
    return [entry for entry in entries if entry["id"] not in _API_KEYS]
