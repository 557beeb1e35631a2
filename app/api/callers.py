"""Who is calling: a service by its API key, or a user by a JWT; and what each route lets them do."""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import jwt

from app.api.problems import Problem
from app.api.tickets import Ticket
from app.config import ApiKey, Jwt
from app.config.sections import Scope

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
    scopes: frozenset[Scope]
    #: Requests a second; None: the gateway's own.
    rate: float | None = None
    may_be_critical: bool = True

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

    scopes: tuple[Scope, ...] = ()
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
#: What a service sets up to be told of its own notifications.
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


class Callers:
    """Tells callers apart by their credentials. Raises Problem: 401 for bad ones, 403 for what isn't theirs."""

    def __init__(
        self,
        api_keys: Iterable[ApiKey],
        tokens: Jwt | None,
        signing_keys: SigningKeys | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.replace_keys(api_keys)
        self._tokens = tokens
        self._signing_keys = signing_keys
        self._clock = clock

    def replace_keys(self, api_keys: Iterable[ApiKey]) -> None:
        """From now on these count, and no others."""
        self._api_keys = {key.id: key for key in api_keys}

    async def admit(self, authorization: str | None, access: Access, user_id: str | None) -> Caller:
        """The caller, if the route is open to it. ``user_id``: the user that the path names."""
        caller = await self.identify(authorization)
        authorize(caller, access, user_id)
        return caller

    async def identify(self, authorization: str | None) -> Caller:
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
        if self._tokens is not None and key_id not in self._api_keys and credential.count(".") == 2:
            return await self._user(credential)
        return self._service(key_id if dot else "", credential)

    def known(self, key_id: str) -> tuple[Service, str] | None:
        """The service of a key that counts now, and the key's SHA-256; None: there is none."""
        key = self._api_keys.get(key_id)
        if key is None or (key.expires_at is not None and key.expires_at.timestamp() <= self._clock()):
            return None
        return Service(key.id, key.source, frozenset(key.scopes), key.rate, key.critical), key.sha256

    def _service(self, key_id: str, credential: str) -> Service:
        key = self._api_keys.get(key_id)
        given = hashlib.sha256(credential.encode(errors="surrogateescape")).hexdigest()
        # An unknown id takes the comparison's time too.
        matches = hmac.compare_digest(given, key.sha256 if key else "0" * 64)
        if key is None or not matches:
            raise _unauthorized("the API key is not known")
        if key.expires_at is not None and key.expires_at.timestamp() <= self._clock():
            raise _unauthorized("the API key has expired")
        return Service(key.id, key.source, frozenset(key.scopes), key.rate, key.critical)

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


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
