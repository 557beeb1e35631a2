"""Who is calling: a service by its API key, or a user by a JWT; and what each route lets them do."""

import hmac
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jwt

from app.api.problems import Problem
from app.api.tickets import Ticket
from app.config import ApiKey, Jwt
from app.config.sections import PlainScope
from app.domain.api_keys import IN_SETTINGS, hash_of
from app.domain.scopes import covers, event_types_of, plain_scopes, scope_for
from schemas.keys import MadeKey

#: By so much clocks may differ.
_LEEWAY_S = 60
#: No token's end is later, Unix s.
_LATEST_S = 2**40
#: What verifying a token can raise: PyJWT checks less of what a claim holds than it then relies on.
_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Service:
    """A caller with an API key; what it sends has the key's source."""

    key_id: str
    source: str
    #: Without the event types to which some are limited.
    scopes: frozenset[str]
    #: Requests a second; None: the gateway's own.
    rate: float | None = None
    may_be_critical: bool = True
    #: For which it may send: names, and beginnings with ``*``. None: all.
    event_types: tuple[str, ...] | None = None
    #: A call must come with one of these client certificates; none: it needs none.
    certificates: frozenset[str] = frozenset()
    #: Of the secret that it came with.
    sha256: str = field(default="", compare=False, repr=False)

    @property
    def is_admin(self) -> bool:
        return "admin" in self.scopes

    def may_see(self, source: str | None) -> bool:
        """Whether what a source has sent is this caller's to see."""
        return self.is_admin or "admin:read" in self.scopes or (source or "") == self.source


@dataclass(frozen=True, slots=True)
class User:
    """A caller whose JWT names the user that he is."""

    user_id: str
    #: When the token ends, Unix ms.
    ends_ms: int = field(default=2**62, compare=False)
    #: In place of a token: what opens one stream of theirs.
    ticket: Ticket | None = field(default=None, compare=False)


Caller = Service | User


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route: services with one of the scopes, and the user of the path with ``own``."""

    scopes: tuple[PlainScope, ...] = ()
    own: bool = False
    #: Or whoever has a ticket of that user's.
    ticket: bool = False

    @property
    def public(self) -> bool:
        return not self.scopes and not self.own


PUBLIC = Access()
SEND = Access(("send",))
CAMPAIGN = Access(("campaign",))
READ = Access(("read", "admin", "admin:read"))
#: What a service sets up to be notified of its own notifications.
OWN_HOOKS = Access(("read", "admin"))
ADMIN = Access(("admin",))
#: What an admin may do that changes nothing.
ADMIN_READ = Access(("admin", "admin:read"))
OWN = Access(own=True)
OWN_OR_TICKET = Access(own=True, ticket=True)
OWN_OR_ADMIN = Access(("admin",), own=True)
OWN_OR_ADMIN_READ = Access(("admin", "admin:read"), own=True)


class SigningKeys(Protocol):
    """Where the keys come from that verify a user's token."""

    async def find(self, token: str) -> Any:
        """Raises jwt.PyJWTError where there is none for this token."""
        ...


