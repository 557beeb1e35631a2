"""Which hosts a URL that a stranger gave may name: only such as the public internet has.

A name that is public may still resolve to an address that isn't: whoever calls it has to look at that address, too
(``is_public_address``), and call that one.
"""

import re
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

#: What browsers and the C library read as a part of an IPv4 address: decimal, octal, hexadecimal.
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
#: Names that only a machine or a network of one's own resolves.
_PRIVATE_SUFFIXES = frozenset(("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "test"))
_PRIVATE_NAMES = ("home.arpa", "in-addr.arpa", "ip6.arpa")
#: What Python's ``is_global`` doesn't leave out, or from 3.13 on only: the IETF's own, relays of 6to4, NAT64 within a
#: network (its IPv4 address lies elsewhere than in the other prefixes), site-local.
_RESERVED = tuple(
    ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "fec0::/10", "100::/64")
)
#: The upper 96 bits of addresses that carry an IPv4 address below: compatible, translated, NAT64.
_CARRIERS = frozenset((0, 0xFFFF_0000, 0x0064_FF9B << 64))


def is_public_host(host: str) -> bool:
    """Whether a URL's host is a public name, or a public address written out plainly."""
    if ":" in host or host.startswith("["):
        return _is_public_literal(host.strip("[]"))
    name = host.removesuffix(".").lower()
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _is_public_literal(name)  # and none of the other forms: 2130706433, 127.1, 0x7f.0.0.1, 0177.0.0.1
    if len(name) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        return False
    return labels[-1] not in _PRIVATE_SUFFIXES and not any(f".{name}".endswith(f".{n}") for n in _PRIVATE_NAMES)


def is_named(host: str, port: int, allowed: Collection[str]) -> bool:
    """Whether the settings name the host, as HOST (at any port) or HOST:PORT, so that it may be called though it isn't
    public. ``host``: as a URL's, without brackets."""
    name = host.lower()
    names = (name, f"[{name}]")
    return any(each.lower() in (*names, *(f"{one}:{port}" for one in names)) for each in allowed)


def is_public_address(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is one of the public internet, and so is the one that it carries within."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        within = _within(address)
        if within is not None and not is_public_address(within):
            return False
    if any(address in network for network in _RESERVED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_public_literal(text: str) -> bool:
    try:
        return is_public_address(ip_address(text))
    except ValueError:
        return False


def _within(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    carries = int(address) >> 32 in _CARRIERS
    return IPv4Address(int(address) & 0xFFFF_FFFF) if carries else None
