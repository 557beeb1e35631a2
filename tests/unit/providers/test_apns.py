"""APNs' client on a server that misbehaves frame by frame: each call one request, one answer, in time."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from h2.errors import ErrorCodes

from app.config.providers import Apns as ApnsSettings
from app.domain.outcome import Outcome
from app.providers.apns import REASONS, Apns, ProviderToken, outcome_of, payload
from app.providers.apns_http2 import Reply
from schemas.requests import PushAction, PushOptions
from tests.unit.providers.apns_server import GRACEFUL, ApnsServer, Request
from tests.unit.providers.factories import a_device, a_handle, a_message

#: Far beyond any pause of the machine: where a deadline passes, the test moves the clock itself.
LIMIT_S = 600.0


async def send(apns: Apns, token: str = "ab" * 32, *, timeout_s: float = LIMIT_S, **handle: object) -> Outcome:
    return await apns.send(a_message(), a_device(token), a_handle(**handle), timeout_s)


async def prove(apns: Apns, server: ApnsServer) -> None:
    """Makes the first connection accept many requests at a time, as after its first answer."""
    script, server.script = server.script, Request.answer
    assert (await send(apns)).kind == "ok"
    server.script = script


# --- the request -------------------------------------------------------------------------------------------------


async def test_the_request_names_its_send(apns: Apns, server: ApnsServer) -> None:
    handle = a_handle(priority="low", collapse_id="c" * 64)

    outcome = await apns.send(a_message(), a_device("cd" * 32), handle, LIMIT_S)

    assert outcome == Outcome("ok", provider_message_id=handle.send_id)
    [request] = server.requests
    assert request.headers[":path"] == f"/3/device/{'cd' * 32}"
    assert request.headers["apns-id"] == handle.send_id
    assert request.headers["apns-topic"] == "com.example.shop"
    assert request.headers["apns-push-type"] == "alert"
    assert request.headers["apns-priority"] == "5"
    assert request.headers["apns-collapse-id"] == "c" * 64
    assert request.headers["apns-expiration"] == str(handle.expires_at_ms // 1000)
    assert request.json == {
        "aps": {"alert": {"title": "Your order", "body": "It has left."}},
        "order": "7",
        "url": "https://shop.example/orders/7",
        "send_id": handle.send_id,
        "notification_id": handle.notification_id,
    }


async def test_what_is_one_requests_alone_or_a_secret_stays_out_of_the_connections_table(
    apns: Apns, server: ApnsServer
) -> None:
    await send(apns)

    kept = {bytes(name).decode() for name, _ in server.connections[0].h2.decoder.header_table.dynamic_entries}
    assert kept == {":authority", "apns-topic", "apns-push-type", "apns-priority"}


async def test_a_device_that_named_its_app_is_reached_by_that_topic(apns: Apns, server: ApnsServer) -> None:
    await apns.send(a_message(), a_device(app_id="com.example.other"), a_handle(), LIMIT_S)

    assert server.requests[0].headers["apns-topic"] == "com.example.other"


async def test_an_app_id_that_is_no_topic_harms_only_its_send(apns: Apns, server: ApnsServer) -> None:
    outcome = await apns.send(a_message(), a_device(app_id="a\r\nb: c"), a_handle(), LIMIT_S)

    assert (outcome.kind, outcome.code) == ("drop", "BadTopic")
    assert server.requests == []


async def test_a_token_cannot_change_the_path(apns: Apns, server: ApnsServer) -> None:
    await send(apns, "../../x?y=1")

    assert server.requests[0].headers[":path"] == "/3/device/..%2F..%2Fx%3Fy%3D1"


async def test_a_payload_over_4096_bytes_is_dropped_without_a_request(apns: Apns, server: ApnsServer) -> None:
    outcome = await apns.send(a_message(body="é" * 2048), a_device(), a_handle(), LIMIT_S)

    assert outcome == Outcome("drop", code="PayloadTooLarge", why="too_large")
    assert server.requests == []


def test_data_cannot_take_the_place_of_the_names() -> None:
    handle = a_handle()

    told = json.loads(payload(a_message(data={"aps": "x", "send_id": "y", "url": "z"}), handle))

    assert told["send_id"] == handle.send_id
    assert told["aps"]["alert"]["title"] == "Your order"
    assert told["url"] == "https://shop.example/orders/7"


def aps(options: PushOptions | None = None, **handle: Any) -> dict[str, Any]:
    message = a_message(push=options, data=(options.data or {}) if options else {})
    told: dict[str, Any] = json.loads(payload(message, a_handle(**handle)))
    return {**told["aps"], "told": told}


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (PushOptions(badge=0), "badge", 0),
        (PushOptions(badge=7), "badge", 7),
        (PushOptions(sound="gate.caf"), "sound", "gate.caf"),
        (PushOptions(sound=""), "sound", None),
        (PushOptions(badge=1), "sound", "default"),
        (PushOptions(category="ORDER"), "category", "ORDER"),
        (PushOptions(thread_id="chat-17"), "thread-id", "chat-17"),
        (PushOptions(interruption_level="passive"), "interruption-level", "passive"),
        (PushOptions(mutable_content=True), "mutable-content", 1),
        (PushOptions(badge=1), "mutable-content", None),
    ],
)
def test_each_option_is_where_apple_looks_for_it(options: PushOptions, name: str, value: Any) -> None:
    assert aps(options).get(name) == value


@pytest.mark.parametrize(
    ("priority", "options", "level"),
    [
        ("critical", None, "time-sensitive"),
        ("critical", PushOptions(interruption_level="active"), "active"),
        ("high", None, None),
        ("low", PushOptions(interruption_level="time-sensitive"), "time-sensitive"),
    ],
)
def test_what_is_critical_is_time_sensitive_unless_asked(
    priority: str, options: PushOptions | None, level: str | None
) -> None:
    assert aps(options, priority=priority).get("interruption-level") == level


def test_buttons_and_data_are_the_apps() -> None:
    told = aps(PushOptions(actions=[PushAction("pay", "Pay now")], data={"order": "9"}))["told"]

    assert told["actions"] == [{"action": "pay", "title": "Pay now"}]
    assert told["order"] == "9"


async def test_a_silent_push_wakes_the_app_and_shows_nothing(apns: Apns, server: ApnsServer) -> None:
    options = PushOptions(silent=True, badge=3, sound="a", interruption_level="active")

    await apns.send(a_message(push=options, image="https://x.example/i.png"), a_device(), a_handle(), LIMIT_S)

    [request] = server.requests
    assert (request.headers["apns-push-type"], request.headers["apns-priority"]) == ("background", "5")
    assert json.loads(request.body)["aps"] == {"content-available": 1}


async def test_all_connections_share_one_token(apns: Apns, server: ApnsServer) -> None:
    await send(apns)
    server.connections[0].goaway(GRACEFUL)
    await server.connections[0].lost.wait()
    await send(apns)

    first, second = server.requests
    assert first.connection is not second.connection
    assert first.headers["authorization"] == second.headers["authorization"]


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "kind"), REASONS.items())
def test_every_reason_has_its_outcome(reason: str, kind: str) -> None:
    reply = Reply(400, {}, json.dumps({"reason": reason}).encode())

    assert outcome_of(reply, "id", False, 0.0).kind == kind


def test_a_refused_topic_of_the_settings_is_config() -> None:
    reply = Reply(400, {}, b'{"reason":"TopicDisallowed"}')

    assert outcome_of(reply, "id", True, 0.0).kind == "config"


async def test_a_dead_token_keeps_the_time_of_its_death(apns: Apns, server: ApnsServer) -> None:
    server.script = lambda request: request.refuse(410, "Unregistered", timestamp=1_700_000_000_123)

    assert await send(apns) == Outcome("bad_token", code="Unregistered", invalid_since_ms=1_700_000_000_123)


async def test_retry_after_is_kept(apns: Apns, server: ApnsServer) -> None:
    server.script = lambda request: request.answer(429, b'{"reason":"TooManyRequests"}', retry_after="7")

    assert await send(apns) == Outcome("throttle", code="TooManyRequests", retry_after_ms=7000, scope="address")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [(503, b"", "retry"), (500, b"<html>", "retry"), (502, b"", "in_doubt"), (410, b"[]", "bad_token")],
)
async def test_an_answer_without_a_reason_is_judged_by_its_status(
    apns: Apns, server: ApnsServer, status: int, body: bytes, kind: str
) -> None:
    server.script = lambda request: request.answer(status, body)

    outcome = await send(apns)

    assert (outcome.kind, outcome.code) == (kind, str(status))


async def test_a_reason_split_over_two_frames_is_read(apns: Apns, server: ApnsServer) -> None:
    def in_two(request: Request) -> None:
        h2 = request.connection.h2
        h2.send_headers(request.stream_id, [(":status", "400")])
        h2.send_data(request.stream_id, b'{"reason":"BadDev')
        h2.send_data(request.stream_id, b'iceToken"}', end_stream=True)

    server.script = in_two

    assert (await send(apns)).code == "BadDeviceToken"


async def test_1300_refusals_in_a_row_do_not_stall_the_connection(apns: Apns, server: ApnsServer) -> None:
    server.script = lambda request: request.refuse(410, "Unregistered", timestamp=1_700_000_000_123)

    outcomes = [await send(apns) for _ in range(1300)]

    assert {outcome.kind for outcome in outcomes} == {"bad_token"}
    assert len(server.connections) == 1


# --- GOAWAY, resets, silence -------------------------------------------------------------------------------------


async def test_goaway_splits_what_was_processed_from_what_was_not(apns: Apns, server: ApnsServer) -> None:
    await prove(apns, server)
    held: list[Request] = []

    def hold(request: Request) -> None:
        held.append(request)
        if len(held) == 4:
            request.connection.goaway(held[1].stream_id)
            for processed in held[:2]:
                processed.answer()

    server.script = hold

    outcomes = await asyncio.gather(*(send(apns) for _ in range(4)))

    assert [outcome.kind for outcome in outcomes] == ["ok", "ok", "retry", "retry"]
    assert len(server.requests) == 5
    await server.connections[0].lost.wait()


async def test_after_goaway_the_next_send_opens_another_connection(apns: Apns, server: ApnsServer) -> None:
    await prove(apns, server)
    server.script = lambda request: request.connection.goaway(0)
    assert (await send(apns)).kind == "retry"
    server.script = Request.answer

    assert (await send(apns)).kind == "ok"
    assert len(server.connections) == 2


async def test_a_refused_stream_was_not_sent(apns: Apns, server: ApnsServer) -> None:
    server.script = lambda request: request.reset(ErrorCodes.REFUSED_STREAM)

    assert await send(apns) == Outcome("retry", code="REFUSED_STREAM")


async def test_any_other_reset_is_in_doubt(apns: Apns, server: ApnsServer) -> None:
    server.script = lambda request: request.reset(ErrorCodes.INTERNAL_ERROR)

    assert await send(apns) == Outcome("in_doubt", doubt="connection_lost")


async def test_a_lost_connection_puts_all_its_requests_in_doubt_and_sends_none_again(
    apns: Apns, server: ApnsServer
) -> None:
    await prove(apns, server)
    server.script = lambda request: request.connection.cut() if len(server.requests) == 4 else None

    outcomes = await asyncio.gather(*(send(apns) for _ in range(3)))

    assert outcomes == [Outcome("in_doubt", doubt="connection_lost")] * 3
    assert len(server.requests) == 4
    server.script = Request.answer
    assert (await send(apns)).kind == "ok"


async def test_silence_ends_at_the_deadline_and_the_client_goes_on(
    apns: Apns, server: ApnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = lambda request: None
    sending = asyncio.create_task(send(apns))
    await server.until_received(1)
    skip_seconds(monkeypatch, LIMIT_S)  # the deadline passes only now: it is in doubt what was sent before
    assert await sending == Outcome("in_doubt", doubt="timeout")
    server.script = Request.answer

    assert (await send(apns)).kind == "ok"


async def test_a_late_answer_to_a_given_up_request_harms_nobody(
    apns: Apns, server: ApnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prove(apns, server)
    held: list[Request] = []
    server.script = lambda request: held.append(request) if request.token == "aa" else request.answer()
    given_up = asyncio.create_task(send(apns, "aa"))
    await server.until_received(2)
    await send(apns)
    # The deadline passes only now, however slow the machine: a connection that was silent since would get no more.
    skip_seconds(monkeypatch, LIMIT_S)
    assert (await given_up).doubt == "timeout"
    sibling = asyncio.create_task(send(apns, "aa"))
    await server.until_received(4)

    held[0].connection.transport.write(b"\x00\x00\x01\x01\x05" + held[0].stream_id.to_bytes(4, "big") + b"\x88")
    held[1].answer()

    assert (await sibling).kind == "ok"
    assert len(server.connections) == 1


def skip_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Moves the loop's clock ahead."""
    loop = asyncio.get_running_loop()
    time_of = loop.time
    monkeypatch.setattr(loop, "time", lambda: time_of() + seconds)


