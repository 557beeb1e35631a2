"""What anybody may write: sizes, transactions, header names, numbers and instants, on every topic and by HTTP.

What can't be taken must become a dead letter of its own, or a 4xx that names a field; its neighbours go on, and
whatever was accepted comes to its end.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
import jwt
from aiokafka import AIOKafkaProducer

from faults.record import unix_ms
from faults.scene import Experiment, Scene

_EVENTS = ("notify_events", "notify_events_critical", "notify_events_bulk")
_SENDS = tuple(f"notify_send_{channel}" for channel in ("push", "email", "sms", "in_app"))
_EVERY_TOPIC = (*_EVENTS, "notify_commands", "notify_receipts", *_SENDS)
_KIB = 1024
#: How long a neighbour's request may wait to be accepted: what a loaded machine needs, and the second that is allowed.
_NEIGHBOUR_MS = 5_000
#: In the short form it has to be accepted at all while the experiment goes on.
_NEIGHBOUR_SHORT_MS = 120_000
_LETTERS_S = 180.0


@dataclass(slots=True)
class Expected:
    """What the experiments of a scene wait for at its end."""

    letters: dict[tuple[str, int, int], str | None] = field(default_factory=dict)
    #: Answers by HTTP that should have been a 4xx with a field.
    taken: list[str] = field(default_factory=list)
    #: Events of users whom nobody may hear of.
    aborted: set[str] = field(default_factory=set)
    neighbours: list[tuple[str, int]] = field(default_factory=list)


def _expected(scene: Scene) -> Expected:
    expected: Expected = scene.extra.setdefault("hostile", Expected())
    return expected


async def _refused(scene: Scene, topic: str, user: str, value: bytes, code: str | None = None, **how: Any) -> None:
    """One record that has to become a dead letter. ``code``: its kind, where it is known."""
    at = await scene.load.produce_raw(topic, user.encode(), value, **how)
    _expected(scene).letters[topic, at.partition, at.offset] = code


async def _neighbour(scene: Scene, partition_of: str) -> None:
    """A request of somebody else in the same partition, whose acceptance is waited for at the end."""
    user = scene.load.neighbour_of(partition_of)
    name = await scene.load.ask(user, priority="critical")
    _expected(scene).neighbours.append((name, unix_ms()))


@asynccontextmanager
async def _as_user(scene: Scene, user: str) -> AsyncIterator[aiohttp.ClientSession]:
    state = scene.system.dev.state
    now = int(time.time())
    token = jwt.encode({"sub": user, "iat": now, "exp": now + 600}, state.jwt_secret, algorithm="HS256")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(state.gateway_url, headers=headers) as http:
        yield http


async def _refused_by_http(scene: Scene, user: str, calls: Iterable[tuple[str, str, str]]) -> None:
    """(method, path, body): each has to be answered with a 4xx that names a field."""
    async with _as_user(scene, user) as http:
        for method, path, body in calls:
            async with http.request(
                method, path.format(user=user), data=body.encode("utf-8", "surrogatepass")
            ) as answer:
                text = await answer.text()
                named = answer.status < 500 and answer.status >= 400 and "field" in json.loads(text)
                if not named:
                    _expected(scene).taken.append(f"{method} {path} {body[:60]}: {answer.status} {text[:200]}")


async def _judge(scene: Scene) -> None:
    """Letters, answers and neighbours, for whatever experiments there were. Once for all of them."""
    expected: Expected | None = scene.extra.pop("hostile", None)
    if expected is None:
        return
    await scene.system.until(lambda: expected.letters.keys() <= _letters(scene).keys(), _LETTERS_S)
    letters = _letters(scene)
    missing = sorted(expected.letters.keys() - letters.keys())
    scene.extra["letters_expected"] = len(expected.letters)
    scene.extra["no_letter"] = [list(place) for place in missing[:10]]
    scene.found("LETTERS", "records that can't be taken without a dead letter that names them", len(missing))
    wrong = [
        (place, code, letters[place].get("code"))
        for place, code in expected.letters.items()
        if code is not None and place in letters and letters[place].get("code") != code
    ]
    scene.extra["wrong_code"] = [str(each) for each in wrong[:10]]
    scene.found("CODES", "dead letters of another kind", len(wrong))
    scene.extra["taken_by_http"] = expected.taken[:10]
    scene.found("TAKEN", "answers by HTTP that should have been a 4xx with a field", len(expected.taken))
    obeyed = sum(event["user_id"] in expected.aborted for event in scene.observer.events)
    scene.found("OBEYED", "events of what was never committed", obeyed)
    late = _late(scene, expected.neighbours)
    scene.extra["neighbours_ms"] = sorted(late, reverse=True)[:5]
    most_ms = _NEIGHBOUR_SHORT_MS if scene.short else _NEIGHBOUR_MS
    held_up = sum(ms > most_ms for ms in late)
    scene.found("HELD_UP", f"neighbours' critical requests accepted more than {most_ms} ms later", held_up)


def _letters(scene: Scene) -> Mapping[tuple[str, int, int], Mapping[str, Any]]:
    return {(each["topic"], each["partition"], each["offset"]): each for each in scene.observer.dead}


def _late(scene: Scene, neighbours: Iterable[tuple[str, int]]) -> list[int]:
    """How long after their acknowledgement they were accepted, in ms; those that weren't count as for ever."""
    accepted = {e["notification_id"]: e["occurred_at"] for e in scene.observer.events if e["status"] == "accepted"}
    return [_ms(accepted[name]) - at if name in accepted else 10**9 for name, at in neighbours]


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _command(user: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "user_id": user, "id": f"hostile-{time.monotonic_ns()}", "at": _now(), **fields}


