"""Whose certificate may sign for SNS, and how it is fetched."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.webhooks.certificates import Certificates, NotReached
from app.webhooks.chain import read_certificates, verified_key
from app.webhooks.events import NotGenuine
from tests.unit.webhooks.signing import NOW, certificate, pem_of, sns_signer

ROOT = certificate("A root", "A root", ca=True)
BETWEEN = certificate("Between", "A root", ca=True)
NAME = "sns.amazonaws.com"
LEAF = certificate(NAME, "Between", names=(NAME,))


def test_a_chain_that_leads_to_a_trusted_root_gives_its_key() -> None:
    for names in ((), (NAME,), (NAME, "sns.us-east-1.amazonaws.com")):
        assert verified_key([LEAF, BETWEEN], [ROOT], names, NOW) == LEAF.public_key()


@pytest.mark.parametrize(
    ("why", "chain", "names"),
    [
        ("no issuer", [LEAF], ()),
        ("another root", [certificate(NAME, "Stranger", names=(NAME,))], ()),
        ("signed by itself", [certificate(NAME, NAME, names=(NAME,))], ()),
        ("over", [certificate(NAME, "Between", names=(NAME,), ended_days_ago=1), BETWEEN], ()),
        ("not yet", [certificate(NAME, "Between", names=(NAME,), began_days_ago=-1), BETWEEN], ()),
        ("its issuer's is over", [LEAF, certificate("Between", "A root", ca=True, ended_days_ago=1)], ()),
        ("issued by no authority", [LEAF, certificate("Between", "A root", ca=False)], ()),
        ("another name", [certificate(NAME, "Between", names=("shop.example",)), BETWEEN], (NAME,)),
        ("no name", [certificate(NAME, "Between"), BETWEEN], (NAME,)),
    ],
)
def test_any_other_chain_is_refused(why: str, chain: Any, names: Any) -> None:
    with pytest.raises(NotGenuine):
        verified_key(chain, [ROOT], names, NOW)


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", b"\xff" * 99])
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(NotGenuine):
        read_certificates(pem)


def test_a_file_of_very_many_certificates_is_refused() -> None:
    with pytest.raises(NotGenuine):
        read_certificates(pem_of(*[LEAF] * 20))


class Host:
    """Where certificates lie. ``answer``: what it says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[web.Request], Any] = lambda _: web.Response(body=sns_signer().pem)
        self.url = ""
        self.now = NOW

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        answer: Any = self.answer(request)
        response: web.StreamResponse = await answer if asyncio.iscoroutine(answer) else answer
        return response


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    app = web.Application()
    app.router.add_get("/{name}", host.serve)
    async with TestServer(app) as server:
        host.url = str(server.make_url("/"))
        yield host


@pytest.fixture
async def certificates(host: Host, tmp_path: Path) -> AsyncIterator[Certificates]:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(sns_signer().ca_pem)
    async with aiohttp.ClientSession() as session:
        yield Certificates(session, ca_file, lambda: host.now)


async def test_a_certificate_is_fetched_once(host: Host, certificates: Certificates) -> None:
    keys = await asyncio.gather(*(certificates.key_at(f"{host.url}a.pem") for _ in range(20)))

    assert all(key == sns_signer().key.public_key() for key in keys)
    assert host.asked == ["/a.pem"]


async def test_a_certificate_is_looked_at_anew_after_some_hours(host: Host, certificates: Certificates) -> None:
    await certificates.key_at(f"{host.url}a.pem")
    host.now += 7 * 3_600_000
    await certificates.key_at(f"{host.url}a.pem")

    assert len(host.asked) == 2


async def test_a_bad_certificate_is_not_fetched_again_for_a_while(host: Host, certificates: Certificates) -> None:
    host.answer = lambda _: web.Response(body=pem_of(certificate(NAME, NAME)))
    for _ in range(3):
        with pytest.raises(NotGenuine):
            await certificates.key_at(f"{host.url}a.pem")
    assert len(host.asked) == 1

    host.answer = lambda _: web.Response(body=sns_signer().pem)
    host.now += 61_000
    assert await certificates.key_at(f"{host.url}a.pem") == sns_signer().key.public_key()


def _redirected(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": f"http://{request.host}/other"})


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(1_000):
        await response.write(b"x" * 65_536)
    return response


@pytest.mark.parametrize(
    "answer",
    [_redirected, _endless, lambda _: web.Response(status=500), lambda _: web.Response(status=404)],
    ids=["redirect", "endless", "500", "404"],
)
async def test_a_host_that_fails_is_tried_again_later(host: Host, certificates: Certificates, answer: Any) -> None:
    host.answer = answer
    with pytest.raises(NotReached):
        await certificates.key_at(f"{host.url}a.pem")
    assert host.asked == ["/a.pem"]

    host.answer = lambda _: web.Response(body=sns_signer().pem)
    assert await certificates.key_at(f"{host.url}a.pem") == sns_signer().key.public_key()


async def test_nobody_there_is_tried_again_later(certificates: Certificates) -> None:
    with pytest.raises(NotReached):
        await certificates.key_at("http://127.0.0.1:9/a.pem")


async def test_only_a_few_addresses_are_fetched_at_a_time(host: Host, certificates: Certificates) -> None:
    release = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response(body=sns_signer().pem)

    host.answer = slow
    fetches = [asyncio.create_task(certificates.key_at(f"{host.url}{n}.pem")) for n in range(20)]
    await asyncio.wait(fetches, return_when=asyncio.FIRST_COMPLETED)
    while len(host.asked) < 4:
        await asyncio.sleep(0)
    release.set()
    ended = await asyncio.gather(*fetches, return_exceptions=True)

    assert len(host.asked) == 4
    assert sum(isinstance(end, NotReached) for end in ended) == 16


async def test_without_authorities_of_our_own_only_public_ones_count(host: Host) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(NotGenuine):
            await Certificates(session, None, lambda: NOW).key_at(f"{host.url}a.pem")
