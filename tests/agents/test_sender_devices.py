"""A device gets no more than its provider takes for it; what is beyond waits in its line, and costs nobody else."""

from typing import Any

from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from app.domain.device_rates import REST_MS, DeviceRates
from schemas.sends import Send
from tests.agents.dispatching import TIMEOUT_MS, called
from tests.agents.stage import MINUTE, Stage, a_catalog, a_send


def with_devices(**rates: tuple[int, int]) -> Stage:
    devices = DeviceRates({name: (rate,) for name, rate in rates.items()})  # type: ignore[misc]
    stage = Stage(
        SenderMachine(a_catalog(), ChannelConfig("push", {"apns": TIMEOUT_MS, "fcm": TIMEOUT_MS}, devices=devices))
    )
    stage.command("device.add", device_id="d1", platform="android", token="the first")
    stage.command("device.add", device_id="d2", platform="android", token="the second")
    stage.command("device.add", device_id="d3", platform="ios", token="ab" * 32)
    return stage


def push_to(device_id: str, number: int, **changes: Any) -> Send:
    return a_send(number, channel="push", device_id=device_id, **changes)


def test_what_is_beyond_a_devices_rate_waits_without_an_attempt_or_an_event() -> None:
    stage = with_devices(fcm=(4, MINUTE))
    for number in (1, 2, 3):
        stage.take(push_to("d1", number))
    stage.take(push_to("d2", 4))
    stage.answer_all()

    assert stage.story(3) == []
    assert [stage.story(number)[-1][0] for number in (1, 2, 4)] == ["sent"] * 3
    stage.wait(MINUTE // 2 - 1_000)
    assert stage.story(3) == []
    stage.wait(2_000)
    stage.answer_all()
    assert stage.story(3) == [("sending", None), ("sent", None)]


def test_critical_does_not_wait_for_a_device_and_what_waits_expires_in_time() -> None:
    stage = with_devices(fcm=(2, 60 * MINUTE))
    stage.take(push_to("d1", 1))
    stage.answer_all()
    stage.take(push_to("d1", 2, expires_at=stage.now + MINUTE))
    stage.take(push_to("d1", 3, priority="critical", category="security", event_type="login.otp"))

    assert called(stage) == [3]
    stage.answer_all()
    stage.wait(2 * MINUTE)
    assert stage.story(2) == [("expired", None)]


def test_a_device_that_is_refused_rests_and_others_go_on() -> None:
    stage = with_devices()
    stage.take(push_to("d3", 1))
    stage.answer("throttle", stage.calls[0], code="TooManyRequests", scope="address")
    stage.take(push_to("d3", 2))
    stage.take(push_to("d1", 3))

    assert called(stage) == [3]
    stage.answer_all()
    stage.wait(REST_MS + 1_000)
    stage.answer_all()
    stage.wait(MINUTE)
    stage.answer_all()
    assert [stage.story(number)[-1] for number in (1, 2)] == [("sent", None)] * 2
