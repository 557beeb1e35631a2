"""Users' tokens, verified by the keys that their issuer publishes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from app.api.callers import OWN, Callers, User
from app.api.jwks import PublishedKeys
from app.api.problems import Problem
from app.config import Jwt


@dataclass
class Issuer:
    """Publishes keys and signs with them."""

    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    asked: int = 0
    works: bool = True

    def add(self, kid: str) -> None:
        self.keys[kid] = ec.generate_private_key(ec.SECP256R1())

    def token(self, kid: str, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        return jwt.encode({"sub": "ada"}, key or self.keys[kid], algorithm="ES256", headers={"kid": kid})

    async def publish(self, _: web.Request) -> web.Response:
        self.asked += 1
        if not self.works:
            raise web.HTTPInternalServerError
        return web.json_response({"keys": [self._public(kid) for kid in self.keys]})

    def _public(self, kid: str) -> dict[str, Any]:
        public = ECAlgorithm.to_jwk(self.keys[kid].public_key(), as_dict=True)
        return {**public, "kid": kid, "alg": "ES256", "use": "sig"}


@pytest.fixture
def issuer() -> Issuer:
    issuer = Issuer()
    issuer.add("2026")
    return issuer


@pytest.fixture
async def callers(issuer: Issuer) -> AsyncIterator[Callers]:
    app = web.Application()
    app.router.add_get("/jwks.json", issuer.publish)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}/jwks.json"
        yield Callers([], Jwt(jwks_url=url, algorithms=("ES256",)), PublishedKeys(session, url))


async def admitted(callers: Callers, token: str) -> object:
    return await callers.admit(f"Bearer {token}", OWN, "ada")


async def test_a_token_by_a_published_key_is_its_user_and_the_keys_are_kept(issuer: Issuer, callers: Callers) -> None:
    assert [await admitted(callers, issuer.token("2026")) for _ in range(3)] == [User("ada")] * 3
    assert issuer.asked == 1


async def test_an_impostors_key_is_401(issuer: Issuer, callers: Callers) -> None:
    forged = issuer.token("2026", ec.generate_private_key(ec.SECP256R1()))

    with pytest.raises(Problem) as refused:
        await admitted(callers, forged)

    assert refused.value.status == 401


async def test_made_up_keys_do_not_have_the_issuer_asked_each_time(issuer: Issuer, callers: Callers) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    await admitted(callers, issuer.token("2026"))
    for number in range(5):
        with pytest.raises(Problem):
            await admitted(callers, issuer.token(f"made-up-{number}", stranger))

    assert issuer.asked == 1


async def test_while_the_issuer_is_away_callers_are_asked_to_come_back(issuer: Issuer, callers: Callers) -> None:
    issuer.works = False

    with pytest.raises(Problem) as refused:
        await admitted(callers, issuer.token("2026"))

    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "5")
