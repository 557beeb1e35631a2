"""A host that a stranger names is public, or it is refused."""

import ipaddress

import hypothesis.strategies as st
import pytest
from hypothesis import given

from app.domain.hosts import is_public_address, is_public_host

#: Addresses that aren't public: loopback, private, link-local, metadata, shared, multicast, reserved, documentation.
INNER = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
]
INNER_6 = ["::1", "::", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%25eth0", "ff02::1", "2001:db8::1", "::7f00:1"]
INNER_6 += ["fec0::1", "64:ff9b:1::a00:1", "64:ff9b:1:7f00:0:100::", "100::1", "::ffff:0:7f00:1", "2001:0:7f00:1::1"]


def forms(address: str) -> list[str]:
    """How resolvers and browsers take an IPv4 address, and how IPv6 carries it."""
    number = int(ipaddress.IPv4Address(address))
    a, b, c, d = address.split(".")
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    return [
        address,
        address + ".",
        str(number),
        hex(number),
        oct(number).replace("0o", "0"),
        f"{a}.{int(b) << 16 | int(c) << 8 | int(d)}",
        f"{a}.{b}.{int(c) << 8 | int(d)}",
        ".".join(hex(int(part)) for part in (a, b, c, d)),
        ".".join(f"0{int(part):o}" for part in (a, b, c, d)),
        ".".join(f"{int(part):03}" for part in (a, b, c, d)),
        f"::ffff:{address}",
        f"[::ffff:{high}:{low}]",
        f"::{high}:{low}",
        f"64:ff9b::{high}:{low}",
        f"2002:{high}:{low}::1",
    ]


@pytest.mark.parametrize("host", [form for address in INNER for form in forms(address)] + INNER_6)
def test_an_inner_address_is_refused_however_it_is_written(host: str) -> None:
    assert not is_public_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "kafka",
        "kafka.internal",
        "metadata.google.internal",
        "printer.local",
        "nas.lan",
        "router.home.arpa",
        "1.0.0.127.in-addr.arpa",
        "",
        ".",
        "a..example.com",
        "-a.example.com",
        "ex%61mple.com",
        "exämple.com",
        "１２７.0.0.1",
        "a b.example.com",
        "1.2.3",
        "1.2.3.4.5",
        "0x",
    ],
)
def test_a_name_that_is_not_public_is_refused(host: str) -> None:
    assert not is_public_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "fcm.googleapis.com",
        "updates.push.services.mozilla.com",
        "web.push.apple.com",
        "a_b.notify.windows.com.",
        "8.8.8.8",
        "2607:f8b0:4004:800::200e",
        "[2607:f8b0:4004:800::200e]",
    ],
)
def test_a_public_host_is_taken(host: str) -> None:
    assert is_public_host(host)


@given(st.ip_addresses(v=4))
def test_an_address_in_one_of_ipv6_is_as_public_as_it_is_itself(address: ipaddress.IPv4Address) -> None:
    for carrier in (f"::ffff:{address}", f"64:ff9b::{address}"):
        carried = is_public_address(ipaddress.IPv6Address(carrier))
        assert not carried or is_public_address(address)


@given(st.text(max_size=60))
def test_whatever_is_given_as_a_host_is_judged(host: str) -> None:
    assert is_public_host(host) in (True, False)
