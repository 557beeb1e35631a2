"""A replay as a job, over a real broker: counted, paced, stopped, taken over. The routers' part is played here."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer
from msgspec.json import encode

from app.api.gateway import opened
from app.config import Kafka, Settings
from app.dev.broker import Broker
from app.replay.asking import read_asked
from app.store import topics as declared_topics
from app.store.publisher import KafkaPublisher, Outgoing
from app.wiring import internal_tables
from schemas.instants import rfc3339
from schemas.lifecycle import LifecycleEvent, encode_lifecycle
from schemas.replays import ReplayOutcome, ReplayRequest, encode_replay_outcome, read_replay_request
from schemas.sends import Send, encode_send
from schemas.topics import LIFECYCLE, REPLAY_OUTCOMES, REPLAY_REQUESTS, send_topic
from tests.conftest import broker_options, eventually
from tests.integration.gateway.conftest import PARTITIONS, Caller, Reply, served

_LIMIT_S = 120.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Routers:
    """Answer every request, as the real ones do: the same one again as before, and nothing that comes too late."""

    publisher: KafkaPublisher
    answers: bool = True
    #: (when, request) of each that was begun, in order.
    begun: list[tuple[int, ReplayRequest]] = field(default_factory=list)
    asked: int = 0
    _known: dict[tuple[str, str], ReplayOutcome] = field(default_factory=dict)

    async def take(self, value: bytes) -> None:
        request, now = read_replay_request(value), now_ms()
        self.asked += 1
        if not self.answers or (request.until is not None and now > request.until):
            return
        key = (request.replay_id, request.send.send_id)
        if request.dry_run:
            outcomes = [self._outcome(request, "would_send", now)]
        elif key in self._known:
            outcomes = [self._known[key]]
        else:
            self.begun.append((now, request))
            outcomes = [self._outcome(request, "waiting", now), self._outcome(request, "sent", now)]
            self._known[key] = outcomes[-1]
        user = request.user_id.encode()
        await self.publisher.publish_many([Outgoing(REPLAY_OUTCOMES, user, encode_replay_outcome(o)) for o in outcomes])

    @staticmethod
    def _outcome(request: ReplayRequest, outcome: Any, now: int) -> ReplayOutcome:
        return ReplayOutcome(
            replay_id=request.replay_id,
            user_id=request.user_id,
            notification_id=request.send.notification_id,
            send_id=request.send.send_id,
            outcome=outcome,
            at=now,
            new_send_id=None if request.dry_run else str(uuid4()),
            dry_run=request.dry_run,
        )


@pytest.fixture(scope="module")
def environ(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """With a broker apart: the package's may have real routers, which know none of these candidates and say so."""
    broker = Broker(broker_options(tmp_path_factory.mktemp("replays-kafka")))
    with asyncio.Runner() as runner:
        runner.run(broker.start())
        runner.run(declared_topics.apply(Kafka(bootstrap=broker.bootstrap, partitions=PARTITIONS), internal_tables()))
        yield {
            **environ,
            "TOCSIN_KAFKA__BOOTSTRAP": broker.bootstrap,
            "TOCSIN_DATA__DIR": str(tmp_path_factory.mktemp("replays-data")),
        }
        runner.run(broker.stop())


@pytest.fixture
async def routers(settings: Settings, producer: KafkaPublisher) -> AsyncIterator[Routers]:
    playing = Routers(producer)
    options = settings.kafka.client_options()
    consumer = AIOKafkaConsumer(REPLAY_REQUESTS, **options, group_id=None, enable_auto_commit=False)
    await consumer.start()
    await consumer.seek_to_end()
    for at in consumer.assignment():
        await consumer.position(at)

    async def play() -> None:
        async for record in consumer:
            await playing.take(record.value)

    task = asyncio.create_task(play())
    yield playing
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await consumer.stop()


