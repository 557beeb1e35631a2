"""Looks up names that strangers gave, and answers with addresses of the public internet alone: those are called."""

import asyncio
import socket
from collections.abc import Collection
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from app.domain.hosts import is_named, is_public_address


class NotPublic(OSError):
    """The host has no address that may be called."""


class PublicAddresses(AbstractResolver):
    """``allowed``: hosts, or HOST:PORT, that may have any address. Nobody looks a name up again after this."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        is_allowed = is_named(host, port, self._allowed)
        results = [
            ResolveResult(hostname=host, host=str(at[0]), port=port, family=kind, proto=proto, flags=0)
            for kind, _, proto, _, at in found
            if is_allowed or is_public(str(at[0]))
        ]
        if not results:
            raise NotPublic(f"{host} has no public address")
        return results

    async def close(self) -> None:
        return


def is_public(address: str) -> bool:
    """Whether a text is an address of the public internet."""
    try:
        return is_public_address(ip_address(address))
    except ValueError:
        return False
