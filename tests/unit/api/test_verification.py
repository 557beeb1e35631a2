"""``profile/verify`` over HTTP: what a user is told of a code, and how many they, an address and a country get."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.router.verify_addresses import verification_view
from app.api.code_limits import CodeLimits, country_of
from app.api.problems import Problem
from app.config import Verify
from app.domain.codes import code_of
from app.domain.verification import CODE_MS
from schemas import topics
from schemas.sends import Send, read_send
from tests.agents.harness import NOON
from tests.agents.test_verifying import wrong
from tests.records import Record
from tests.unit.api import test_hostile_calls as hostile

SECRET = b"s" * 32
PHONE = "+442071838751"
SEND_TOPICS = {topic for lanes in topics.SEND_TOPICS.values() for topic in lanes}


class App:
    """A user's app, which reads its own messages."""

    def __init__(self, client: Any, log: Any, user_id: str = "ada") -> None:
        self.client, self.log, self.user_id = client, log, user_id
        self.names = iter(f"0b6a5e5c-6f0e-4d7c-9f5e-{n:012x}" for n in range(1_000))

    async def call(self, method: str, path: str, **body: Any) -> tuple[int, Any, Any]:
        token = jwt.encode({"sub": self.user_id, "exp": 4_000_000_000}, hostile.SECRET)
        headers = {"Authorization": f"Bearer {token}"}
        url = f"/v1/users/{self.user_id}/{path}"
        async with self.client.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.json() if response.status != 204 else None, response.headers

    async def verify(self, channel: str = "sms", **more: Any) -> tuple[int, Any, Any]:
        return await self.call("POST", "profile/verify", channel=channel, **more)

    def code(self) -> str:
        """Of the latest message."""
        send = self.log.sends[-1]
        return code_of(SECRET, send.user_id, send.channel, PHONE, send.notification_id)


class Log(hostile.Log):
    """Also keeps what the router sends, and hands it its own commands, as Kafka does."""

    def __init__(self) -> None:
        super().__init__()
        self.sends: list[Send] = []
        self.answers = True

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, **_: Any) -> tuple[int, int]:
        if topic == topics.VERIFICATIONS and not self.answers:
            return 0, 0
        self._offset += 1
        record = Record(topic, 0, self._offset, NOON, key, value)
        out = self._roles["router"].handle(record, NOON)
        for produced in out.records:
            if produced.topic in SEND_TOPICS and isinstance(send := read_send(produced.value or b""), Send):
                self.sends.append(send)
            elif produced.topic == topics.COMMANDS:
                await self.publish(produced.topic, produced.key, produced.value)
        return 0, self._offset