async def expired(producer: KafkaPublisher, count: int, category: str, **said: Any) -> list[Send]:
    """So many sends that expired a moment ago, accepted one after the other by many users."""
    now = now_ms()
    sends = [
        Send(
            send_id=str(uuid4()),
            notification_id=str(uuid4()),
            user_id=f"user-{n}",
            channel="push",
            device_id="phone",
            event_type="order.shipped",
            category=category,
            priority="normal",
            policy_version=1,
            created_at=now - 60_000,
            accepted_at=now - 60_000 + n,
            expires_at=now - 30_000,
            **{"provider": "fcm", **said},
        )
        for n in range(count)
    ]
    records = [Outgoing(send_topic("push", "normal"), s.user_id.encode(), encode_send(s)) for s in sends]
    for send in sends:
        for status in ("queued", "expired"):
            event = LifecycleEvent(
                event_id=str(uuid4()),
                notification_id=send.notification_id,
                user_id=send.user_id,
                send_id=send.send_id,
                status=status,
                channel="push",
                category=category,
                template_version=3,
                occurred_at=rfc3339(now - 50_000),
            )
            records.append(Outgoing(LIFECYCLE, send.user_id.encode(), encode_lifecycle(event)))
    await producer.publish_many(records)
    return sends


def asked(category: str, **said: Any) -> dict[str, Any]:
    now = now_ms()
    span = {"from": rfc3339(now - 120_000), "to": rfc3339(now)}
    return {"channel": "push", **span, "category": [category], "rate": "500/s", **said}


async def receipt(ops: Caller, replay_id: str) -> Reply:
    replies: list[Reply] = []

    async def is_answered() -> bool:
        replies.append(await ops("GET", f"/v1/replays/{replay_id}"))
        return replies[-1].status != 503

    await eventually(is_answered, _LIMIT_S)
    counts = replies[-1].document
    assert sum(counts["dry_run"].values()) == sum(counts["outcomes"].values()) == counts["candidates"]
    return replies[-1]


async def until(ops: Caller, replay_id: str, holds: Callable[[Any], bool]) -> Any:
    found: dict[str, Any] = {}

    async def is_so() -> bool:
        found.update((await receipt(ops, replay_id)).document)
        return holds(found)

    await eventually(is_so, _LIMIT_S)
    return found


def is_done(document: Any) -> bool:
    return bool(document["status"] == "done")


async def begin(ops: Caller, body: dict[str, Any]) -> str:
    reply = await ops("POST", "/v1/replays", body)
    assert (reply.status, reply.document["status"]) == (202, "counting")
    replay_id: str = reply.document["replay_id"]
    return replay_id


async def test_a_dry_run_counts_and_sends_nothing(gateway: Caller, producer: KafkaPublisher, routers: Routers) -> None:
    ops, sends = gateway.key("ops"), await expired(producer, 30, "dry")
    replay_id = await begin(ops, asked("dry", dry_run=True))
    document = await until(ops, replay_id, is_done)

    assert (document["candidates"], document["dry_run"]["would_send"], document["outcomes"]["not_begun"]) == (
        30,
        30,
        30,
    )
    assert (document["by"], document["channel"], document["filters"]["category"]) == ("ops", "push", ["dry"])
    assert routers.begun == []
    page = (await ops("GET", f"/v1/replays/{replay_id}/candidates", query={"limit": "20"})).document
    rest = (await ops("GET", f"/v1/replays/{replay_id}/candidates", query={"cursor": page["next_cursor"]})).document
    assert {each["send_id"] for each in (*page["candidates"], *rest["candidates"])} == {s.send_id for s in sends}
    assert rest["next_cursor"] is None
    for action in ("stop", "resume"):
        assert (await ops("POST", f"/v1/replays/{replay_id}/{action}")).status == 409


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_replay_without_candidates_is_done_at_once(gateway: Caller, routers: Routers, dry_run: bool) -> None:
    ops = gateway.key("ops")
    document = await until(ops, await begin(ops, asked("of-nobody", dry_run=dry_run)), is_done)

    assert document["candidates"] == 0


