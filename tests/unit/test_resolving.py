"""Names that strangers gave lead to public addresses, or nowhere."""

import asyncio
import socket
from typing import Any

import pytest

from app.domain.hosts import is_named
from app.resolving import NotPublic, PublicAddresses

PUBLIC = "142.250.1.95"
WITHIN = ("127.0.0.1", "10.0.0.7", "192.168.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1", "fe80::1%1")


async def resolved(addresses: list[str], host: str, allowed: tuple[str, ...], monkeypatch: Any) -> list[str]:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return [found["host"] for found in await PublicAddresses(allowed).resolve(host, 443)]


@pytest.mark.parametrize("address", WITHIN)
async def test_a_name_that_points_within_is_not_called(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotPublic):
        await resolved([address], "push.example", ("other.example",), monkeypatch)


async def test_of_several_addresses_only_public_ones_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await resolved([*WITHIN, PUBLIC], "push.example", (), monkeypatch) == [PUBLIC]


async def test_a_host_that_is_allowed_may_have_any_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed in (("inner.example",), ("inner.example:443",)):
        assert await resolved(list(WITHIN), "inner.example", allowed, monkeypatch) == list(WITHIN)


@pytest.mark.parametrize(
    ("host", "port", "allowed", "named"),
    [
        ("a.example", 443, ("a.example",), True),
        ("a.example", 8443, ("a.example",), True),
        ("A.example", 443, ("a.Example:443",), True),
        ("a.example", 8443, ("a.example:443",), False),
        ("b.a.example", 443, ("a.example",), False),
        ("a.example", 443, ("a.example.",), False),
        ("::1", 443, ("::1",), True),
        ("::1", 443, ("[::1]",), True),
        ("::1", 443, ("[::1]:443",), True),
        ("::1", 80, ("[::1]:443",), False),
        ("a.example", 443, (), False),
    ],
)
def test_a_host_is_named_with_or_without_its_port(host: str, port: int, allowed: Any, named: bool) -> None:
    assert is_named(host, port, allowed) is named