def _request(user: str, **fields: Any) -> dict[str, Any]:
    good = {"user_id": user, "event_type": "order.shipped", "source": user, "content": {"title": "a", "body": "b"}}
    return {**good, "idempotency_key": f"hostile-{time.monotonic_ns()}", **fields}


def _receipt(user: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"hostile-{time.monotonic_ns()}",
        "user_id": user,
        "notification_id": "00000000-0000-4000-8000-000000000000",
        "status": "delivered",
        "occurred_at": _now(),
        **fields,
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _raw(record: Mapping[str, Any], name: str, value: str) -> bytes:
    """The record's JSON with one more member, whose value is written as it stands."""
    text = json.dumps(record)
    return f'{text[:-1]}, "{name}": {value}}}'.encode("utf-8", "surrogatepass")


# --- sizes ---


async def _sizes(scene: Scene) -> None:
    user = await scene.load.newcomer()
    rounds = 1 if scene.short else 4
    for _ in range(rounds):
        await scene.more(0.1)
        for topic in _EVERY_TOPIC:
            noise = scene.random.randbytes(3_600_000)
            await _refused(scene, topic, user, noise)
        await _refused(scene, "notify_events", user, _json(_request(user, data={"x": "y" * 65 * _KIB})), "too_large")
        body = {"title": "a", "body": "b" * 257 * _KIB}
        await _refused(scene, "notify_events", user, _json(_request(user, content=body)), "too_large")
        headers = [(f"h{n}", b"x" * 30 * _KIB) for n in range(20)]
        await _refused(scene, "notify_events", user, _json(_request(user)), "too_large", headers=headers)
        blob = {"attributes": {"x": "y" * 17 * _KIB}}
        await _refused(scene, "notify_commands", user, _json(_command(user, "profile.set", **blob)), "too_large")
        token = {"device_id": "d", "platform": "android", "token": "t" * 900 * _KIB}
        await _refused(scene, "notify_commands", user, _json(_command(user, "device.add", **token)), "too_large")
        detail = {"detail": {"x": "y" * 70 * _KIB}}
        await _refused(scene, "notify_receipts", user, _json(_receipt(user, **detail)), "too_large")
        await _neighbour(scene, user)
    await _largest_that_may_be(scene, user)
    await _gathered(scene)
    await _much_behind_one_record(scene)
    device = json.dumps({"device_id": "d", "platform": "android", "token": "t" * 900 * _KIB})
    attributes = json.dumps({"attributes": {"x": "y" * 17 * _KIB}})
    calls = [("POST", "/v1/users/{user}/devices", device), ("PATCH", "/v1/users/{user}/profile", attributes)]
    await _refused_by_http(scene, user, calls * (2 if scene.short else 9))


async def _largest_that_may_be(scene: Scene, user: str) -> None:
    """A body as long as it may be, for a user with twenty devices, on every channel."""
    for number in range(20):
        device = {"device_id": f"large-{number}", "platform": "android", "token": f"fcm-{user}-{number}-" + "x" * 200}
        await scene.load.command("device.add", user, device)
    channels = ["push", "email", "sms", "in_app"]
    for _ in range(2 if scene.short else 10):
        await scene.load.ask(user, content={"title": "a", "body": "b" * 250 * _KIB}, channels=channels)
        await _neighbour(scene, user)


async def _gathered(scene: Scene) -> None:
    """A hundred items of 50 KB in one digest."""
    user = await scene.load.newcomer()
    for number in range(30 if scene.short else 100):
        data = {"thread": "one", "number": number, "text": "x" * 50 * _KIB}
        await scene.load.ask(user, event_type="comment.created", data=data, channels=["push", "email"])
    await _neighbour(scene, user)


async def _much_behind_one_record(scene: Scene) -> None:
    """A campaign that is called off, and a user who is erased, with thousands of waiting notifications."""
    many = 300 if scene.short else 5_000
    user, other = await scene.load.newcomer(), await scene.load.newcomer()
    campaign, later = f"campaign-{time.monotonic_ns()}", _at(3600)
    await scene.load.ask_many(user, many, send_at=later, campaign_id=campaign)
    await scene.load.ask_many(other, many, send_at=later)
    await scene.load.command("notification.cancel", user, {"campaign_id": campaign})
    await _neighbour(scene, user)
    await scene.load.command("user.erase", other, {})
    await _neighbour(scene, other)


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def _json(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode()


# --- transactions ---


async def _transactions(scene: Scene) -> None:
    expected = _expected(scene)
    for number in range(2 if scene.short else 6):
        await scene.more(0.1)
        ghosts = [f"ghost-{number}-{n}-{scene.random.randrange(10**9)}" for n in range(4)]
        expected.aborted.update(ghosts)
        async with _transactional(scene, f"aborts-{number}") as producer:
            await producer.begin_transaction()
            for ghost in ghosts:
                await _haunt(producer, ghost)
            await producer.abort_transaction()
        # Markers, and nothing else, now end many partitions of every topic.
        user = await scene.load.newcomer()
        await _neighbour(scene, user)
    await _open_for_a_while(scene)


async def _haunt(producer: AIOKafkaProducer, user: str) -> None:
    """What a user would be told, if it had ever been committed."""
    key = user.encode()
    profile = _command(user, "profile.set", email=f"{user}@example.com", email_verified=True, phone="+12025550100")
    await producer.send_and_wait("notify_commands", _json(profile), key=key)
    for topic in _EVENTS:
        await producer.send_and_wait(topic, _json(_request(user, channels=["email", "sms", "in_app"])), key=key)
    await producer.send_and_wait("notify_receipts", _json(_receipt(user)), key=key)


async def _open_for_a_while(scene: Scene) -> None:
    """Behind an open transaction its partition waits, and nobody ends; others go on."""
    user = await scene.load.newcomer()
    elsewhere = scene.load.elsewhere(user)
    async with _transactional(scene, "stays-open") as producer:
        await producer.begin_transaction()
        ghost = f"{user}-ghost"
        _expected(scene).aborted.add(ghost)
        await producer.send_and_wait("notify_commands", _json(_command(ghost, "profile.set")), key=user.encode())
        await producer.send_and_wait("notify_events", _json(_request(ghost)), key=user.encode())
        began = unix_ms()
        while unix_ms() - began < (15_000 if scene.short else 50_000):
            await _neighbour(scene, elsewhere)
            await scene.load.ask(user)
            await asyncio.sleep(2.0)
        await producer.abort_transaction()
    ended = [line for line in scene.record.injected if line["fault"] == "process_ended"]
    scene.found("ENDED", "processes that ended because a transaction was open", len(ended))


@asynccontextmanager
async def _transactional(scene: Scene, name: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=scene.system.dev.state.kafka_bootstrap,
        transactional_id=f"{name}-{time.monotonic_ns()}",
        transaction_timeout_ms=60_000,
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


# --- header names ---


async def _headers(scene: Scene) -> None:
    for _ in range(2 if scene.short else 8):
        await scene.more(0.1)
        user = await scene.load.newcomer()
        for topic in _EVERY_TOPIC:
            await _refused(scene, topic, user, b"not json", raw_header=scene.random.choice(_NAMES))
        for name in _NAMES:
            await scene.load.ask(user, raw_header=name)
        odd = [("", b""), ("é" * 100, None), ("content-type", b"\xff\xfe"), ("tocsin-origin", b"notify_events:0:0")]
        await scene.load.ask(user, headers=odd)
        await scene.load.ask(user, headers=[(f"h{n}", b"v") for n in range(1_000)])
        await _neighbour(scene, user)


_NAMES = (b"\xff\xfe", b"\xc3\x28", b"\x00", b"caf\xe9", b"\xed\xa0\x80")


# --- numbers ---

_BAD_VALUES = (
    *("1e999", "-1e999", "18446744073709551616", "-9223372036854775809", "1" + "0" * 400, "NaN", "Infinity"),
    *(
        '"\\u0000"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        "[" * 120 + "]" * 120,
        '{"a":' * 120 + "1" + "}" * 120,
        "01",
        "'x'",
    ),
)
#: Not JSON at all, so that there is no field to name.
_NO_JSON = ("01", "'x'", "+1", ".5", "1.", "tru", "[1,]")
_GOOD_VALUES = (
    *("18446744073709551615", "-9223372036854775808", "1.7976931348623157e308", "5e-324", "-0.0", "1e2", "0.1"),
    *('"\\ud83d\\ude00"', '"é"', "[" * 90 + "]" * 90, '""', "null", "true"),
)


async def _numbers(scene: Scene) -> None:
    for _ in range(1 if scene.short else 4):
        await scene.more(0.1)
        user = await scene.load.newcomer()
        for value in (*_BAD_VALUES, *_NO_JSON):
            data = f'{{"x": {value}}}'
            for topic in _EVENTS:
                await _refused(scene, topic, user, _raw(_request(user), "unknown", value))
                await _refused(scene, topic, user, _raw(_request(user), "data", data))
            profile = _command(user, "profile.set")
            await _refused(scene, "notify_commands", user, _raw(profile, "attributes", data))
            await _refused(scene, "notify_commands", user, _raw(profile, "unknown", value))
            wishes = _command(user, "preferences.patch")
            await _refused(scene, "notify_commands", user, _raw(wishes, "preferences", f'{{"channels": {data}}}'))
            consent = _command(user, "consent.set", channel="sms", category="orders", granted=True)
            await _refused(scene, "notify_commands", user, _raw(consent, "evidence", data))
            await _refused(scene, "notify_receipts", user, _raw(_receipt(user), "detail", data))
        await _neighbour(scene, user)
        for value in _GOOD_VALUES:
            await scene.load.ask(user, data_text=f'{{"x": {value}}}')
            await scene.load.ask(user, event_type="comment.created", data_text=f'{{"thread": "t", "x": {value}}}')
        calls = [
            *(("PATCH", "/v1/users/{user}/profile", f'{{"attributes": {{"n": {value}}}}}') for value in _BAD_VALUES),
            *(("PUT", "/v1/users/{user}/preferences", f'{{"channels": {{"n": {value}}}}}') for value in _BAD_VALUES),
            *(("POST", "/v1/users/{user}/activity", f'{{"timezone": "UTC", "n": {value}}}') for value in _BAD_VALUES),
        ]
        await _refused_by_http(scene, user, calls)


# --- instants ---

_BAD_INSTANTS = (
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z"),
    *("2200-01-02T00:00:00Z", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-W01-1T00:00:00Z", "soon", ""),
    *("2026-11-29T24:00:00Z", "2026-11-29T10:00Z", "2026-11-29 10:00:00", "2026-11-29T10:00:00", "20261129T100000Z"),
)


async def _instants(scene: Scene) -> None:
    for _ in range(1 if scene.short else 4):
        await scene.more(0.1)
        user = await scene.load.newcomer()
        for instant in _BAD_INSTANTS:
            for name in ("send_at", "expires_at", "created_at"):
                await _refused(scene, "notify_events", user, _json(_request(user, **{name: instant})), "invalid")
            profile = {**_command(user, "profile.set"), "at": instant}
            await _refused(scene, "notify_commands", user, _json(profile), "invalid")
            dnd = {"dnd": {"enabled": True, "until": instant}}
            await _refused(scene, "notify_commands", user, _json(_command(user, "preferences.patch", preferences=dnd)))
        await _neighbour(scene, user)
        good = ("1970-01-01T00:00:00Z", "2199-12-31T23:59:59.999Z", "2026-06-30T23:59:60Z", "2026-11-29t10:00:00.1z")
        for instant in good:
            await scene.load.ask(user, created_at=instant, channels=["in_app", "email"])
            await scene.load.ask(
                user, event_type="comment.created", created_at=instant, data={"thread": "t"}, channels=["email"]
            )
        await scene.load.ask(user, timestamp_ms=0)
        calls = [
            ("PUT", "/v1/users/{user}/preferences", json.dumps({"dnd": {"enabled": True, "until": instant}}))
            for instant in _BAD_INSTANTS
        ]
        await _refused_by_http(scene, user, calls)
    await _phones_with_wrong_clocks(scene)


async def _phones_with_wrong_clocks(scene: Scene) -> None:
    """Their receipts count as of now, and keep what they said."""
    user, instants = (
        await scene.load.newcomer(),
        ("0001-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    )
    names = [await scene.load.ask(user) for _ in instants]

    def sends() -> dict[str, str]:
        return {e["notification_id"]: e["send_id"] for e in scene.observer.events if e["status"] == "sent"}

    await scene.system.until(lambda: sends().keys() >= set(names), 60.0)
    for name, instant in zip(names, instants, strict=True):
        receipt = _receipt(user, notification_id=name, send_id=sends().get(name), occurred_at=instant, status="opened")
        await scene.load.produce_raw("notify_receipts", user.encode(), _json(receipt))

    def is_told(name: str) -> bool:
        return any(
            event["notification_id"] == name and event["status"] == "opened" and "claimed_at" in (event["detail"] or {})
            for event in scene.observer.events
        )

    await scene.system.until(lambda: all(map(is_told, names)), 60.0)
    lost = sum(not is_told(name) for name in names)
    scene.found("CLAIMED", "receipts from phones with a wrong clock that were lost", lost)


EXPERIMENTS = (
    Experiment(
        "sizes",
        "Records of up to 3.6 MB, the largest content to 20 devices, a digest of 5 MB, thousands behind one record.",
        _sizes,
        after=_judge,
    ),
    Experiment(
        "transactions",
        "Aborted transactions on every topic, markers at their ends, and one that stays open for nearly a minute.",
        _transactions,
        after=_judge,
    ),
    Experiment("headers", "Header names that aren't UTF-8, on every topic.", _headers, after=_judge),
    Experiment(
        "numbers",
        "Values that JSON can say and others can't, at every depth, on every topic and by HTTP.",
        _numbers,
        after=_judge,
    ),
    Experiment(
        "instants",
        "Instants that nobody can hold, in every field, and phones with wrong clocks.",
        _instants,
        after=_judge,
    ),
)
