"""Users' tokens, verified by the keys that their issuer publishes."""

import json
import time
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
    #: What is published in place of the keys.
    instead: bytes | None = None

    def add(self, kid: str) -> None:
        self.keys[kid] = ec.generate_private_key(ec.SECP256R1())

    def token(self, kid: str, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        return jwt.encode(
            {"sub": "ada", "aud": "app", "exp": time.time() + 60},
            key or self.keys[kid],
            algorithm="ES256",
            headers={"kid": kid},
        )

    async def publish(self, _: web.Request) -> web.Response:
        self.asked += 1
        if not self.works:
            raise web.HTTPInternalServerError
        if self.instead is not None:
            return web.Response(body=self.instead, content_type="application/json")
        return web.json_response({"keys": [self.public(kid) for kid in self.keys]})

    def public(self, kid: str) -> dict[str, Any]:
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
        yield Callers([], Jwt(jwks_url=url, algorithms=("ES256",), audience="app"), PublishedKeys(session, url))


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


ODD_KEYS: tuple[dict[str, object], ...] = (
    {},
    {"kty": None},
    {"kty": 7},
    {"kty": []},
    {"kty": "oct", "k": "AAAA"},
    {"kty": "EC"},
    {"kty": "EC", "crv": "P-256", "x": 7, "y": []},
    {"kty": "EC", "crv": {}, "x": "AA", "y": "AA"},
    {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "alg": 7},
    {"kty": "RSA", "n": None, "e": None},
    {"kty": "RSA", "n": "", "e": ""},
    {"kty": "OKP", "crv": "Ed25519", "x": 7},
)
ODD = [
    b"",
    b"oops",
    b"\xff",
    b"null",
    b"[]",
    b"7",
    b'"keys"',
    b"{}",
    b'{"keys": null}',
    b'{"keys": {}}',
    b'{"keys": "x"}',
    b'{"keys": [null, 7, "x", [], {}]}',
    b"[" * 5000,
    *(json.dumps({"keys": [{"kid": "2026", **key}]}).encode() for key in ODD_KEYS),
]


@pytest.mark.parametrize("published", ODD, ids=range(len(ODD)))
async def test_odd_key_sets_hold_no_key_so_a_token_is_401(issuer: Issuer, callers: Callers, published: bytes) -> None:
    issuer.instead = published

    with pytest.raises(Problem) as refused:
        await admitted(callers, issuer.token("2026"))

    assert refused.value.status == 401


@pytest.mark.parametrize(
    ("more", "is_used"),
    [
        ({}, True),
        ({"use": "sig"}, True),
        ({"use": "enc"}, False),
        ({"use": 7}, False),
        ({"key_ops": ["verify"]}, True),
        ({"key_ops": ["encrypt"]}, False),
        ({"key_ops": []}, False),
        ({"key_ops": "verify"}, False),
        ({"use": "enc", "key_ops": ["verify"]}, False),
        ({"kid": 7}, False),
        ({"kid": []}, False),
    ],
)
async def test_only_keys_for_signatures_verify(
    issuer: Issuer, callers: Callers, more: dict[str, Any], is_used: bool
) -> None:
    plain = {name: value for name, value in issuer.public("2026").items() if name != "use"}
    issuer.instead = json.dumps({"keys": [None, plain | more]}).encode()

    if is_used:
        assert await admitted(callers, issuer.token("2026")) == User("ada")
        return
    with pytest.raises(Problem) as refused:
        await admitted(callers, issuer.token("2026"))
    assert refused.value.status == 401