async def test_a_cancelled_send_leaves_its_siblings_alone(apns: Apns, server: ApnsServer) -> None:
    await prove(apns, server)
    held: list[Request] = []
    server.script = held.append
    sends = [asyncio.create_task(send(apns, token)) for token in ("aa", "bb", "cc")]
    await server.until_received(4)

    sends[0].cancel()
    for request in held[1:]:
        request.answer()

    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert [isinstance(outcome, Outcome) and outcome.kind for outcome in outcomes[1:]] == ["ok", "ok"]
    assert len(server.connections) == 1
    assert server.resets == [held[0].stream_id]


async def test_a_cancelled_send_does_not_hang_its_siblings_when_the_connection_dies(
    apns: Apns, server: ApnsServer
) -> None:
    await prove(apns, server)
    server.script = lambda request: None
    sends = [asyncio.create_task(send(apns, token)) for token in ("aa", "bb", "cc")]
    await server.until_received(4)
    sends[0].cancel()
    await asyncio.wait(sends[:1])

    server.connections[0].cut()

    assert await asyncio.gather(*sends[1:]) == [Outcome("in_doubt", doubt="connection_lost")] * 2


async def test_two_attempts_of_one_send_at_a_time_each_have_their_answer(apns: Apns, server: ApnsServer) -> None:
    await prove(apns, server)
    held: list[Request] = []

    def answer_both(request: Request) -> None:
        held.append(request)
        if len(held) == 2:
            held[0].answer()
            held[1].refuse(410, "Unregistered")

    server.script = answer_both
    handle = a_handle()
    both = (apns.send(a_message(), a_device(), handle, LIMIT_S) for _ in range(2))

    assert [outcome.kind for outcome in await asyncio.gather(*both)] == ["ok", "bad_token"]


