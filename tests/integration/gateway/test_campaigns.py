"""Campaigns as jobs over a real broker: uploaded, produced, paused, cancelled, taken over. The routers' part, which is
to read the bulk lane, is played here."""

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer

from app.config import Kafka, Settings
from app.dev import process
from app.dev.broker import Broker
from app.domain.erasure import user_hash
from app.store import topics as declared_topics
from app.store.publisher import KafkaPublisher
from app.wiring import internal_tables
from schemas.erasures import USER, Erased, encode_erasure
from schemas.topics import CAMPAIGN_RECIPIENTS, COMMANDS, ERASURES, EVENTS_BULK
from tests.conftest import broker_options, eventually
from tests.integration.gateway.conftest import PARTITIONS, Caller, Reply, served

_LIMIT_S = 120.0
_CONTENT = {"title": "Sale", "body": "Everything must go."}


@pytest.fixture(scope="module")
def environ(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """With a broker apart, whose bulk lane nobody but these tests reads."""
    broker = Broker(broker_options(tmp_path_factory.mktemp("campaigns-kafka")))
    with asyncio.Runner() as runner:
        runner.run(broker.start())
        runner.run(declared_topics.apply(Kafka(bootstrap=broker.bootstrap, partitions=PARTITIONS), internal_tables()))
        yield {
            **environ,
            "TOCSIN_KAFKA__BOOTSTRAP": broker.bootstrap,
            "TOCSIN_DATA__DIR": str(tmp_path_factory.mktemp("campaigns-data")),
        }
        runner.run(broker.stop())


@dataclass(slots=True)
class Lane:
    """What was produced on the bulk lane, in the order in which it was read."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[dict[str, Any]] = field(default_factory=list)

    def of(self, notification_id: str) -> list[dict[str, Any]]:
        return [request for request in self.requests if request["notification_id"] == notification_id]

    def users(self, notification_id: str) -> Counter[str]:
        return Counter(request["user_id"] for request in self.of(notification_id))


@pytest.fixture
async def lane(settings: Settings) -> AsyncIterator[Lane]:
    read = Lane()
    options = settings.kafka.client_options()
    consumer = AIOKafkaConsumer(
        EVENTS_BULK,
        COMMANDS,
        **options,
        group_id="tocsin_router",
        auto_offset_reset="earliest",
        auto_commit_interval_ms=200,
    )
    await consumer.start()

    async def play() -> None:
        async for record in consumer:
            value = json.loads(record.value)
            if record.topic == EVENTS_BULK:
                read.requests.append(value)
            else:
                read.cancelled.append(value)

    task = asyncio.create_task(play())
    yield read
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await consumer.stop()


def asked(**said: Any) -> dict[str, Any]:
    return {"campaign_id": f"sale-{uuid4()}", "event_type": "sale.began", "content": _CONTENT, **said}


async def shown(shop: Caller, campaign_id: str) -> dict[str, Any]:
    reply = await shop("GET", f"/v1/campaigns/{campaign_id}")
    assert reply.status == 200, reply.document
    document: dict[str, Any] = reply.document
    return document


async def until(shop: Caller, campaign_id: str, **said: Any) -> dict[str, Any]:
    """Once all of it is shown."""
    found: dict[str, Any] = {}

    async def holds() -> bool:
        found.update(await shown(shop, campaign_id))
        return all(found[name] == value for name, value in said.items())

    await eventually(holds, _LIMIT_S)
    return found


async def read(lane: Lane, notification_id: str, count: int) -> None:
    async def holds() -> bool:
        return len(lane.users(notification_id)) >= count

    await eventually(holds, _LIMIT_S)


async def another_goes_on(shop: Caller, lane: Lane) -> None:
    """Returns when another campaign has produced for three seconds and all of that is read: so is what any other
    produced until then."""
    reply = await shop(
        "POST", "/v1/campaigns", rows(150), query=query(rate="50/s"), Content_Type="application/x-ndjson"
    )
    assert reply.status == 202, reply.document
    await read(lane, reply.document["notification_id"], 150)


async def produces_nothing_more(shop: Caller, lane: Lane, name: str) -> int:
    """How many requests it has produced, which grow no more while another goes on."""
    await another_goes_on(shop, lane)
    produced = len(lane.of(name))
    await another_goes_on(shop, lane)
    assert len(lane.of(name)) == produced
    return produced


def rows(count: int, first: int = 0) -> bytes:
    return b"".join(b'{"user_id": "u%d", "data": {"n": %d}}\n' % (n, n) for n in range(first, first + count))


def query(**said: Any) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in asked(**said).items()}


async def test_each_named_user_gets_one_request_of_the_campaigns_notification(gateway: Caller, lane: Lane) -> None:
    shop = gateway.key("shop")
    campaign = asked(user_ids=["ann", "bob", "ann", "cid"], data={"a": 1})
    reply = await shop("POST", "/v1/campaigns", campaign)
    assert reply.status == 202, reply.document
    done = await until(shop, campaign["campaign_id"], status="done")
    assert (done["recipients"], done["produced"], done["refused"], done["errors"]) == (3, 3, 0, [])
    name = reply.document["notification_id"]
    await read(lane, name, 3)
    assert lane.users(name) == {"ann": 1, "bob": 1, "cid": 1}
    [request, *_] = lane.of(name)
    assert request["priority"] == "low"
    assert request["source"] == "shop"
    assert request["campaign_id"] == campaign["campaign_id"]
    assert request["data"] == {"a": 1}
    again = await shop("POST", "/v1/notifications/batch", campaign)
    assert (again.status, again.document["status"]) == (202, "done")
    other = await shop("POST", "/v1/campaigns", campaign | {"priority": "high"})
    assert (other.status, other.document["field"]) == (409, "priority")
    for method, path in (("POST", "/pause"), ("POST", "/resume"), ("DELETE", "")):
        assert (await shop(method, f"/v1/campaigns/{campaign['campaign_id']}{path}")).status == 409
    assert (await gateway.key("auth")("GET", f"/v1/campaigns/{campaign['campaign_id']}")).status == 404


async def test_a_bad_row_harms_no_other_and_the_same_rows_again_add_nobody(gateway: Caller, lane: Lane) -> None:
    shop, terms = gateway.key("shop"), query(data={"from": "us", "n": 0}, rate="20/s")
    bad = b'{"user_id": ""}\n{"user_id": "x", "data": []}\nno JSON\n' + b"y" * 140_000 + b"\n"
    body = rows(30) + bad + rows(30, 20)
    reply = await shop("POST", "/v1/campaigns", body, query=terms, Content_Type="application/x-ndjson")
    assert reply.status == 202, reply.document
    await shop("POST", f"/v1/campaigns/{terms['campaign_id']}/pause")
    again = await shop("POST", "/v1/campaigns", body, query=terms, Content_Type="application/x-ndjson")
    assert (again.status, again.document["status"]) == (202, "paused")
    more = await shop("POST", "/v1/campaigns", rows(5, 50), query=terms, Content_Type="application/x-ndjson")
    assert more.status == 202
    await shop("POST", f"/v1/campaigns/{terms['campaign_id']}/resume")
    done = await until(shop, terms["campaign_id"], status="done")
    assert (done["recipients"], done["produced"], done["refused"]) == (55, 55, 4)
    assert [(each["line"], each["field"]) for each in done["errors"]] == [
        (31, "user_id"),
        (32, "data"),
        (33, None),
        (34, None),
    ]
    name = reply.document["notification_id"]
    await read(lane, name, 55)
    assert set(lane.users(name).values()) == {1}
    assert all(each["data"] == {"from": "us", "n": int(each["user_id"][1:])} for each in lane.of(name))


async def test_columns_of_csv_become_data(gateway: Caller, lane: Lane) -> None:
    shop, terms = gateway.key("shop"), query()
    body = b'name,user_id,why\r\n"O""Hara, Ann",ann,"two\r\nlines"\r\nBo,"bob",\r\nshort,row\r\n'
    reply = await shop("POST", "/v1/campaigns", body, query=terms, Content_Type="text/csv; charset=utf-8")
    assert reply.status == 202, reply.document
    done = await until(shop, terms["campaign_id"], status="done")
    assert (done["recipients"], done["refused"], done["errors"][0]["line"]) == (2, 1, 5)
    await read(lane, reply.document["notification_id"], 2)
    said = {each["user_id"]: each["data"] for each in lane.of(reply.document["notification_id"])}
    assert said == {"ann": {"name": 'O"Hara, Ann', "why": "two\r\nlines"}, "bob": {"name": "Bo", "why": ""}}


async def _broken_off(shop: Caller, terms: dict[str, str], count: int) -> None:
    """An upload of so many rows that ends in the middle, when all of them have been taken."""

    async def are_taken() -> bool:
        reply = await shop("GET", f"/v1/campaigns/{terms['campaign_id']}")
        return reply.status == 200 and reply.document["recipients"] == count

    async def pieces() -> AsyncIterator[bytes]:
        yield rows(count)
        async with asyncio.timeout(_LIMIT_S):
            while not await are_taken():
                yield rows(1)  # (counts once; rows that wait for others are taken with the next, after a second)
        raise ConnectionResetError

    headers = {**shop.headers, "Content-Type": "application/x-ndjson"}
    with pytest.raises(aiohttp.ClientError):
        await shop.session.post(f"{shop.url}/v1/campaigns", data=pieces(), params=terms, headers=headers)


async def test_an_upload_that_breaks_off_sends_nothing_until_it_is_taken_up(gateway: Caller, lane: Lane) -> None:
    shop, terms = gateway.key("shop"), query()
    await _broken_off(shop, terms, 300)
    found = await until(shop, terms["campaign_id"], status="uploading", recipients=300)
    assert found["produced"] == 0
    reply = await shop("POST", "/v1/campaigns", rows(400), query=terms, Content_Type="application/x-ndjson")
    assert reply.status == 202, reply.document
    done = await until(shop, terms["campaign_id"], status="done")
    assert (done["recipients"], done["produced"]) == (400, 400)
    await read(lane, reply.document["notification_id"], 400)
    assert set(lane.users(reply.document["notification_id"]).values()) == {1}


async def test_a_paused_one_produces_nothing_and_a_cancelled_one_ends_what_waits(gateway: Caller, lane: Lane) -> None:
    shop, terms = gateway.key("shop"), query(rate="200/s")
    path = f"/v1/campaigns/{terms['campaign_id']}"
    reply = await shop("POST", "/v1/campaigns", rows(5000), query=terms, Content_Type="application/x-ndjson")
    name = reply.document["notification_id"]
    await read(lane, name, 100)
    assert (await shop("POST", f"{path}/pause")).document["status"] == "paused"
    found = await produces_nothing_more(shop, lane, name)
    await until(shop, terms["campaign_id"], status="paused", produced=found)
    assert (await shop("POST", f"{path}/resume")).document["status"] == "running"
    await read(lane, name, found + 100)
    cancelled = await shop("DELETE", path)
    assert (cancelled.status, cancelled.document["status"]) == (202, "cancelled")
    assert await produces_nothing_more(shop, lane, name) < 5000
    assert any(said.get("notification_id") == name and said["source"] == "shop" for said in lane.cancelled)
    assert (await shop("POST", f"{path}/resume")).status == 409
    assert (await shown(shop, terms["campaign_id"]))["status"] == "cancelled"


async def test_a_canary_comes_first_and_waits_to_be_resumed(gateway: Caller, lane: Lane) -> None:
    shop, terms = gateway.key("shop"), query(canary="10%")
    reply = await shop("POST", "/v1/campaigns", rows(1000), query=terms, Content_Type="application/x-ndjson")
    name = reply.document["notification_id"]
    found = await until(shop, terms["campaign_id"], status="paused")
    assert 50 < found["produced"] < 150
    await read(lane, name, found["produced"])
    await shop("POST", "/v1/campaigns", rows(100, 1000), query=terms, Content_Type="application/x-ndjson")
    assert (await shop("POST", f"/v1/campaigns/{terms['campaign_id']}/resume")).document["status"] == "running"
    done = await until(shop, terms["campaign_id"], status="done")
    assert (done["recipients"], done["produced"]) == (1100, 1100)
    await read(lane, name, 1100)
    assert set(lane.users(name).values()) == {1}


async def test_an_erased_users_data_leaves_the_log(
    gateway: Caller, lane: Lane, producer: KafkaPublisher, settings: Settings
) -> None:
    shop, terms = gateway.key("shop"), query(send_at="2027-03-01T00:00:00Z")
    user_id = f"gone-{uuid4()}"
    body = rows(2) + json.dumps({"user_id": user_id, "data": {"name": "Ada"}}).encode()
    reply = await shop("POST", "/v1/campaigns", body, query=terms, Content_Type="application/x-ndjson")
    await until(shop, terms["campaign_id"], recipients=3)
    erased = encode_erasure(Erased(erased_at=time.time_ns() // 1_000_000))
    await producer.publish(ERASURES, USER + user_hash(user_id).hex().encode(), erased, partition=0)
    consumer = AIOKafkaConsumer(
        CAMPAIGN_RECIPIENTS, **settings.kafka.client_options(), group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(_LIMIT_S):
            async for record in consumer:
                said = json.loads(record.value) if record.value else {}
                if record.key.startswith(reply.document["notification_id"].encode()) and said.get("place") is not None:
                    break
    finally:
        await consumer.stop()
    assert said["rows"] == [["u0", '{"n":0}'], ["u1", '{"n":1}'], [user_id, None]]
    assert (await shop("DELETE", f"/v1/campaigns/{terms['campaign_id']}")).status == 202


async def test_one_that_is_scheduled_waits(gateway: Caller, lane: Lane) -> None:
    shop = gateway.key("shop")
    campaign = asked(user_ids=["ann"], send_at="2099-01-01T00:00:00Z")
    assert (await shop("POST", "/v1/campaigns", campaign)).status == 422
    campaign |= {"send_at": "2027-03-01T00:00:00Z"}
    reply = await shop("POST", "/v1/campaigns", campaign)
    assert (reply.status, reply.document["status"]) == (202, "scheduled")
    found = await until(shop, campaign["campaign_id"], status="scheduled", recipients=1)
    assert found["produced"] == 0
    listed = await shop("GET", "/v1/campaigns", query={"limit": "1"})
    assert listed.document["campaigns"][0]["campaign_id"] == campaign["campaign_id"]
    assert (await shop("DELETE", f"/v1/campaigns/{campaign['campaign_id']}")).status == 202


@pytest.mark.parametrize(
    ("said", "status", "field"),
    [
        ({"priority": "critical"}, 422, "priority"),
        ({"event_type": "login.otp"}, 422, "event_type"),
        ({"content": None}, 422, "template_id"),
        ({"template_id": "none", "content": None}, 422, "template_id"),
        ({"template_id": "none"}, 422, "content"),
        ({"canary": "101%"}, 400, "canary"),
        ({"local_time": "24:00"}, 400, "local_time"),
        ({"rate": "fast"}, 400, "rate"),
        ({"segment": {}}, 400, "user_ids"),
        ({"user_ids": None, "segment": {}}, 422, "segment"),
        ({"user_ids": None, "segment": {"attribute": {}}}, 400, "segment.attribute"),
        ({"user_ids": None}, 400, "user_ids"),
        ({"user_ids": ["u"] * 10_001}, 400, "user_ids"),
        ({"campaign_id": ".."}, 422, "campaign_id"),
        ({"unknown": 1}, 400, "unknown"),
    ],
)
async def test_what_is_refused_names_the_field(gateway: Caller, said: dict[str, Any], status: int, field: str) -> None:
    reply = await gateway.key("shop")("POST", "/v1/campaigns", asked(**{"user_ids": ["ann"], **said}))
    assert (reply.status, reply.document.get("field")) == (status, field), reply.document


async def test_what_an_upload_may_not_say(gateway: Caller) -> None:
    shop = gateway.key("shop")
    for body, terms, media, status, named in (
        (b"", query(), "application/x-ndjson", 400, "body"),
        (b"", query(), "text/csv", 400, "body"),
        (b"name\r\nann\r\n", query(), "text/csv", 400, "user_id"),
        (rows(1), query(content="no JSON"), "application/x-ndjson", 400, "content"),
        (rows(1), {**query(), "user_ids": "a"}, "application/x-ndjson", 400, "user_ids"),
        (rows(1), query(), "text/xml", 415, "Content-Type"),
        (rows(1), query(), "text/csv; charset=latin-1", 415, "Content-Type"),
    ):
        reply = await shop("POST", "/v1/campaigns", body, query=terms, Content_Type=media)
        assert (reply.status, reply.document["field"]) == (status, named), reply.document
        assert (await shop("GET", f"/v1/campaigns/{terms['campaign_id']}")).status == 404
    long = query(data={"a": "b" * 9000})
    assert (await shop("POST", "/v1/campaigns", rows(1), query=long, Content_Type="application/x-ndjson")).status == 414


def _blocks(language: str) -> list[str]:
    page = (Path(__file__).parents[3] / "docs" / "campaigns.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


async def test_the_pages_examples_are_taken_as_it_says(gateway: Caller, lane: Lane) -> None:
    shop = gateway.key("shop")
    [command] = [block for block in _blocks("sh") if "user_ids" in block]
    reply = await shop("POST", "/v1/campaigns", json.loads(command.partition("-d '")[2].rpartition("'")[0]))
    assert reply.status == 202, reply.document
    answer, rows, segment, shown_there = _blocks("json")
    assert reply.document.keys() == json.loads(answer).keys()
    await until(shop, "spring", status="done")
    assert json.loads(shown_there).keys() <= (await shown(shop, "spring")).keys()
    [upload] = _blocks("csv")
    for body, media in ((rows, "application/x-ndjson"), (upload, "text/csv")):
        terms = query()
        reply = await shop("POST", "/v1/campaigns", body.encode(), query=terms, Content_Type=media)
        assert reply.status == 202, reply.document
        done = await until(shop, terms["campaign_id"], status="done")
        assert (done["recipients"], done["refused"]) == (2, 0)
    asks = asked(segment=json.loads(segment), send_at="2027-03-01T00:00:00Z")
    assert (await shop("POST", "/v1/campaigns", asks)).document["status"] == "scheduled"
    assert (await shop("DELETE", f"/v1/campaigns/{asks['campaign_id']}")).status == 202


async def test_two_at_once_are_one_campaign(gateway: Caller, lane: Lane) -> None:
    shop, campaign = gateway.key("shop"), asked(user_ids=["ann"])
    said = [campaign, campaign | {"priority": "high"}] * 3
    replies: list[Reply] = await asyncio.gather(*(shop("POST", "/v1/campaigns", each) for each in said))
    assert sorted(reply.status for reply in replies) == [202] * 3 + [409] * 3


async def test_who_runs_it_is_killed_and_each_user_is_counted_once(
    settings: Settings, environ: dict[str, str], lane: Lane, tmp_path: Path
) -> None:
    mine = {**os.environ, **environ, "TOCSIN_INSTANCE": "killed", "TOCSIN_DATA__DIR": str(tmp_path)}
    command = [sys.executable, "-m", "app.cli", "gateway"]
    killed = await process.start(process.Program("gateway", command, mine, tmp_path / "gateway.log"))
    try:
        await eventually(lambda: _runs_jobs(tmp_path / "gateway.log"), _LIMIT_S)
        async with served(settings) as url, aiohttp.ClientSession() as session:
            shop, terms = Caller(session, url).key("shop"), query(rate="1000/s")
            body = rows(6000)
            reply = await shop("POST", "/v1/campaigns", body, query=terms, Content_Type="application/x-ndjson")
            name = reply.document["notification_id"]
            await read(lane, name, 1500)
            killed.kill()
            again = await shop("POST", "/v1/campaigns", body, query=terms, Content_Type="application/x-ndjson")
            assert again.document["status"] == "running"
            done = await until(shop, terms["campaign_id"], status="done")
            assert (done["recipients"], done["produced"]) == (6000, 6000)
            await read(lane, name, 6000)
            # What was produced twice is the same request, which the router knows as repeated.
            assert sum(lane.users(name).values()) < 7500
    finally:
        if killed.returncode is None:
            killed.kill()
        await killed.wait()


async def _runs_jobs(log: Path) -> bool:
    return "topic=tocsin_campaigns" in log.read_text().replace('"topic": "tocsin_campaigns"', "topic=tocsin_campaigns")