async def test_each_candidate_is_asked_for_once_oldest_first(
    gateway: Caller, producer: KafkaPublisher, routers: Routers
) -> None:
    ops, sends = gateway.key("ops"), await expired(producer, 100, "whole")
    replay_id = await begin(ops, asked("whole", as_decided=True, expires_after="6h"))
    document = await until(ops, replay_id, is_done)
    begun = [request for _, request in routers.begun if request.replay_id == replay_id]

    assert document["outcomes"]["sent"] == document["candidates"] == 100
    assert sorted(each.send.send_id for each in begun) == sorted(each.send_id for each in sends)
    for partition in {hash(each.user_id) for each in begun}:
        of_user = [each.send.accepted_at for each in begun if hash(each.user_id) == partition]
        assert of_user == sorted(of_user)
    assert {(each.as_decided, each.template_version, each.dry_run) for each in begun} == {(True, 3, False)}
    assert len({each.expires_at for each in begun}) == 1
    listed = (await ops("GET", "/v1/replays", query={"limit": "1"})).document["replays"]
    assert [each["replay_id"] for each in listed] == [replay_id]
    sent = await ops("GET", f"/v1/replays/{replay_id}/candidates", query={"outcome": "sent", "limit": "500"})
    assert all(each["new_send_id"] for each in sent.document["candidates"])
    assert len(sent.document["candidates"]) == 100


async def test_a_stopped_one_begins_nothing_until_it_is_resumed(
    gateway: Caller, producer: KafkaPublisher, routers: Routers
) -> None:
    ops = gateway.key("ops")
    await expired(producer, 60, "stopped")
    replay_id = await begin(ops, asked("stopped", rate="5/s"))
    await until(ops, replay_id, lambda document: document["outcomes"]["sent"] >= 5)
    assert (await ops("POST", f"/v1/replays/{replay_id}/stop")).status == 202
    begun = []
    for beside in ("beside", "beside it, too"):
        await expired(producer, 30, beside)
        await until(ops, await begin(ops, asked(beside, rate="10/s")), is_done)
        begun.append([r.send.send_id for _, r in routers.begun if r.replay_id == replay_id])
    document = (await receipt(ops, replay_id)).document

    assert document["status"] == "stopped"
    assert begun[0] == begun[1]
    assert document["outcomes"]["not_begun"] > 0
    assert (await ops("POST", f"/v1/replays/{replay_id}/resume")).document["status"] == "running"
    document = await until(ops, replay_id, is_done)
    assert document["outcomes"]["sent"] == 60
    assert len({r.send.send_id for _, r in routers.begun if r.replay_id == replay_id}) == 60


async def test_what_a_router_takes_after_a_stop_is_not_begun(
    gateway: Caller, producer: KafkaPublisher, routers: Routers
) -> None:
    ops = gateway.key("ops")
    await expired(producer, 20, "behind")
    replay_id = await begin(ops, asked("behind", rate="5/s"))
    await until(ops, replay_id, lambda document: document["outcomes"]["sent"] >= 1)
    routers.answers = False  # they fall behind, with requests on their way
    before = routers.asked

    async def some_are_on_their_way() -> bool:
        return routers.asked > before + 2

    await eventually(some_are_on_their_way, _LIMIT_S)
    routers.answers = True

    document = await until(ops, replay_id, is_done)  # those that had no answer are asked for again
    assert document["outcomes"]["sent"] == 20


async def test_another_gateway_goes_on_where_one_ended(
    settings: Settings, producer: KafkaPublisher, routers: Routers
) -> None:
    await expired(producer, 60, "moved")
    async with aiohttp.ClientSession() as session:
        async with served(settings) as url:
            ops = Caller(session, url).key("ops")
            replay_id = await begin(ops, asked("moved", rate="10/s"))
            await until(ops, replay_id, lambda document: document["outcomes"]["sent"] >= 5)
        async with served(settings) as url:
            ops = Caller(session, url).key("ops")
            document = await until(ops, replay_id, is_done)

    assert document["outcomes"]["sent"] == document["candidates"] == 60
    assert len({r.send.send_id for _, r in routers.begun if r.replay_id == replay_id}) == 60


