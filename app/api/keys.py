"""API keys: made, shown, rotated and revoked while gateways run."""

import secrets
from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from app.api.audit_log import audited
from app.api.call import Call, answer, no_content
from app.api.callers import ADMIN, ADMIN_READ
from app.api.problems import Problem, later, problem_of, unknown
from app.api.routes import Route
from app.config import ApiKey
from app.domain.api_keys import (
    DEFAULT_OVERLAP,
    IN_SETTINGS,
    MOST_IDS,
    MOST_KEYS,
    NotNow,
    check_expiry,
    check_overlap,
    hash_of,
    in_words,
    live_secrets,
    revoked,
    rotated,
    whole_key,
    without_secret,
)
from app.domain.policy import duration_ms
from app.store.publisher import PublishError
from schemas.decode import Invalid, Reader, Source
from schemas.instants import Instant, instant_ms, rfc3339, to_ms
from schemas.keys import Certificates, KeyId, KeyRate, KeyRevoked, KeySecret, MadeKey, Scopes

_PATH = "/v1/keys"
_SECRET_BYTES = 32
#: ``0s``: none.
_OVERLAP = r"^[0-9]{1,9}(ms|s|m|h|d)$(?!\n)"

#: Where a key is kept: in the settings file, or made over HTTP.
KeptIn = Literal["settings", "tocsin"]
#: ``overridden``: the settings have a key of this id, which counts in its place.
KeyState = Literal["live", "expired", "overridden"]


class KeyAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """What is misspelt is refused: it could be what limits the key. ``certificates``: it is taken with one of these
    client certificates only: ``dns:NAME``, ``uri:URI``, or ``spki:`` and the SHA-256 of the public key."""

    id: KeyId
    scopes: Scopes
    source: Source | None = None
    rate: KeyRate | None = None
    critical: bool | None = None
    expires_at: Instant | None = None
    certificates: Certificates | None = None


class RotationAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """``overlap``: for how long the secret that was the newest goes on; ``0s``: all former ones end now."""

    overlap: Annotated[str, Meta(max_length=12, pattern=_OVERLAP)] | None = None


class SecretShown(Struct, frozen=True):
    """One of a key's secrets that go on, by its number. ``expires_at`` null: with the key."""

    number: int
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class KeyShown(Struct, frozen=True):
    """``rate`` null: the gateway's own. ``created_by``: an API key. ``last_used_at``: within a minute or so; null: not
    known to have been used. ``secrets``: the oldest first; of a key in the settings none are shown.
    ``certificates``: it is taken with one of these only; empty: it needs none."""

    id: str
    source: str
    scopes: list[str]
    rate: float | None
    critical: bool
    state: KeyState
    kept_in: KeptIn
    expires_at: str | None
    created_at: str | None
    created_by: str | None
    last_used_at: str | None
    secrets: list[SecretShown]
    certificates: list[str]


class KeyMade(Struct, frozen=True):
    """``key`` is the whole of it, as it is sent with ``Authorization: Bearer``. It is shown this once."""

    id: str
    key: str
    secret: int
    scopes: list[str]
    source: str
    expires_at: str | None


class KeyRotated(Struct, frozen=True):
    """``key``: with the new secret, shown this once. ``former_expires_at``: when the one before it ends."""

    id: str
    key: str
    secret: int
    former_expires_at: str | None


class KeyList(Struct, frozen=True):
    """Those of the settings first, then those made over HTTP, the oldest first."""

    keys: list[KeyShown]


_read_asked: Reader[KeyAsked] = Reader(KeyAsked)
_read_rotation: Reader[RotationAsked] = Reader(RotationAsked)


async def get_all(call: Call) -> web.Response:
    shown = [_of_settings(call, key) for key in call.deps.callers.set_up]
    return answer(KeyList([*shown, *(_shown(call, made) for made in call.deps.keys.states.all())]))


