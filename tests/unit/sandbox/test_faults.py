"""Which request a fault befalls, and which faults are refused."""

from pathlib import Path

import pytest

from app.sandbox.exchange import Vendor
from app.sandbox.faults import Fault, Faults, read_fault
from app.sandbox.journal import Journal
from app.sandbox.registry import VENDORS
from schemas.decode import Invalid


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Vendor]:
    folder: Path = tmp_path_factory.mktemp("vendors")
    journal = Journal(folder)
    return {vendor.name: vendor for vendor in (make(folder, journal) for make in VENDORS)}


def hits(faults: Faults, count: int, provider: str = "apns", address: str | None = "a") -> int:
    return sum(faults.befall(provider, "send", address).fault is not None for _ in range(count))


def test_a_fault_befalls_only_its_provider() -> None:
    faults = Faults()
    faults.add(Fault(provider="apns", action="hang"), 0)

    assert (hits(faults, 2, "apns"), hits(faults, 2, "fcm")) == (2, 0)


def test_a_star_befalls_every_provider() -> None:
    faults = Faults()
    faults.add(Fault(provider="*", action="hang"), 0)

    assert (hits(faults, 1, "apns"), hits(faults, 1, "ses")) == (1, 1)


def test_an_address_befalls_only_that_address() -> None:
    faults = Faults()
    faults.add(Fault(provider="apns", action="hang", address="a"), 0)

    assert (hits(faults, 1, address="a"), hits(faults, 1, address="b"), hits(faults, 1, address=None)) == (1, 0, 0)


def test_a_fault_is_over_after_its_times() -> None:
    faults = Faults()
    faults.add(Fault(provider="apns", action="error", times=3), 0)

    assert (hits(faults, 10), list(faults)) == (3, [])


def test_a_fraction_befalls_about_that_many_and_the_same_ones_for_the_same_seed() -> None:
    def befallen(seed: int) -> list[bool]:
        faults = Faults()
        faults.add(Fault(provider="apns", action="error", fraction=0.3, seed=seed), 0)
        return [faults.befall("apns", "send", "a").fault is not None for _ in range(1000)]

    assert befallen(7) == befallen(7)
    assert befallen(7) != befallen(8)
    assert 250 < sum(befallen(7)) < 350


def test_every_so_manieth_request_is_befallen() -> None:
    faults = Faults()
    faults.add(Fault(provider="apns", action="goaway", every=3), 0)
    befallen = [faults.befall("apns", "send", "a").fault is not None for _ in range(7)]

    assert befallen == [False, False, True, False, False, True, False]


def test_a_fault_of_sending_leaves_other_operations_alone() -> None:
    faults = Faults()
    faults.add(Fault(provider="twilio", action="hang"), 0)
    faults.add(Fault(provider="twilio", action="reset", operation="list"), 0)

    assert faults.befall("twilio", "fetch", None).fault is None
    listing = faults.befall("twilio", "list", None).fault
    assert listing is not None
    assert listing.rule.action == "reset"


def test_latencies_add_up_before_the_first_fault_that_acts() -> None:
    faults = Faults()
    faults.add(Fault(provider="*", action="latency", ms=100), 0)
    faults.add(Fault(provider="apns", action="error", code="Shutdown", ms=5), 0)
    faults.add(Fault(provider="apns", action="hang"), 0)
    faults.add(Fault(provider="apns", action="latency", ms=20), 0)

    mishap = faults.befall("apns", "send", "a")

    assert mishap.delay_ms == 125
    assert mishap.fault is not None
    assert mishap.fault.rule.code == "Shutdown"