@pytest.fixture
async def app(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    monkeypatch.setattr(hostile, "Log", Log)
    names = iter(f"0b6a5e5c-6f0e-4d7c-9f5e-{n:012x}" for n in range(1_000))
    monkeypatch.setattr(hostile, "new_id", lambda: next(names))
    async with hostile.gateway() as (client, log):
        yield App(client, log)


async def test_a_user_verifies_their_number(app: App) -> None:
    await app.call("PATCH", "profile", phone=PHONE)
    status, sent, _ = await app.verify()
    assert (status, sent["status"]) == (202, "accepted")
    assert sent["expires_at"] == "2026-03-04T12:10:00.000Z"
    assert CODE_MS == 600_000
    assert app.code() not in str(sent)

    status, problem, _ = await app.verify(code=wrong(app.code()))
    assert (status, problem["field"], problem["left"]) == (422, "code", 4)
    assert (await app.verify(code=app.code()))[0] == 204
    assert (await app.call("GET", "profile"))[1]["phone_verified"] is True
    # Asked again, it is as it was: nothing is sent, and a call that is repeated ends well.
    assert (await app.verify())[0] == (await app.verify(code="000000"))[0] == 204
    assert len(app.log.sends) == 1


async def test_what_can_not_be_verified_is_refused_with_its_field(app: App) -> None:
    for channel in ("push", "in_app", "email", "sms"):
        status, problem, _ = await app.verify(channel)
        assert (status, problem["field"]) == (422, "channel")
    await app.call("PATCH", "profile", phone=PHONE)
    for code in ("", "12345", "1234567", "12345a", "123456"):
        status, problem, _ = await app.verify(code=code)
        assert (status, problem["field"]) == (422, "code")
    for body in ({"code": 123456}, {"channel": "fax"}):
        assert (await app.verify(**body))[0] == 400
    assert app.log.sends == []


async def test_after_five_wrong_tries_only_a_new_code_will_do(app: App) -> None:
    await app.call("PATCH", "profile", phone=PHONE)
    await app.verify()
    code = app.code()
    for left in (4, 3, 2, 1, 0):
        assert (await app.verify(code=wrong(code)))[1]["left"] == left
    assert (await app.verify(code=code))[0] == 422
    await app.verify()
    assert (await app.verify(code=app.code()))[0] == 204


async def test_a_user_who_asks_too_often_is_told_when_to_come_back(app: App) -> None:
    await app.call("PATCH", "profile", phone=PHONE)
    assert [(await app.verify())[0] for _ in range(5)] == [202] * 5
    status, problem, headers = await app.verify()
    assert (status, problem["field"], headers["Retry-After"]) == (429, "channel", "3600")
    assert len(app.log.sends) == 5


async def test_a_suppressed_address_says_so(app: App) -> None:
    await app.call("PATCH", "profile", phone=PHONE)
    listed = (
        b'{"type":"suppression.add","id":"s","at":"2026-03-04T12:00:00Z","channel":"sms","address":"+442071838751"}'
    )
    await app.log.publish(topics.COMMANDS, None, listed)
    status, problem, _ = await app.verify()
    assert (status, problem["field"]) == (422, "channel")
    assert app.log.sends == []


async def test_without_the_routers_answer_it_is_a_503(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.verification._WAIT_S", 0.05)
    await app.call("PATCH", "profile", phone=PHONE)
    app.log.answers = False
    status, _, headers = await app.verify()
    assert (status, headers["Retry-After"]) == (503, "1")


async def test_only_the_user_themselves_may(app: App) -> None:
    key = {"Authorization": f"Bearer {hostile.KEY}"}
    async with app.client.post("/v1/users/ada/profile/verify", json={"channel": "sms"}, headers=key) as response:
        assert response.status == 403
    other = App(app.client, app.log, "eve")
    token = jwt.encode({"sub": "eve", "exp": 4_000_000_000}, hostile.SECRET)
    headers = {"Authorization": f"Bearer {token}"}
    async with other.client.post("/v1/users/ada/profile/verify", json={"channel": "sms"}, headers=headers) as response:
        assert response.status == 403


async def test_tries_at_once_are_counted_one_by_one(app: App) -> None:
    await app.call("PATCH", "profile", phone=PHONE)
    await app.verify()
    code = app.code()
    guesses = [f"{(int(code) + n) % 1_000_000:06}" for n in range(1, 40)]
    answers = await asyncio.gather(*(app.verify(code=guess) for guess in guesses))

    assert {status for status, _, _ in answers} <= {422, 503}
    assert not verification_view(app.log._roles["router"].state, "ada", {"channel": "sms"}, 5, NOON)["pending"]


# --- this gateway's limits ---


def limits(**fields: Any) -> CodeLimits:
    return CodeLimits(Verify.model_validate({"per_user": 100, **fields}), lambda: 0.0)


def asked(counting: CodeLimits, number: str, user: str) -> int:
    """202 where the code may be sent, else the problem's status."""
    try:
        counting.count(user, "sms", number)
    except Problem as problem:
        known = problem.field == "channel" and (problem.status == 422 or int(problem.headers["Retry-After"]) > 0)
        return problem.status if known else 500
    return 202


def counted(counting: CodeLimits, numbers: list[str]) -> list[int]:
    """Each by another user."""
    return [asked(counting, number, f"user {place} of {numbers}") for place, number in enumerate(numbers)]


def test_an_address_gets_so_many_whoever_asks() -> None:
    assert counted(limits(per_address=3), [PHONE] * 5) == [202, 202, 202, 429, 429]


def test_a_country_gets_so_many() -> None:
    counting = limits(per_country=2)
    assert counted(counting, ["+442071838751", "+442071838752", "+442071838753"]) == [202, 202, 429]
    assert counted(counting, ["+4930123456"]) == [202]


def test_what_a_user_is_refused_takes_nothing_from_their_country() -> None:
    counting = limits(per_country=3, per_user=1)
    assert [asked(counting, PHONE, "greedy") for _ in range(6)] == [202, *[429] * 5]
    assert counted(counting, ["+442071838752", "+442071838753", "+442071838754"]) == [202, 202, 429]


def test_countries_may_be_named_and_limited_by_how_their_numbers_begin() -> None:
    counting = limits(countries=["+44", "+1"], country_limits={"+1": 2, "+1876": 1})
    numbers = [PHONE, "+4930123456", "+18765230123", "+18765230124", "+14155552671", "+14155552672", "+14155552673"]
    assert counted(counting, numbers) == [202, 422, 202, 429, 202, 202, 429]


@pytest.mark.parametrize("number", ["+449098790000", "+19002345678"])
def test_premium_rate_numbers_get_none(number: str) -> None:
    assert counted(limits(), [number]) == [422]


@pytest.mark.parametrize(
    ("number", "country"), [(PHONE, "GB"), ("+14155552671", "US"), ("+18765230123", "JM"), ("+80012345678", "001")]
)
def test_a_country_is_told_by_its_number(number: str, country: str) -> None:
    assert country_of(number) == country


def test_mail_has_no_country() -> None:
    counting = limits(per_country=1, countries=["+44"])
    for n in range(5):
        counting.count(f"u{n}", "email", f"{n}@example.com")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60))
def test_no_limit_is_ever_passed(asked: list[tuple[int, int]]) -> None:
    counting, passed = limits(per_user=3, per_address=4, per_country=9), []
    for user, address in asked:
        try:
            counting.count(str(user), "sms", f"+44207183875{address}")
        except Problem:
            continue
        passed.append((user, address))
    users, addresses = [user for user, _ in passed], [address for _, address in passed]
    assert len(passed) <= 9
    assert all(users.count(user) <= 3 for user in users)
    assert all(addresses.count(address) <= 4 for address in addresses)
