"""By which names a key knows a certificate."""

import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from app.domain.client_certificates import check_name, names_of
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def names(authority: Authority, *others: x509.GeneralName) -> frozenset[str]:
    return names_of(ssl.PEM_cert_to_DER_cert(authority.issue("shop.internal", *others)[0].read_text()))


def test_dns_names_and_uris_count_and_the_key_itself(authority: Authority) -> None:
    found = names(authority, x509.DNSName("Shop.Internal"), x509.UniformResourceIdentifier("spiffe://Example.org/A"))

    assert {each for each in found if not each.startswith("spki:")} == {
        "dns:shop.internal",
        "uri:spiffe://Example.org/A",
    }
    assert len(found) == 3
    assert all(check_name(each) for each in found)


@pytest.mark.parametrize(
    "other",
    [
        None,
        x509.RFC822Name("dns@shop.internal"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dns:shop.internal")])),
        x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01a"),
    ],
)
def test_nothing_else_counts(authority: Authority, other: x509.GeneralName | None) -> None:
    found = names(authority, *(() if other is None else (other,)))

    assert [each.partition(":")[0] for each in found] == ["spki"]


def test_another_key_has_another_name(authority: Authority) -> None:
    assert names(authority) != names(authority)


@given(st.binary(max_size=200))
def test_what_is_no_certificate_has_no_names(der: bytes) -> None:
    assert names_of(der) == frozenset()


@pytest.fixture(scope="module")
def der(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    files = Authority(tmp_path_factory.mktemp("authority")).issue("shop", x509.DNSName("shop.internal"))
    return ssl.PEM_cert_to_DER_cert(files[0].read_text())


@given(bytes_=st.data())
def test_a_damaged_certificate_has_names_that_can_be_written_or_none(der: bytes, bytes_: st.DataObject) -> None:
    damaged = bytearray(der)
    for _ in range(bytes_.draw(st.integers(1, 4))):
        damaged[bytes_.draw(st.integers(0, len(der) - 1))] = bytes_.draw(st.integers(0, 255))

    assert all(each.partition(":")[0] in ("dns", "uri", "spki") for each in names_of(bytes(damaged)))
