"""Who may call what: keys, tokens, scopes."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from app.api.callers import (
    ADMIN,
    OWN,
    OWN_OR_ADMIN,
    READ,
    SEND,
    Access,
    Callers,
    Service,
    SharedSecret,
    User,
)
from app.api.problems import Problem
from app.config import ApiKey, Jwt
from app.config.sections import Scope

SECRET = "a-secret-that-is-long-enough-even-for-sha384-signatures"
SEND_KEY, ADMIN_KEY = "shop." + "s" * 43, "ops." + "a" * 43


def key(whole: str, *scopes: Scope) -> ApiKey:
    name = whole.partition(".")[0]
    return ApiKey(id=name, sha256=hashlib.sha256(whole.encode()).hexdigest(), source=f"{name}-source", scopes=scopes)


def callers(**jwt_settings: Any) -> Callers:
    tokens = Jwt.model_validate({"secret": SECRET, **jwt_settings})
    return Callers([key(SEND_KEY, "send"), key(ADMIN_KEY, "admin")], tokens, SharedSecret(SECRET))


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """One that is good for a minute, unless the claims say otherwise; None leaves a claim out."""
    said = {"sub": "ada", "exp": int(time.time()) + 3_600, **claims}
    return jwt.encode({name: value for name, value in said.items() if value is not None}, secret, algorithm=algorithm)


async def refusal(who: Callers, credential: str | None, access: Access, user_id: str | None = None) -> int:
    with pytest.raises(Problem) as refused:
        await who.admit(credential and f"Bearer {credential}", access, user_id)
    return refused.value.status


async def test_a_key_is_the_service_with_its_source() -> None:
    caller = await callers().admit(f"Bearer {SEND_KEY}", SEND, None)

    assert caller == Service("shop", "shop-source", frozenset({"send"}))


@pytest.mark.parametrize("credential", [None, "shop." + "x" * 43, "shop", "nobody." + "s" * 43, "shop.", ".", "a.b.c"])
async def test_bad_credentials_are_401(credential: str | None) -> None:
    assert await refusal(callers(), credential, SEND) == 401


async def test_other_schemes_are_401() -> None:
    with pytest.raises(Problem) as refused:
        await callers().admit(f"Basic {SEND_KEY}", SEND, None)

    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("access", [READ, ADMIN, OWN, OWN_OR_ADMIN])
async def test_a_key_without_the_scope_is_403(access: Access) -> None:
    assert await refusal(callers(), SEND_KEY, access, "ada") == 403


@pytest.mark.parametrize("access", [READ, ADMIN, OWN_OR_ADMIN])
async def test_admins_may_read_everything(access: Access) -> None:
    caller = await callers().admit(f"Bearer {ADMIN_KEY}", access, "ada")

    assert isinstance(caller, Service)
    assert caller.may_see("shop-source")


async def test_an_admin_key_does_not_send() -> None:
    assert await refusal(callers(), ADMIN_KEY, SEND) == 403


@pytest.mark.parametrize(("now", "status"), [(999.0, None), (1000.0, 401), (2000.0, 401)])
async def test_a_key_is_good_until_it_expires(now: float, status: int | None) -> None:
    expiring = key(SEND_KEY, "send").model_copy(update={"expires_at": datetime.fromtimestamp(1000, UTC)})
    who = Callers([expiring], None, None, lambda: now)

    if status is None:
        assert isinstance(await who.admit(f"Bearer {SEND_KEY}", SEND, None), Service)
    else:
        assert await refusal(who, SEND_KEY, SEND) == status


async def test_replaced_keys_count_at_once() -> None:
    who = callers()
    who.replace_keys([key(ADMIN_KEY, "admin")])

    assert await refusal(who, SEND_KEY, SEND) == 401
    assert isinstance(await who.admit(f"Bearer {ADMIN_KEY}", ADMIN, None), Service)


async def test_a_call_goes_on_while_its_key_may_do_the_same() -> None:
    who = callers()
    begun = await who.admit(f"Bearer {SEND_KEY}", SEND, None)
    assert isinstance(begun, Service)
    who.check_known(begun)

    same = key(SEND_KEY, "send")
    who.replace_keys([same.model_copy(update={"expires_at": datetime.fromtimestamp(2**32, UTC)})])
    who.check_known(begun)
    for change in ({"scopes": ("read",)}, {"source": "another"}, {"critical": False}, {"sha256": "0" * 64}):
        who.replace_keys([same.model_copy(update=change)])
        with pytest.raises(Problem) as refused:
            who.check_known(begun)
        assert refused.value.status == 401


def test_a_service_sees_its_own_source_only() -> None:
    service = Service("shop", "shop-source", frozenset({"read"}))

    assert service.may_see("shop-source")
    assert not service.may_see("other")
    assert not service.may_see(None)


@pytest.mark.parametrize("access", [OWN, OWN_OR_ADMIN])
async def test_users_may_use_what_is_theirs(access: Access) -> None:
    assert await callers().admit(f"Bearer {token()}", access, "ada") == User("ada")


async def test_users_may_not_use_what_is_anothers() -> None:
    assert await refusal(callers(), token(), OWN, "bob") == 403


@pytest.mark.parametrize("access", [SEND, READ, ADMIN])
async def test_users_may_not_use_what_is_for_services(access: Access) -> None:
    assert await refusal(callers(), token(), access, "ada") == 403


@pytest.mark.parametrize("claims", [{"exp": -62}, {"nbf": 120}, {"iat": 120}])
async def test_tokens_of_another_time_are_401(claims: dict[str, int]) -> None:
    at: dict[str, Any] = {claim: int(time.time()) + off for claim, off in claims.items()}
    assert await refusal(callers(), token(**at), OWN, "ada") == 401


ODD_TIMES: tuple[object, ...] = ("soon", [], {}, float("inf"), True, -1)
ODD_NAMES: tuple[object, ...] = (7, [], {}, True)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"sub": None},
        *(
            {claim: odd}
            for claim in ("exp", "nbf", "iat")
            for odd in ODD_TIMES
            if not (odd in (True, -1) and claim != "exp")
        ),
        *({"sub": odd} for odd in ODD_NAMES),
    ],
    ids=str,
)
async def test_tokens_with_odd_claims_are_401(claims: dict[str, Any]) -> None:
    assert await refusal(callers(), token(**claims), OWN, "ada") == 401


@pytest.mark.parametrize(
    "make",
    [
        lambda: token("another-secret-that-is-long-enough-too"),
        lambda: token(algorithm="HS384"),
        lambda: jwt.encode({"sub": "ada", "exp": 9**10}, "", algorithm="none"),
        lambda: token().rpartition(".")[0] + "." + token(sub="bob").rpartition(".")[2],
        lambda: "\udcff.\udcff.\udcff",
        lambda: "e30.e30.e30",
        lambda: "..",
        lambda: "a" * 5000 + "." + "b" * 5000 + ".c",
    ],
    ids=["secret", "algorithm", "unsigned", "signature", "surrogates", "empty claims", "dots", "long"],
)
async def test_tokens_that_do_not_verify_are_401(make: Callable[[], str]) -> None:
    assert await refusal(callers(), make(), OWN, "ada") == 401


@pytest.mark.parametrize("claims", [{"exp": -50}, {"nbf": 50}, {"iat": 50}, {"exp": -50, "nbf": 50, "iat": 50}])
async def test_clocks_may_differ_by_a_minute(claims: dict[str, int]) -> None:
    at: dict[str, Any] = {claim: int(time.time()) + off for claim, off in claims.items()}
    assert await callers().admit(f"Bearer {token(**at)}", OWN, "ada") == User("ada")


@pytest.mark.parametrize("credential", ["shop.\udcff", "\udcff", "\udcff.\udcff"])
async def test_a_key_that_is_no_text_is_401(credential: str) -> None:
    assert await refusal(callers(), credential, SEND) == 401


async def test_audience_and_issuer_are_checked_where_they_are_set() -> None:
    strict = callers(audience="app", issuer="https://id.example")

    good = token(aud="app", iss="https://id.example")
    assert await strict.admit(f"Bearer {good}", OWN, "ada") == User("ada")
    assert await refusal(strict, token(aud="other", iss="https://id.example"), OWN, "ada") == 401
    assert await refusal(strict, token(aud="app", iss="https://evil.example"), OWN, "ada") == 401
    assert await refusal(strict, token(), OWN, "ada") == 401


async def test_an_audience_nobody_asked_for_does_no_harm() -> None:
    assert await callers().admit(f"Bearer {token(aud='app')}", OWN, "ada") == User("ada")


async def test_without_jwt_settings_no_token_is_accepted() -> None:
    services_only = Callers([key(SEND_KEY, "send")], None, None)

    assert await refusal(services_only, token(), OWN, "ada") == 401


async def test_no_key_of_the_settings_is_taken_for_users_tokens() -> None:
    with pytest.raises(ValueError, match="must not begin with eyJ"):
        key(f"{token().partition('.')[0]}.secret", "send")