async def get(call: Call) -> web.Response:
    key_id = call.path("id")
    if (key := _in_settings(call, key_id)) is not None:
        return answer(_of_settings(call, key))
    return answer(_shown(call, _made(call)))


async def post(call: Call) -> web.Response:
    asked = await call.read(_read_asked)
    deps, states, now = call.deps, call.deps.keys.states, call.deps.clock()
    expires_at = _expiry(asked.expires_at, now)
    if _in_settings(call, asked.id) is not None:
        raise Problem(409, "the settings file has a key with this id, which takes precedence", "id")
    if states.find(asked.id) is not None:
        raise Problem(409, "there is a key of this id: rotate it for a new secret, or revoke it first", "id")
    if asked.certificates and not deps.asks_certificates:
        raise Problem(422, "this gateway asks nobody for a certificate: set gateway.client_ca_file", "certificates")
    _check_room(call, asked.id)
    key, version = _new_key(asked.id), states.version_of(asked.id) + 1
    made = MadeKey(
        id=asked.id,
        creation=deps.new_id(),
        version=version,
        source=asked.source or "",
        scopes=list(dict.fromkeys(asked.scopes)),
        secrets=[KeySecret(number=version, sha256=hash_of(key), created_at=now)],
        created_at=now,
        by=call.service.key_id,
        rate=asked.rate,
        critical=asked.critical is not False,
        expires_at=expires_at,
        certificates=list(dict.fromkeys(asked.certificates or ())),
    )
    bound = made.certificates
    words = in_words(made.id, made.scopes, made.source, expires_at, critical=made.critical, certificates=bound)
    await audited(call, words)
    await _write(call, made)
    return answer(KeyMade(made.id, key, version, made.scopes, made.source, _instant(expires_at)), 201)


async def rotate(call: Call) -> web.Response:
    asked = await call.read(_read_rotation) if call.has_body else RotationAsked()
    made, now = _made(call), call.deps.clock()
    overlap_ms = duration_ms(asked.overlap or DEFAULT_OVERLAP)
    key = _new_key(made.id)
    try:
        check_overlap(overlap_ms)
        after = rotated(made, hash_of(key), overlap_ms, now)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    except NotNow as error:
        raise Problem(409, str(error), "overlap") from error
    former = after.secrets[0].expires_at if len(after.secrets) > 1 else None
    await audited(call, f"{made.id}, the former secret {f'until {rfc3339(former)}' if former else 'ended'}")
    await _write(call, after)
    return answer(KeyRotated(made.id, key, after.version, _instant(former)), 201)


async def delete(call: Call) -> web.Response:
    made = _made(call)
    await audited(call, made.id)
    await _write(call, revoked(made, call.deps.clock()))
    return no_content()


async def delete_secret(call: Call) -> web.Response:
    made, number = _made(call), call.path("number")
    try:
        # A number as it was shown: anything else is not one of the key's.
        wanted = int(number) if number.isascii() and number.isdigit() and len(number) <= 18 else -1
        after = without_secret(made, wanted, call.deps.clock())
    except LookupError:
        raise unknown("the secret") from None
    except NotNow as error:
        raise Problem(409, str(error), "number") from error
    await audited(call, f"{made.id}, secret {wanted}")
    await _write(call, after)
    return no_content()


def _new_key(key_id: str) -> str:
    return whole_key(key_id, secrets.token_urlsafe(_SECRET_BYTES))


async def _write(call: Call, record: MadeKey | KeyRevoked) -> None:
    """Raises Problem 409 where the same key was changed elsewhere at the same time, 503 where it isn't known whether it
    is changed."""
    try:
        counts = await call.deps.keys.write(record)
    except (PublishError, TimeoutError) as error:
        raise later(f"the log hasn't acknowledged it: look at GET {_PATH}/{record.id} before you repeat it") from error
    if not counts:
        raise Problem(409, "the key was changed by another call at the same time: look at it, then repeat this", "id")


