"""Fair shares: nobody's calls take what others need."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from app.api.intake import Taken
from app.api.limits import REFUSED_RATE, UNKNOWN_CANCELS_RATE, USER_RATE
from app.api.room import Size
from app.store.publisher import Outgoing
from schemas.topics import EVENT_TOPIC_OF_LANE
from tests.calling import user_token
from tests.conftest import until
from tests.security.conftest import Opening, api_key

SHOP, AUTH = "shop." + "s" * 43, "auth." + "a" * 43
KEYS = (api_key(SHOP), api_key(AUTH))
CANCELS = UNKNOWN_CANCELS_RATE.burst
BURST = REFUSED_RATE.burst
WRONG = ["shop." + "x" * 43, "nobody." + "s" * 43, "a.b.c", user_token("ada")[:-2] + "xx", "\x80"]


def notification(priority: str = "normal") -> bytes:
    content = {"title": "Hello", "body": "World"}
    return msgspec.json.encode({"user_id": "ada", "event_type": "a.b", "priority": priority, "content": content})


@pytest.mark.parametrize("wrong", WRONG, ids=["secret", "id", "shape", "signature", "bytes"])
async def test_failed_authentications_are_limited_and_good_keys_go_on(open_door: Opening, wrong: str) -> None:
    async with open_door(*KEYS) as door:
        replies = [await door.call("POST", "/v1/notifications", b"{}", key=wrong) for _ in range(BURST + 3)]
        good = await door.call("POST", "/v1/notifications", notification(), key=SHOP)

    assert [reply.status for reply in replies] == [401] * BURST + [429] * 3
    assert (replies[-1].headers["Retry-After"], replies[-1].headers["Connection"]) == ("1", "close")
    assert good.status == 202


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("DELETE", "/openapi.json"), ("GET", "/v1/policy")])
async def test_whatever_is_refused_without_credentials_counts(open_door: Opening, method: str, path: str) -> None:
    async with open_door() as door:
        statuses = [(await door.call(method, path)).status for _ in range(BURST + 1)]

    assert statuses.index(429) == BURST


async def test_each_key_has_a_rate_of_its_own_that_every_answer_tells(open_door: Opening) -> None:
    keys = (api_key(SHOP, rate="3/m"), api_key(AUTH, scopes=["send"]))
    async with open_door(*keys, rate=50) as door:
        replies = [await door.call("POST", "/v1/notifications", notification(), key=SHOP) for _ in range(3)]
        other = await door.call("GET", "/v1/policy", key=AUTH)

    assert [reply.status for reply in replies] == [202, 429, 429]
    for reply in replies:
        assert {name: reply.headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining")} == {
            "Limit": "1",
            "Remaining": "0",
        }
    assert all(0 < int(reply.headers["Retry-After"]) <= 20 for reply in replies[1:])
    assert other.status == 403
    assert (other.headers["RateLimit-Limit"], other.headers["RateLimit-Remaining"]) == ("50", "49")


async def test_each_request_of_a_bulk_counts(open_door: Opening) -> None:
    body = msgspec.json.encode({"requests": [msgspec.Raw(notification())] * 40})
    async with open_door(*KEYS, rate=10) as door:
        first = await door.call("POST", "/v1/notifications/bulk", body, key=SHOP)
        second = await door.call("POST", "/v1/notifications", notification(), key=SHOP)

    assert (first.status, first.headers["RateLimit-Remaining"]) == (202, "0")
    assert (second.status, second.headers["Retry-After"]) == (429, "4")


async def test_what_there_is_no_room_for_is_refused_before_its_records_are_made(
    open_door: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def records(_: Taken) -> Iterator[Outgoing]:
        raise AssertionError("a thousand records were made of what is refused")

    monkeypatch.setattr(Taken, "records", records)
    content = {"title": "Hello", "body": "World"}
    users = [f"user-{number}" for number in range(1000)]
    one = msgspec.json.encode({"user_ids": users, "event_type": "a.b", "content": content})
    many = msgspec.json.encode({"requests": [msgspec.Raw(one)]})
    async with open_door(*KEYS, room=Size(records=100, octets=1 << 30)) as door:
        replies = [
            await door.call("POST", f"/v1/notifications{path}", body, key=SHOP)
            for path, body in (("", one), ("/bulk", many))
        ]

    assert [reply.status for reply in replies] == [429, 429]


async def test_a_user_has_a_rate(open_door: Opening) -> None:
    async with open_door() as door:
        calls = [door.call("GET", "/v1/users/ada/profile", key=user_token("ada")) for _ in range(USER_RATE.burst * 2)]
        statuses = [reply.status for reply in await asyncio.gather(*calls)]
        other = await door.call("GET", "/v1/users/bob/devices", key=user_token("bob"))

    assert 429 in statuses
    assert other.status == 200


async def test_with_one_key_flooding_bulk_anothers_critical_requests_are_taken(open_door: Opening) -> None:
    bulk = msgspec.json.encode({"requests": [msgspec.Raw(notification())] * 10})
    one = notification("critical")
    async with open_door(*KEYS, room=Size(records=100, octets=1 << 20)) as door:
        door.log.open.clear()
        flood = [asyncio.create_task(door.call("POST", "/v1/notifications/bulk", bulk, key=SHOP)) for _ in range(20)]
        await until(lambda: sum(task.done() for task in flood) == 16)
        critical = [asyncio.create_task(door.call("POST", "/v1/notifications", one, key=AUTH)) for _ in range(20)]
        await until(lambda: door.log.waiting == 24)
        door.log.open.set()
        flooded = [(await task).status for task in flood]
        taken = [(await task).status for task in critical]

    assert sorted(flooded) == [202] * 4 + [429] * 16
    assert taken == [202] * 20


async def test_a_key_that_may_not_ask_for_critical_is_lowered(open_door: Opening) -> None:
    async with open_door(api_key(SHOP, critical=False)) as door:
        assert (await door.call("POST", "/v1/notifications", notification("critical"), key=SHOP)).status == 202
        [record] = door.log.records

    assert msgspec.json.decode(record.value or b"")["priority"] == "high"
    assert record.topic == EVENT_TOPIC_OF_LANE["normal"]


async def test_cancelling_what_is_not_known_is_limited(open_door: Opening) -> None:
    path = "/v1/notifications/0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"
    async with open_door(*KEYS) as door:
        statuses = [(await door.call("DELETE", path, key=SHOP)).status for _ in range(CANCELS + 2)]

    assert statuses == [202] * CANCELS + [429] * 2
