"""What every vendor's client promises, on the real sandbox: one request a send, one of seven outcomes, in time."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.dev.ports import free_port
from app.domain.outcome import Outcome
from app.ports import ProviderClient
from app.providers.registry import CLIENTS, clients_for
from app.providers.wire import watch_statuses
from schemas.requests import PushAction, PushOptions
from tests.contract.providers.vendors import MESSAGE, Vendor, a_handle, client_of
from tests.contract.providers.vendors import shown as address_shown
from tests.contract.sandbox.process import RunningSandbox

#: Far beyond any pause of the machine.
LIMIT_S = 600.0
SHORT_S = 3.0


async def send(client: ProviderClient, vendor: Vendor, timeout_s: float = LIMIT_S) -> Outcome:
    return await client.send(MESSAGE, vendor.new_address(), a_handle(), timeout_s)


async def test_what_is_accepted_is_shown_under_its_send_in_every_attempt(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    to, first = vendor.new_address(), a_handle()
    second = a_handle(first.send_id, attempt=2)

    outcomes = [await client.send(MESSAGE, to, handle, LIMIT_S) for handle in (first, second)]

    assert [outcome.kind for outcome in outcomes] == ["ok", "ok"]
    shown = await sandbox.accepted(send_id=first.send_id)
    assert [one["provider"] for one in shown] == [vendor.name] * 2
    assert [one["provider_message_id"] for one in shown] == [outcome.provider_message_id for outcome in outcomes]
    assert {one["address"] for one in shown} == {address_shown(to)}
    assert {one["body"] for one in shown} == {"Boarding now"}


PUSHED = PushOptions(
    badge=7,
    sound="gate.caf",
    category="BOARDING",
    actions=[PushAction("map", "Show the way")],
    thread_id="flight-7",
    interruption_level="time-sensitive",
    mutable_content=True,
    android_channel_id="flights",
    android_priority="high",
)


@pytest.mark.parametrize("vendor", ["apns", "fcm", "webpush"], indirect=True)
@pytest.mark.parametrize("options", [PUSHED, PushOptions(sound=""), PushOptions(silent=True, badge=1)])
async def test_whatever_is_asked_of_a_push_the_vendor_takes_it(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox, options: PushOptions
) -> None:
    outcome = await client.send(replace(MESSAGE, push=options), vendor.new_address(), a_handle(), LIMIT_S)

    assert outcome.kind == "ok"


async def test_a_throttled_send_waits_as_long_as_the_provider_says(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    await sandbox.fault(provider=vendor.name, action="error", code=vendor.throttled, retry_after=7)

    throttled = Outcome("throttle", code=vendor.throttled, retry_after_ms=7000, scope=vendor.throttles)
    assert await send(client, vendor) == throttled


@pytest.mark.parametrize("action", ["hang", "accept_and_hang"])
async def test_silence_is_in_doubt_within_the_deadline_and_the_client_goes_on(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox, action: str
) -> None:
    await send(client, vendor)
    await sandbox.fault(provider=vendor.name, action=action, times=1)

    async with asyncio.timeout(60.0):
        assert await send(client, vendor, SHORT_S) == Outcome("in_doubt", doubt="timeout")

    assert (await send(client, vendor)).kind == "ok"


@pytest.mark.parametrize(("action", "accepted"), [("reset", 0), ("accept_and_reset", 1)])
async def test_a_lost_answer_is_in_doubt_and_only_one_request_was_made(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox, action: str, accepted: int
) -> None:
    await sandbox.fault(provider=vendor.name, action=action)
    handle = a_handle()

    outcome = await client.send(MESSAGE, vendor.new_address(), handle, LIMIT_S)

    assert (outcome.kind, outcome.doubt) == ("in_doubt", "connection_lost")
    assert len(await sandbox.calls(send_id=handle.send_id)) == 1
    assert len(await sandbox.accepted(send_id=handle.send_id)) == accepted


async def test_an_answer_that_drips_counts_as_soon_as_it_is_whole(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    await sandbox.fault(provider=vendor.name, action="drip", bytes_per_s=200)

    assert (await send(client, vendor)).kind == "ok"


@pytest.mark.parametrize("vendor", ["fcm", "ses", "twilio", "vonage", "sns"], indirect=True)
async def test_an_answer_that_drips_for_too_long_is_in_doubt(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    await send(client, vendor)
    await sandbox.fault(provider=vendor.name, action="drip", bytes_per_s=10)

    assert await send(client, vendor, SHORT_S) == Outcome("in_doubt", doubt="timeout")


# --- HTTP/2's own ways -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", ["apns", "fcm"], indirect=True)
@pytest.mark.parametrize(("action", "accepted"), [("reset_stream", 0), ("accept_and_reset_stream", 1)])
async def test_a_reset_stream_is_in_doubt_and_its_siblings_are_left_alone(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox, action: str, accepted: int
) -> None:
    to, handle = vendor.new_address(), a_handle()
    await send(client, vendor)
    await sandbox.fault(provider=vendor.name, action=action, address=to.value)

    outcome, *siblings = await asyncio.gather(
        client.send(MESSAGE, to, handle, LIMIT_S), *(send(client, vendor) for _ in range(10))
    )

    assert (outcome.kind, outcome.doubt) == ("in_doubt", "connection_lost")
    assert {sibling.kind for sibling in siblings} == {"ok"}
    assert len(await sandbox.calls(send_id=handle.send_id)) == 1
    assert len(await sandbox.accepted(send_id=handle.send_id)) == accepted


@pytest.mark.parametrize("vendor", ["apns"], indirect=True)
async def test_a_refused_stream_was_not_sent(client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox) -> None:
    await send(client, vendor)
    await sandbox.fault(provider=vendor.name, action="refuse_stream", times=1)
    handle = a_handle()

    outcome = await client.send(MESSAGE, vendor.new_address(), handle, LIMIT_S)

    assert (outcome.kind, outcome.code) == ("retry", "REFUSED_STREAM")
    assert await sandbox.accepted(send_id=handle.send_id) == []


@pytest.mark.parametrize("vendor", ["apns", "fcm"], indirect=True)
async def test_connections_that_come_and_go_lose_and_double_nothing(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    """GOAWAY again and again: what was looked at is answered, and the rest was certainly not sent."""
    await sandbox.fault(provider=vendor.name, action="goaway", every=20)
    handles = [a_handle() for _ in range(150)]

    outcomes = await asyncio.gather(
        *(client.send(MESSAGE, vendor.new_address(), handle, LIMIT_S) for handle in handles)
    )

    assert {outcome.kind for outcome in outcomes} <= {"ok", "retry"}
    for handle, outcome in zip(handles, outcomes, strict=True):
        assert len(await sandbox.accepted(send_id=handle.send_id)) == (outcome.kind == "ok")


@pytest.mark.parametrize("vendor", ["apns", "fcm"], indirect=True)
async def test_a_provider_that_wants_one_at_a_time_is_obeyed(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    await sandbox.fault(provider=vendor.name, action="max_streams", streams=1, times=1)
    await send(client, vendor)

    outcomes = await asyncio.gather(*(send(client, vendor) for _ in range(20)))

    assert {outcome.kind for outcome in outcomes} == {"ok"}


async def test_an_outage_is_met_with_one_request(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    await sandbox.fault(provider=vendor.name, action="error")
    handle = a_handle()

    outcome = await client.send(MESSAGE, vendor.new_address(), handle, LIMIT_S)

    assert outcome.kind == vendor.outage_kind
    assert len(await sandbox.calls(send_id=handle.send_id)) == 1


@pytest.mark.parametrize("code", ["502", "504"])
async def test_a_proxy_that_fails_may_have_forwarded_the_request(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox, code: str
) -> None:
    await sandbox.fault(provider=vendor.name, action="error", code=code)

    assert (await send(client, vendor)).kind == "in_doubt"


async def test_the_status_of_each_answer_is_seen(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    statuses = watch_statuses()
    await send(client, vendor)
    accepted = statuses[-1]
    await sandbox.fault(provider=vendor.name, action="error", code="502")
    await send(client, vendor)

    assert 200 <= accepted < 300
    assert statuses[-1] == 502


async def test_a_late_answer_within_the_deadline_counts(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    await sandbox.fault(provider=vendor.name, action="latency", ms=300)

    assert (await send(client, vendor)).kind == "ok"


async def test_a_refused_connection_was_not_sent(vendor: Vendor) -> None:
    vendor = vendor.at(free_port())
    client = client_of(vendor.name, vendor.settings)
    await client.start()

    assert (await send(client, vendor)).kind == "retry"
    await client.close()


async def test_a_server_that_cannot_be_trusted_gets_nothing(vendor: Vendor, sandbox: RunningSandbox) -> None:
    trusting_others = {key: value for key, value in sandbox.providers[vendor.name].items() if key != "ca_file"}
    client = client_of(vendor.name, trusting_others)
    await client.start()
    handle = a_handle()

    outcome = await client.send(MESSAGE, vendor.new_address(), handle, LIMIT_S)

    assert outcome.kind == "retry"
    assert await sandbox.calls(send_id=handle.send_id) == []
    await client.close()


async def test_wrong_credentials_are_config(
    vendor: Vendor, sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = vendor.with_wrong_credentials(sandbox.providers[vendor.name], tmp_path, monkeypatch)
    client = client_of(vendor.name, wrong)
    await client.start()

    outcome = await send(client, vendor)

    assert (outcome.kind, outcome.scope) == ("config", "lane")
    await client.close()


async def test_what_is_too_large_is_dropped_without_a_request(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    handle = a_handle()

    outcome = await client.send(vendor.oversized, vendor.new_address(), handle, LIMIT_S)

    assert (outcome.kind, outcome.why) == ("drop", "too_large")
    assert await sandbox.calls(send_id=handle.send_id) == []


async def test_a_cancelled_send_leaves_its_siblings_alone(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    await send(client, vendor)
    to, handle = vendor.new_address(), a_handle()
    await sandbox.fault(provider=vendor.name, action="hang", address=address_shown(to))
    hanging = asyncio.create_task(client.send(MESSAGE, to, handle, LIMIT_S))
    siblings = [asyncio.create_task(send(client, vendor)) for _ in range(5)]
    await sandbox.until_called(send_id=handle.send_id)

    hanging.cancel()

    assert {outcome.kind for outcome in await asyncio.gather(*siblings)} == {"ok"}
    assert (await send(client, vendor)).kind == "ok"


async def test_many_sends_at_once_are_each_one_request(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    handles = [a_handle() for _ in range(60)]

    outcomes = await asyncio.gather(
        *(client.send(MESSAGE, vendor.new_address(), handle, LIMIT_S) for handle in handles)
    )

    assert {outcome.kind for outcome in outcomes} == {"ok"}
    assert len({outcome.provider_message_id for outcome in outcomes}) == len(handles)
    for handle in handles:
        assert len(await sandbox.calls(send_id=handle.send_id)) == 1


@pytest.mark.parametrize(
    ("vendor", "code"),
    [
        ("apns", "Unregistered"),
        ("fcm", "UNREGISTERED"),
        ("webpush", "404"),
        ("webpush", "410"),
        ("twilio", "21211"),
        ("vonage", "6"),
        ("vonage", "33"),
    ],
    indirect=["vendor"],
)
async def test_a_dead_address_is_told(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox, code: str
) -> None:
    await sandbox.fault(provider=vendor.name, action="error", code=code)

    outcome = await send(client, vendor)

    assert (outcome.kind, outcome.code) == ("bad_token", code)


@pytest.mark.parametrize("vendor", ["apns"], indirect=True)
async def test_apns_tells_since_when_a_token_is_dead(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    await sandbox.fault(provider="apns", action="error", code="Unregistered")
    _, told = await sandbox.request("GET", "/faults")

    assert (await send(client, vendor)).invalid_since_ms == told["faults"][0]["since_ms"]


@pytest.mark.parametrize(("vendor", "code"), [("twilio", "21610"), ("sns", "OptedOut")], indirect=["vendor"])
async def test_the_provider_knows_who_said_stop(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox, code: str
) -> None:
    await sandbox.fault(provider=vendor.name, action="error", code=code)

    assert await send(client, vendor) == Outcome("drop", code=code, why="opted_out")


# --- asking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", ["twilio"], indirect=True)
@pytest.mark.parametrize(("action", "found"), [("accept_and_hang", True), ("hang", False)])
async def test_twilio_is_asked_what_became_of_a_send_in_doubt(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox, action: str, found: bool
) -> None:
    await sandbox.fault(provider="twilio", action=action)
    to, handle = vendor.new_address(), a_handle()
    assert (await client.send(MESSAGE, to, handle, SHORT_S)).kind == "in_doubt"

    answer = await client.ask(MESSAGE, to, handle, LIMIT_S)

    [*shown] = await sandbox.accepted(send_id=handle.send_id)
    names = tuple(message["provider_message_id"] for message in shown)
    expected = Outcome("ok", provider_message_id=names[0], found=names) if shown else None
    assert (answer, bool(shown)) == (expected, found)


@pytest.mark.parametrize("vendor", ["vonage"], indirect=True)
@pytest.mark.parametrize(("action", "found"), [("accept_and_hang", True), ("hang", False)])
async def test_vonage_is_asked_what_became_of_a_send_in_doubt(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox, action: str, found: bool
) -> None:
    to, handle = vendor.new_address(), a_handle()
    assert (await client.send(MESSAGE, to, a_handle(), LIMIT_S)).kind == "ok"  # another send of the same text
    await sandbox.fault(provider="vonage", action=action)
    assert (await client.send(MESSAGE, to, handle, SHORT_S)).kind == "in_doubt"

    answer = await client.ask(MESSAGE, to, handle, LIMIT_S)

    [*shown] = await sandbox.accepted(send_id=handle.send_id)
    expected = Outcome("ok", provider_message_id=shown[0]["provider_message_id"]) if shown else None
    assert (answer, bool(shown)) == (expected, found)


@pytest.mark.parametrize("vendor", ["twilio", "vonage"], indirect=True)
async def test_a_question_that_got_no_answer_is_not_taken_for_absence(
    client: ProviderClient, vendor: Vendor, sandbox: RunningSandbox
) -> None:
    await sandbox.fault(provider=vendor.name, operation="list", action="hang")

    answer = await client.ask(MESSAGE, vendor.new_address(), a_handle(), SHORT_S)

    assert answer is not None
    assert answer.kind == "in_doubt"


@pytest.mark.parametrize("vendor", ["apns", "fcm", "webpush", "ses", "sendgrid", "sns"], indirect=True)
async def test_providers_that_cannot_be_asked_know_nothing(client: ProviderClient, vendor: Vendor) -> None:
    assert await client.ask(MESSAGE, vendor.new_address(), a_handle(), LIMIT_S) is None


# --- behind the gate ---------------------------------------------------------------------------------------------


async def test_an_outage_opens_the_lane_and_the_provider_is_left_alone(vendor: Vendor, sandbox: RunningSandbox) -> None:
    told: list[Any] = []
    settings = Settings.model_validate({"providers": {vendor.name: sandbox.providers[vendor.name]}})
    gated = clients_for(CLIENTS[vendor.name][0], settings, lambda *change: told.append(change))[vendor.name]
    await gated.start()
    await sandbox.fault(provider=vendor.name, action="error")
    before = len(await sandbox.calls(provider=vendor.name, operation="send"))

    outcomes = [await send(gated, vendor) for _ in range(30)]

    assert told == [(vendor.name, "outage")]
    assert [outcome.kind for outcome in outcomes[:10]] == [vendor.outage_kind] * 10
    assert outcomes[-1].code == "lane_rests"
    called = len(await sandbox.calls(provider=vendor.name, operation="send")) - before
    assert called == sum(outcome.code != "lane_rests" for outcome in outcomes)
    await gated.close()
