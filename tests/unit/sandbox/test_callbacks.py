"""What the sandbox's providers report: planned by its settings, and signed so that a gateway takes it."""

import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.providers import Providers
from app.ports import Address, Handle, Message
from app.providers.ses import Ses
from app.providers.twilio import Twilio
from app.sandbox.callbacks.plans import Settings, plan, read_settings
from app.sandbox.callbacks.reports import Told
from app.sandbox.callbacks.sendgrid import SendGrid
from app.sandbox.callbacks.vonage import Vonage
from app.sandbox.records import Accepted
from app.sandbox.serving import Options, Sandbox, running
from app.webhooks.certificates import Certificates
from app.webhooks.doors import webhooks_of
from schemas.decode import Invalid
from schemas.instants import parse_ms
from tests.conftest import until
from tests.unit.api import test_hostile_calls as hostile
from tests.unit.api.test_webhooks import PARTITIONS, Topics
from tests.unit.providers.factories import a_handle
from tests.unit.webhooks.signing import NOTIFICATION_ID, SEND_ID

_parts = st.floats(0, 0.5)
_settings = st.builds(
    Settings,
    bounce=_parts,
    complain=_parts,
    lose=_parts,
    repeat=_parts,
    disorder=st.booleans(),
    seed=st.integers(0, 99),
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def a_message(**changes: Any) -> Accepted:
    given = {
        "seq": 1,
        "at_ms": parse_ms("2026-11-30T00:00:00Z"),
        "provider": "twilio",
        "provider_message_id": "SM1",
        "send_id": SEND_ID,
        "notification_id": NOTIFICATION_ID,
        "address": "+14155550100",
    }
    return Accepted(**{**given, **changes})


@given(_settings, st.integers(0, 1_000))
def test_a_message_is_delivered_or_bounced_and_lost_or_repeated_only_as_set(settings: Settings, chance: int) -> None:
    kinds = Counter(planned.kind for planned in plan(a_message(), settings, random.Random(chance)))

    assert not (kinds["delivered"] and kinds["bounced"])
    assert max(kinds.values(), default=0) <= (2 if settings.repeat else 1)
    if not settings.lose:
        assert kinds["accepted"]
        assert kinds["delivered"] or kinds["bounced"]
    assert not kinds["complained"] or settings.complain


@given(_settings)
def test_an_address_that_is_gone_stays_gone(settings: Settings) -> None:
    steady = Settings(bounce=settings.bounce, complain=settings.complain, seed=settings.seed)
    fates = {tuple(p.kind for p in plan(a_message(), steady, random.Random(n))) for n in range(5)}

    assert len(fates) == 1


def test_the_parts_that_are_set_are_about_the_parts_that_come() -> None:
    settings = Settings(bounce=0.1, complain=0.05)
    fates = Counter(
        plan(a_message(address=f"+1415555{n:04}"), settings, random.Random(n))[-1].kind for n in range(4_000)
    )

    assert 300 < fates["bounced"] < 500
    assert 120 < fates["complained"] < 280


def test_without_disorder_reports_come_in_their_order() -> None:
    for seed in range(50):
        delays = [p.delay_ms for p in plan(a_message(), Settings(complain=1), random.Random(seed))]
        assert delays == sorted(delays)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://a"}, "url"),
        ({"bounce": 2}, "bounce"),
        ({"bounce": 0.6, "complain": 0.6}, "complain"),
        ({"min_delay_ms": 900}, "max_delay_ms"),
        ({"max_delay_ms": 1e12}, "max_delay_ms"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(body: Any, field: str) -> None:
    with pytest.raises(Invalid) as error:
        read_settings(json.dumps(body).encode())
    assert error.value.field == field


def test_a_report_that_comes_again_has_the_same_name() -> None:
    names = {Told(a_message(), kind, 1, "http://x").name for kind in ("delivered", "delivered", "bounced")}

    assert len(names) == 2


class World:
    """A sandbox whose providers report to a gateway."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession, log: Topics, url: str) -> None:
        self.sandbox, self.session, self.log, self.url = sandbox, session, log, url

    async def control(self, method: str, path: str, **body: Any) -> tuple[int, Any]:
        async with self.session.request(method, f"{self.sandbox.control_url}{path}", json=body) as response:
            return response.status, await response.json()

    async def reported(self, count: int) -> list[tuple[str | None, str, str | None]]:
        await until(lambda: len(self.log.receipts) >= count)
        return [(receipt.provider, receipt.status, receipt.reason) for receipt in self.log.receipts]


def handle(url: str) -> Handle:
    callback = f"{url}/v1/webhooks/twilio?attempt=1&notification_id={NOTIFICATION_ID}&send_id={SEND_ID}"
    return a_handle(send_id=SEND_ID, notification_id=NOTIFICATION_ID, callback_url=callback)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:

    log = Topics()
    async with running(Options(tmp_path / "sandbox")) as sandbox, aiohttp.ClientSession() as session:
        for name, value in sandbox.env.items():
            monkeypatch.setenv(name, value)
        providers = Providers.model_validate(sandbox.providers)
        assert providers.ses is not None
        certificates = Certificates(session, providers.ses.ca_file, now_ms)
        more: dict[str, Any] = {
            "publisher": log,
            "partitions": PARTITIONS,
            "clock": now_ms,
        }
        async with hostile.gateway(webhooks_of(providers, certificates, None), **more) as (client, _):
            url = str(client.make_url("/")).rstrip("/")
            world = World(sandbox, session, log, url)
            status, shown = await world.control("PUT", "/callbacks", url=url, max_delay_ms=50)
            assert (status, shown["settings"]["url"]) == (200, url)
            yield world


async def test_what_ses_and_twilio_take_comes_back_delivered(world: World) -> None:
    providers = Providers.model_validate(world.sandbox.providers)
    assert providers.ses is not None
    assert providers.twilio is not None
    ses, twilio = Ses(providers.ses), Twilio(providers.twilio)
    await ses.start()
    await twilio.start()
    try:
        mail = Message(subject="s", body="b")
        assert (await ses.send(mail, Address("email", "ada@example.com"), handle(world.url), 5)).kind == "ok"
        assert (await twilio.send(Message(body="b"), Address("sms", "+14155550100"), handle(world.url), 5)).kind == "ok"
        came = await world.reported(2)
    finally:
        await ses.close()
        await twilio.close()

    assert sorted(came, key=str) == [("ses", "delivered", None), ("twilio", "delivered", None)]
    assert {receipt.send_id for receipt in world.log.receipts} == {SEND_ID}


async def test_bounces_and_repeats_come_as_they_are_set(world: World) -> None:
    await world.control("PUT", "/callbacks", url=world.url, max_delay_ms=50, bounce=1, repeat=1)
    settings = Providers.model_validate(world.sandbox.providers).twilio
    assert settings is not None
    twilio = Twilio(settings)
    await twilio.start()
    try:
        await twilio.send(Message(body="b"), Address("sms", "+14155550100"), handle(world.url), 5)
        came = await world.reported(2)
    finally:
        await twilio.close()

    assert came == [("twilio", "bounced", "hard")] * 2
    assert len({receipt.id for receipt in world.log.receipts}) == 1


async def test_a_text_reaches_the_gateway_as_an_opt_out(world: World) -> None:
    status, _ = await world.control("POST", "/texts", **{"provider": "twilio", "from": "+14155550100", "text": "Stop"})
    assert status == 202
    await until(lambda: len(world.log.commands) == PARTITIONS)

    assert {command.address for command in world.log.commands} == {"+14155550100"}
    status, problem = await world.control("POST", "/texts", **{"provider": "ses", "from": "+14155550100", "text": "x"})
    assert (status, problem["field"]) == (400, "provider")


async def test_settings_outlive_the_sandbox(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        for expected in (None, "http://127.0.0.1:9"):
            async with running(Options(tmp_path)) as sandbox:
                async with session.get(f"{sandbox.control_url}/callbacks") as response:
                    assert (await response.json())["settings"]["url"] == expected
                body = {"url": "http://127.0.0.1:9"}
                async with session.put(f"{sandbox.control_url}/callbacks", json=body) as response:
                    assert response.status == 200


@pytest.mark.parametrize("provider", ["sendgrid", "vonage"])
async def test_the_other_vendors_reports_are_taken_too(tmp_path: Path, provider: str) -> None:

    opened = {"api_key": "a1b2c3d4", "from": "shop@example.com"}
    opened |= {"api_secret": "s"} if provider == "vonage" else {}
    reporter = (SendGrid if provider == "sendgrid" else Vonage)(tmp_path, opened)
    providers = Providers.model_validate({provider: {**opened, **reporter.settings}})
    log = Topics()
    more: dict[str, Any] = {"publisher": log, "partitions": PARTITIONS, "clock": now_ms}
    async with hostile.gateway(webhooks_of(providers, None, None), **more) as (client, _):
        url = str(client.make_url("/")).rstrip("/")
        for number, kind in enumerate(("accepted", "delivered", "bounced", "complained")):
            told = Told(a_message(provider=provider, provider_message_id="m1"), kind, number, url)  # type: ignore[arg-type]
            post = reporter.report(told, now_ms())
            if post is not None:
                async with client.post(urlsplit(post.url).path, data=post.body, headers=post.headers) as response:
                    assert response.status == 200

    statuses = [receipt.status for receipt in log.receipts]
    assert statuses == ["delivered", "bounced", *(["complained"] if provider == "sendgrid" else [])]


async def test_a_sandbox_that_drops_keeps_counts_alone(tmp_path: Path) -> None:
    async with running(Options(tmp_path, drop=True)) as sandbox, aiohttp.ClientSession() as session:
        twilio = Twilio(Providers.model_validate(sandbox.providers).twilio)  # type: ignore[arg-type]
        await twilio.start()
        for _ in range(3):
            outcome = await twilio.send(
                Message(body="b"), Address("sms", "+14155550100"), handle("http://127.0.0.1:9"), 5
            )
            assert outcome.kind == "ok"
        await twilio.close()
        async with session.get(f"{sandbox.control_url}/stats") as response:
            stats = await response.json()
        async with session.get(f"{sandbox.control_url}/accepted") as response:
            assert (await response.json())["accepted"] == []

    assert stats["providers"]["twilio"]["accepted"] == 3
    assert stats["duplicates"] == {"count": 1, "send_ids": [{"send_id": SEND_ID, "copies": 3}]}
    assert (tmp_path / "accepted.jsonl").read_bytes() == b""