def test_removing_ends_a_fault() -> None:
    faults = Faults()
    fault_id = faults.add(Fault(provider="apns", action="hang"), 0)

    assert (faults.remove(fault_id), faults.remove(fault_id), hits(faults, 1)) == (True, False, 0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"provider": "apns", "action": "error", "code": "Unregistered", "address": "ab", "times": 2}',
        b'{"provider": "fcm", "action": "error", "code": "UNAVAILABLE", "retry_after": 30, "fraction": 0.5, "seed": 7}',
        b'{"provider": "ses", "action": "error", "code": "TooManyRequestsException"}',
        b'{"provider": "twilio", "action": "error", "code": "21610"}',
        b'{"provider": "*", "action": "error", "code": "502"}',
        b'{"provider": "*", "action": "latency", "ms": 250}',
        b'{"provider": "*", "action": "drip", "bytes_per_s": 10}',
        b'{"provider": "*", "action": "answer", "answer": {"status": 999, "headers": {"Retry-After": "1e9"}}}',
        b'{"provider": "ses", "action": "answer", "answer": {"body": "[", "repeat": 1000000}, "bytes_per_s": 5}',
        b'{"provider": "apns", "action": "max_streams", "streams": 1}',
        b'{"provider": "apns", "action": "goaway", "every": 100}',
        b'{"provider": "fcm", "action": "refuse_stream", "fraction": 0.1}',
    ],
)
def test_a_right_fault_is_read(vendors: dict[str, Vendor], body: bytes) -> None:
    assert isinstance(read_fault(body, vendors), Fault)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("provider", b'{"action": "hang"}'),
        ("provider", b'{"provider": "pigeon", "action": "hang"}'),
        ("action", b'{"provider": "apns"}'),
        ("action", b'{"provider": "apns", "action": "explode"}'),
        ("colour", b'{"provider": "apns", "action": "hang", "colour": "red"}'),
        ("fraction", b'{"provider": "apns", "action": "hang", "fraction": 1.5}'),
        ("fraction", b'{"provider": "apns", "action": "hang", "fraction": 0}'),
        ("times", b'{"provider": "apns", "action": "hang", "times": 0}'),
        ("code", b'{"provider": "apns", "action": "error", "code": "UNAVAILABLE"}'),
        ("code", b'{"provider": "*", "action": "error", "code": "Unregistered"}'),
        ("code", b'{"provider": "apns", "action": "hang", "code": "Unregistered"}'),
        ("retry_after", b'{"provider": "apns", "action": "hang", "retry_after": 1}'),
        ("ms", b'{"provider": "apns", "action": "latency"}'),
        ("bytes_per_s", b'{"provider": "fcm", "action": "drip"}'),
        ("bytes_per_s", b'{"provider": "fcm", "action": "hang", "bytes_per_s": 1}'),
        ("answer", b'{"provider": "fcm", "action": "answer"}'),
        ("answer", b'{"provider": "fcm", "action": "error", "answer": {}}'),
        ("answer.status", b'{"provider": "fcm", "action": "answer", "answer": {"status": 100}}'),
        ("answer.headers", b'{"provider": "fcm", "action": "answer", "answer": {"headers": {"a b": ""}}}'),
        ("answer.headers", b'{"provider": "fcm", "action": "answer", "answer": {"headers": {"a": "b\\r\\nc: d"}}}'),
        ("answer.headers", b'{"provider": "fcm", "action": "answer", "answer": {"headers": {"Content-Length": "1"}}}'),
        ("answer.repeat", b'{"provider": "fcm", "action": "answer", "answer": {"body": "xx", "repeat": 33554433}}'),
        ("streams", b'{"provider": "apns", "action": "max_streams"}'),
        ("streams", b'{"provider": "apns", "action": "max_streams", "streams": 0}'),
        ("every", b'{"provider": "apns", "action": "hang", "every": 0}'),
        ("action", b'{"provider": "ses", "action": "goaway"}'),
        ("action", b'{"provider": "*", "action": "reset_stream"}'),
        ("ms", b'{"provider": "apns", "action": "latency", "ms": "long"}'),
        (None, b"[]"),
        (None, b"{"),
    ],
)
def test_a_wrong_fault_is_refused_with_the_fields_name(
    vendors: dict[str, Vendor], field: str | None, body: bytes
) -> None:
    with pytest.raises(Invalid) as refused:
        read_fault(body, vendors)

    assert refused.value.field == field