def _made(call: Call) -> MadeKey:
    """Raises Problem 404; 409 for a key that only the settings can change."""
    key_id = call.path("id")
    made = call.deps.keys.states.find(key_id)
    if made is not None:
        return made
    if call.request.method != "GET" and _in_settings(call, key_id) is not None:
        raise Problem(409, "this key is in the settings file, and is changed there", "id")
    raise unknown("the key")


def _in_settings(call: Call, key_id: str) -> ApiKey | None:
    return next((key for key in call.deps.callers.set_up if key.id == key_id), None)


def _check_room(call: Call, key_id: str) -> None:
    states = call.deps.keys.states
    if len(states.all()) >= MOST_KEYS:
        raise Problem(422, f"there are {MOST_KEYS} keys: revoke some first", "id")
    if states.version_of(key_id) == 0 and states.ids >= MOST_IDS:
        raise Problem(422, f"{MOST_IDS} ids have been used: reuse the id of a revoked key", "id")


def _expiry(written: str | None, now: int) -> int | None:
    """Raises Problem."""
    try:
        expires_at = None if written is None else instant_ms(written, "expires_at")
        check_expiry(expires_at, now)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    return expires_at


def _shown(call: Call, made: MadeKey) -> KeyShown:
    now, uses = call.deps.clock(), call.deps.keys.uses
    over = made.expires_at is not None and made.expires_at <= now
    shown = [
        SecretShown(
            each.number,
            rfc3339(each.created_at),
            _instant(each.expires_at),
            _instant(uses.at(made.id, each.number)),
        )
        for each in live_secrets(made.secrets, now)
    ]
    used = [at for each in made.secrets if (at := uses.at(made.id, each.number)) is not None]
    return KeyShown(
        id=made.id,
        source=made.source,
        scopes=made.scopes,
        rate=made.rate,
        critical=made.critical,
        state="overridden" if _in_settings(call, made.id) else "expired" if over else "live",
        kept_in="tocsin",
        expires_at=_instant(made.expires_at),
        created_at=rfc3339(made.created_at),
        created_by=made.by,
        last_used_at=_instant(max(used, default=None)),
        secrets=shown,
        certificates=made.certificates,
    )


def _of_settings(call: Call, key: ApiKey) -> KeyShown:
    expires_at = None if key.expires_at is None else to_ms(key.expires_at)
    over = expires_at is not None and expires_at <= call.deps.clock()
    return KeyShown(
        id=key.id,
        source=key.source,
        scopes=list(key.scopes),
        rate=key.rate,
        critical=key.critical,
        state="expired" if over else "live",
        kept_in="settings",
        expires_at=_instant(expires_at),
        created_at=None,
        created_by=None,
        last_used_at=_instant(call.deps.keys.uses.at(key.id, IN_SETTINGS)),
        secrets=[],
        certificates=list(key.certificates),
    )


def _instant(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)


ROUTES: tuple[Route, ...] = (
    Route("GET", _PATH, get_all, ADMIN_READ, "The API keys, and when they were used last", {200: KeyList}),
    Route("POST", _PATH, post, ADMIN, "Make an API key", {201: KeyMade}, KeyAsked, action="key.create"),
    Route("GET", f"{_PATH}/{{id}}", get, ADMIN_READ, "An API key, without its secrets", {200: KeyShown}),
    Route(
        "DELETE",
        f"{_PATH}/{{id}}",
        delete,
        ADMIN,
        "Revoke an API key: within 2 s no gateway accepts it any more",
        {204: None},
        action="key.revoke",
    ),
    Route(
        "POST",
        f"{_PATH}/{{id}}/rotate",
        rotate,
        ADMIN,
        "Give an API key a new secret; the former one stays valid for a while",
        {201: KeyRotated},
        RotationAsked,
        action="key.rotate",
    ),
    Route(
        "DELETE",
        f"{_PATH}/{{id}}/secrets/{{number}}",
        delete_secret,
        ADMIN,
        "End one of the two secrets of an API key that was rotated",
        {204: None},
        action="key.end_secret",
    ),
)