async def test_garbage_from_the_server_is_in_doubt_not_an_exception(apns: Apns, server: ApnsServer) -> None:
    headers_on_stream_0 = b"\x00\x00\x01\x01\x05\x00\x00\x00\x00\x88"
    server.script = lambda request: request.connection.transport.write(headers_on_stream_0)

    assert await send(apns) == Outcome("in_doubt", doubt="connection_lost")


async def test_a_refused_connection_was_not_sent(apns: Apns, server: ApnsServer) -> None:
    await server.stop()

    assert await send(apns) == Outcome("retry", code="ConnectionRefusedError")


async def test_a_server_that_cannot_be_trusted_gets_nothing(apns: Apns, server: ApnsServer, key_file: Path) -> None:
    client = Apns(
        ApnsSettings(host="127.0.0.1", port=server.port, key_file=key_file, key_id="K", team_id="T", topic="t")
    )
    await client.start()

    assert (await send(client)).kind == "retry"
    assert server.requests == []
    await client.close()


# --- streams and connections -------------------------------------------------------------------------------------


async def test_a_fresh_connection_takes_one_request_until_the_token_is_accepted(apns: Apns, server: ApnsServer) -> None:
    held: list[Request] = []

    def answer_first_late(request: Request) -> None:
        held.append(request)
        if len(held) == 1:
            asyncio.get_running_loop().call_later(0.1, go_on)

    def go_on() -> None:
        server.script = Request.answer
        for request in held:
            request.answer()

    server.script = answer_first_late

    outcomes = await asyncio.gather(*(send(apns) for _ in range(5)))

    assert {outcome.kind for outcome in outcomes} == {"ok"}
    assert len(held) == 1
    assert len(server.connections) == 1