async def test_a_gateway_that_ends_while_it_counts_counts_each_once(
    settings: Settings, producer: KafkaPublisher, routers: Routers
) -> None:
    routers.answers = False
    await expired(producer, 60, "recounted")
    async with aiohttp.ClientSession() as session:
        async with served(settings) as url:
            replay_id = await begin(Caller(session, url).key("ops"), asked("recounted", dry_run=True))

            async def is_asked() -> bool:
                return routers.asked > 10

            await eventually(is_asked, _LIMIT_S)
        routers.answers = True
        async with served(settings) as url:
            document = await until(Caller(session, url).key("ops"), replay_id, is_done)

    assert document["candidates"] == document["dry_run"]["would_send"] == 60


async def test_candidates_of_a_provider_that_rests_wait_and_others_go_on(
    settings: Settings, producer: KafkaPublisher, routers: Routers
) -> None:
    resting = {"fcm"}
    await expired(producer, 10, "resting")
    await expired(producer, 10, "resting", provider="apns")
    async with running(settings, lambda provider: provider in resting) as replays:

        async def begun(category: str) -> str:
            name = str(uuid4())
            await replays.begin(replays.prepare(read_asked(encode(asked(category))), name, "ops"))
            return name

        async def is_done(name: str) -> bool:
            return bool((await replays.receipt(name)).status == "done")

        async def others_are_sent() -> bool:
            return bool((await replays.receipt(replay_id)).outcomes["sent"] == 10)

        replay_id = await begun("resting")
        await eventually(others_are_sent, _LIMIT_S)
        await expired(producer, 10, "awake", provider="apns")
        another = await begun("awake")
        await eventually(lambda: is_done(another), _LIMIT_S)
        found = await replays.receipt(replay_id)
        assert (found.status, found.outcomes["sent"], found.outcomes["not_begun"]) == ("running", 10, 10)
        assert {r.send.provider for _, r in routers.begun if r.replay_id == replay_id} == {"apns"}
        resting.clear()

        await eventually(lambda: is_done(replay_id), _LIMIT_S)
        assert (await replays.receipt(replay_id)).outcomes["sent"] == 20


@asynccontextmanager
async def running(settings: Settings, is_open: Callable[[Any], bool]) -> AsyncIterator[Any]:
    """What a gateway does with replays, with other news of providers."""
    async with opened(settings, is_open=is_open) as deps:
        yield deps.replays


@pytest.mark.parametrize(
    ("said", "status", "field"),
    [
        ({"channel": "in_app"}, 422, "channel"),
        ({"channel": "fax"}, 400, "channel"),
        ({"from": rfc3339(now_ms() - 8 * 86_400_000)}, 422, "from"),
        ({"reasons": ["permanent"]}, 400, "reasons"),
        ({"provider": ["ses"]}, 422, "provider"),
    ],
)
async def test_what_makes_no_sense_is_a_problem_with_its_field(
    gateway: Caller, said: dict[str, Any], status: int, field: str
) -> None:
    reply = await gateway.key("ops")("POST", "/v1/replays", {**asked("none"), **said})

    assert (reply.status, reply.document.get("field")) == (status, field)


async def test_what_is_no_replay_is_not_found(gateway: Caller) -> None:
    ops, path = gateway.key("ops"), f"/v1/replays/{uuid4()}"

    assert (await ops("GET", path)).status == 404
    assert (await ops("GET", f"{path}/candidates")).status == 404
    assert (await ops("POST", f"{path}/stop")).status == 404
    assert (await ops("POST", f"{path}/resume")).status == 404
    assert (await gateway.key("shop")("GET", "/v1/replays")).status == 403
