"""How often one device is sent to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import device_rates
from app.domain.device_rates import DOCUMENTED, DeviceRates

MINUTE, HOUR = 60_000, 3_600_000
NOW = 1_800_000_000_000


def send_all(rates: DeviceRates, address: str, wanted: int, now: int = NOW) -> list[int]:
    """When each of so many is sent, as soon as it may be."""
    times = []
    for _ in range(wanted):
        until = rates.waits_until("fcm", address, now)
        now = now if until is None else until
        assert rates.waits_until("fcm", address, now) is None
        rates.begin("fcm", address, now)
        times.append(now)
    return times


def test_a_device_gets_half_a_minutes_worth_at_once_and_then_half_its_rate() -> None:
    times = send_all(DeviceRates(DOCUMENTED), "phone", 180)

    assert times[119] == NOW
    assert times[120] >= NOW + 500
    assert times[179] <= NOW + 60 * 510


@pytest.mark.parametrize("rate", DOCUMENTED["fcm"])
def test_no_stretch_of_time_has_more_than_is_documented(rate: tuple[int, int]) -> None:
    count, per_ms = rate
    times = send_all(DeviceRates(DOCUMENTED), "phone", 12_000)
    assert times[-1] - NOW > 3 * HOUR
    assert all(times[n + count] - times[n] >= per_ms for n in range(len(times) - count))


def test_devices_and_providers_do_not_wait_for_each_other() -> None:
    rates = DeviceRates(DOCUMENTED)
    send_all(rates, "phone", 120)

    assert rates.waits_until("fcm", "phone", NOW) is not None
    assert rates.waits_until("fcm", "tablet", NOW) is None
    for _ in range(1_000):
        rates.begin("apns", "phone", NOW)
    assert rates.waits_until("apns", "phone", NOW) is None


def test_a_device_that_was_refused_rests_until_it_may_be_sent_to() -> None:
    rates = DeviceRates(DOCUMENTED)
    rates.rest("apns", "phone", NOW + 7_000)

    assert rates.waits_until("apns", "phone", NOW) == NOW + 7_001
    assert rates.waits_until("apns", "phone", NOW + 7_000) is None
    assert rates.waits_until("apns", "tablet", NOW) is None


def test_what_is_remembered_of_devices_is_bounded() -> None:
    rates = DeviceRates(DOCUMENTED)
    for number in range(device_rates._REMEMBERED + 10):
        rates.begin("fcm", str(number), NOW)

    assert len(rates._devices) == device_rates._REMEMBERED


@given(st.lists(st.integers(-2 * HOUR, 2 * HOUR), max_size=50))
def test_wherever_the_clock_jumps_a_wait_ends_within_its_time(jumps: list[int]) -> None:
    rates = DeviceRates(DOCUMENTED)
    now = NOW
    for jump in jumps:
        now += jump
        for _ in range(50):
            rates.begin("fcm", "phone", now)
        until = rates.waits_until("fcm", "phone", now)
        assert until is None or now < until <= now + 2 * HOUR
        assert until is None or rates.waits_until("fcm", "phone", until) is None


def test_a_clock_that_was_set_back_lets_no_device_wait_as_long() -> None:
    rates = DeviceRates(DOCUMENTED)
    for _ in range(200):
        rates.begin("fcm", "phone", NOW)
    rates.rest("fcm", "phone", NOW + 7_000)
    before = NOW - 48 * HOUR
    until = rates.waits_until("fcm", "phone", before)

    assert until is not None
    assert until <= before + 2 * HOUR
    assert rates.waits_until("fcm", "phone", until) is None