async def test_the_server_limit_of_streams_is_kept(apns: Apns, server: ApnsServer) -> None:
    server.max_streams = 3
    most = 0

    def count(request: Request) -> None:
        nonlocal most
        most = max(most, request.connection.h2.open_inbound_streams)
        asyncio.get_running_loop().call_soon(request.answer)

    server.script = count

    outcomes = await asyncio.gather(*(send(apns) for _ in range(60)))

    assert {outcome.kind for outcome in outcomes} == {"ok"}
    assert most <= 3


async def test_sends_that_wait_are_written_in_the_order_in_which_they_came(apns: Apns, server: ApnsServer) -> None:
    server.max_streams = 1
    tokens = [f"{number:04x}" for number in range(40)]

    await asyncio.gather(*(send(apns, token) for token in tokens))

    assert [request.token for request in server.requests] == tokens


async def test_a_host_that_is_no_name_was_not_sent(key_file: Path) -> None:
    client = Apns(ApnsSettings(host="a" * 70 + ".example", key_file=key_file, key_id="K", team_id="T", topic="t"))
    await client.start()

    assert (await send(client)).kind == "retry"
    await client.close()


async def test_500_sends_at_once_are_500_requests(apns: Apns, server: ApnsServer) -> None:
    outcomes = await asyncio.gather(*(send(apns) for _ in range(500)))

    assert {outcome.kind for outcome in outcomes} == {"ok"}
    assert len({request.headers["apns-id"] for request in server.requests}) == len(server.requests) == 500