class SharedSecret:
    """One secret, shared with whoever makes the tokens."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def find(self, token: str) -> str:
        return self._secret


#: The names of the client certificate that a call came with; none where it came with none.
Shown = Callable[[], frozenset[str]]


def _no_certificate() -> frozenset[str]:
    return frozenset()


class MadeKeys(Protocol):
    """The keys that were made over HTTP. See ``KeyStates``."""

    def find(self, key_id: str) -> MadeKey | None: ...


class Uses(Protocol):
    """See ``LastUses``."""

    def note(self, key_id: str, number: int) -> None: ...


class _Nothing:
    def find(self, key_id: str) -> MadeKey | None:
        return None

    def note(self, key_id: str, number: int) -> None:
        pass


#: No other keys than those of the settings.
NO_KEYS = _Nothing()


class _Secret(NamedTuple):
    """``expires_at``: Unix seconds; None: with the key."""

    sha256: str
    number: int
    service: Service
    expires_at: float | None = None


class _Held(NamedTuple):
    """A key as calls are checked against it, and what it was made of. ``expires_at``: Unix seconds."""

    secrets: tuple[_Secret, ...]
    expires_at: float | None
    of: ApiKey | MadeKey


#: As long as any: an unknown id takes the comparison's time too.
_NOBODYS = (_Secret("0" * 64, -1, Service("", "", frozenset())),)


class Callers:
    """Tells callers apart by their credentials. Raises Problem: 401 for bad ones, 403 for what isn't theirs.

    ``made``: the keys beside those of the settings, which win where an id is in both. ``uses``: is given each use of a
    key. ``clock``: Unix seconds.
    """

    def __init__(
        self,
        api_keys: Iterable[ApiKey],
        tokens: Jwt | None,
        signing_keys: SigningKeys | None,
        clock: Callable[[], float] = time.time,
        made: MadeKeys = NO_KEYS,
        uses: Uses = NO_KEYS,
    ) -> None:
        self.replace_keys(api_keys)
        self._tokens = tokens
        self._signing_keys = signing_keys
        self._clock = clock
        self._made = made
        self._uses = uses
        self._held: dict[str, _Held] = {}

    def replace_keys(self, api_keys: Iterable[ApiKey]) -> None:
        """From now on these are the settings' keys, and no others."""
        self._set_up = {key.id: _set_up(key) for key in api_keys}

    @property
    def set_up(self) -> Sequence[ApiKey]:
        """The keys of the settings, in their order."""
        return [held.of for held in self._set_up.values() if isinstance(held.of, ApiKey)]

    async def admit(self, authorization: str | None, access: Access, user_id: str | None) -> Caller:
        """The caller, if the route is open to it. ``user_id``: the user that the path names."""
        caller = await self.identify(authorization)
        authorize(caller, access, user_id)
        return caller

    async def identify(self, authorization: str | None, shown: Shown = _no_certificate) -> Caller:
        """Who calls. Raises Problem 401."""
        if not authorization:
            raise _unauthorized("credentials are required: Authorization: Bearer …")
        if not authorization.isascii():
            raise _unauthorized("credentials are written in ASCII")
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise _unauthorized("the scheme of credentials is Bearer")
        key_id, dot, _ = credential.partition(".")
        if self._tokens is not None and credential.count(".") == 2 and self._find(key_id) is None:
            return await self._user(credential)
        return self._service(key_id if dot else "", credential, shown)

    def known(self, key_id: str) -> Sequence[Service]:
        """The service of a key that counts now, once for each of its secrets; none where there is none."""
        held, now = self._find(key_id), self._clock()
        if held is None or _is_over(held.expires_at, now):
            return ()
        return [secret.service for secret in held.secrets if not _is_over(secret.expires_at, now)]

    def check_known(self, service: Service) -> None:
        """Raises Problem 401 where the key of a call that takes long, or the secret that it came with, has ended
        meanwhile, or the key may do something else now."""
        if not any(each == service and each.sha256 == service.sha256 for each in self.known(service.key_id)):
            raise _unauthorized("the API key has ended or changed since the call began")

    def _find(self, key_id: str) -> _Held | None:
        held = self._set_up.get(key_id)
        if held is not None:
            return held
        made = self._made.find(key_id)
        if made is None:
            self._held.pop(key_id, None)
            return None
        held = self._held.get(key_id)
        if held is None or held.of is not made:
            held = self._held[key_id] = _held(made)
        return held

    def _service(self, key_id: str, credential: str, shown: Shown) -> Service:
        held = self._find(key_id)
        given = hash_of(credential)
        found: _Secret | None = None
        for secret in _NOBODYS if held is None else held.secrets:
            if hmac.compare_digest(given, secret.sha256):
                found = secret
        if held is None or found is None:
            raise _unauthorized("the API key is not known")
        now = self._clock()
        if _is_over(held.expires_at, now):
            raise _unauthorized("the API key has expired")
        if _is_over(found.expires_at, now):
            raise _unauthorized("the API key was rotated, and this secret is no longer valid")
        if not came_with(found.service, shown):
            raise _unauthorized("the API key is bound to a client certificate, and the call didn't come with it")
        self._uses.note(key_id, found.number)
        return found.service

    async def _user(self, token: str) -> User:
        assert self._tokens is not None
        assert self._signing_keys is not None
        try:
            claims = jwt.decode(
                token,
                await self._signing_keys.find(token),
                algorithms=list(self._tokens.algorithms),
                audience=self._tokens.audience,
                issuer=self._tokens.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["sub", "exp"], "verify_aud": self._tokens.audience is not None},
            )
            ends_ms = min(int(claims["exp"]), _LATEST_S) * 1000
        except _UNREADABLE as error:
            raise _unauthorized(f"the token is not accepted: {type(error).__name__}") from error
        return User(claims["sub"], ends_ms)


def authorize(caller: Caller, access: Access, user_id: str | None) -> None:
    """Raises Problem 403 where the route isn't open to the caller. ``user_id``: the user that the path names."""
    match caller:
        case Service() if not caller.scopes.isdisjoint(access.scopes):
            pass
        case User() if access.own and caller.user_id == user_id:
            pass
        case Service() if access.scopes:
            raise Problem(403, f"this key lacks the scope {access.scopes[0]}")
        case Service():
            raise Problem(403, "only the user's own token may do this")
        case User() if access.own:
            raise Problem(403, "not yours: the token's sub is not the user of the path")
        case User():
            raise Problem(403, "only a service with an API key may do this")


def came_with(service: Service, shown: Shown) -> bool:
    """Whether the call brought a client certificate that the service's key is bound to, if it is bound to any."""
    return not service.certificates or not service.certificates.isdisjoint(shown())


def check_event_type(service: Service, event_type: str) -> None:
    """Raises Problem 403 where the service's key isn't for what happened there."""
    if not covers(service.event_types, event_type):
        raise Problem(403, f"this key lacks the scope {scope_for(event_type)}", "event_type")


def _is_over(expires_at: float | None, now: float) -> bool:
    return expires_at is not None and expires_at <= now


def _set_up(key: ApiKey) -> _Held:
    expires_at = None if key.expires_at is None else key.expires_at.timestamp()
    return _Held((_Secret(key.sha256, IN_SETTINGS, _service_of(key, key.sha256)),), expires_at, key)


def _held(made: MadeKey) -> _Held:
    secrets = tuple(
        _Secret(each.sha256, each.number, _service_of(made, each.sha256), _seconds(each.expires_at))
        for each in made.secrets
    )
    return _Held(secrets, _seconds(made.expires_at), made)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _service_of(key: ApiKey | MadeKey, sha256: str) -> Service:
    scopes, event_types = plain_scopes(key.scopes), event_types_of(key.scopes)
    certificates = frozenset(key.certificates)
    return Service(key.id, key.source, scopes, key.rate, key.critical, event_types, certificates, sha256)


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