async def test_a_key_bound_connection_is_replaced(apns: Apns, server: ApnsServer) -> None:
    server.script = lambda request: request.refuse(403, "UnrelatedKeyIdInToken")
    assert (await send(apns)).kind == "config"
    server.script = Request.answer

    assert (await send(apns)).kind == "ok"
    assert len(server.connections) == 2


async def test_close_ends_what_is_in_flight(apns: Apns, server: ApnsServer) -> None:
    server.script = lambda request: None
    waiting = asyncio.create_task(send(apns))
    await server.until_received(1)

    await apns.close()

    assert (await waiting).doubt == "connection_lost"
    await server.connections[0].lost.wait()


# --- the provider token ------------------------------------------------------------------------------------------


def test_the_token_is_signed_anew_every_half_an_hour(key_file: Path) -> None:
    token = ProviderToken(key_file.read_text(), "KEYID12345", "TEAMID1234")
    now = time.time()

    first = token.header(now)

    assert token.header(now + 29 * 60) == first
    assert token.header(now + 31 * 60) != first
    claims = jwt.decode(first.removeprefix("bearer "), options={"verify_signature": False})
    assert claims == {"iss": "TEAMID1234", "iat": int(now)}


def test_an_expired_token_is_signed_anew_but_not_twice_in_20_minutes(key_file: Path) -> None:
    token = ProviderToken(key_file.read_text(), "KEYID12345", "TEAMID1234")
    now = time.time()
    first = token.header(now)

    token.expire(now + 60)
    assert token.header(now + 60) == first

    token.expire(now + 21 * 60)
    assert token.header(now + 21 * 60) != first


async def test_a_key_that_is_none_is_refused_at_start_by_its_setting(tmp_path: Path) -> None:
    path = tmp_path / "key.p8"
    path.write_text("not a key")
    client = Apns(ApnsSettings(key_file=path, key_id="K", team_id="T", topic="t"))

    with pytest.raises(ValueError, match=r"providers\.apns\.key_file"):
        await client.start()
