"""What a live inbox costs and how long it takes: a gateway's CPU for a change beside a bare server of the same topic,
and the way from an accepted request to the client through the whole system."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from statistics import median

import aiohttp
import msgspec
from msgspec import Struct

from app.dev.ports import free_port
from app.domain.ids import keyed_notification_id
from app.domain.out import Produce
from app.domain.partition import partition_of
from bench.figures import Figure, compared, percentile
from bench.ground import Ground, Worker
from bench.run import Run
from bench.streams import opened_stream
from bench.workload import SOURCE, user_id
from schemas.inbox_changes import InboxChange, encode_inbox_record
from schemas.instants import parse_ms
from schemas.topics import EVENTS, INBOX_CHANGES, LIFECYCLE

NAME = "inbox"
CASES = ("fed", "live")
_ROUNDS = 3
#: Changes a second, onto the topic; the CPU for each may be so many times a bare server's.
_FED_RATE, _FED_BOUND = 1_000, 2.0
_FED_USERS = 1_000
_TICK_S = 0.02
#: Requests a second through the whole system; the client may have one so much later than it is ``sent``.
_LIVE_RATE, _LIVE_BOUND = 100.0, 1.5
_LIVE_USERS = 200
_LATE_S = 120.0
_HELLO = "hello.world"


async def measure(run: Run) -> None:
    async with Ground(run, NAME) as ground:
        await ground.start_ready("in_app")
        gateway = await ground.start_gateway()
        if run.wants(NAME, "fed"):
            await _measure_fed(run, ground, gateway)
        if run.wants(NAME, "live"):
            await ground.start_ready("router")
            await _measure_live(run, ground)


# --- changes fed onto the topic -------------------------------------------------------------------------------------


class Reader:
    """A client that counts the changes it was told of."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self.changes = 0
        #: When each item came, Unix ms.
        self.items: dict[str, int] = {}

    async def read(self) -> None:
        while line := await self._stream.readline():
            if line == b"event: update\n":
                self.changes += 1
            elif line == b"event: notification\n":
                data = await self._stream.readline()
                self.items[msgspec.json.decode(data.removeprefix(b"data: "), type=_Item).id] = _now_ms()


class _Item(Struct):
    id: str


async def _measure_fed(run: Run, ground: Ground, gateway: Worker) -> None:
    """In turns, so that what else the machine does befalls both."""
    seconds = run.size(20.0, 6.0)
    port = free_port()
    command = [sys.executable, "-m", "bench.bare_inbox", ground.bootstrap, str(port), str(ground.partitions)]
    bare, bare_url = await ground.start("bare_inbox", command), f"http://127.0.0.1:{port}"
    await bare.until(lambda _: _answers(port))
    found: dict[str, list[float]] = {"bare": [], "gateway": []}
    version = 0
    for turn in range(_ROUNDS):
        for case, worker, url in (("bare", bare, bare_url), ("gateway", gateway, ground.system.state.gateway_url)):
            found[case].append(await _cpu_of_a_change(ground, worker, url, seconds, version, f"{case} {turn + 1}"))
            version += 1_000_000
    ratios = [ours / theirs for ours, theirs in zip(found["gateway"], found["bare"], strict=True)]
    middle = sorted(range(_ROUNDS), key=ratios.__getitem__)[_ROUNDS // 2]
    detail = {"rounds": _ROUNDS, "ratios": [round(r, 2) for r in ratios], "median": round(median(ratios), 2)}
    theirs, ours = (
        Figure(benchmark=NAME, case=words, name="cpu", value=found[case][middle], unit="µs/change", detail=detail)
        for case, words in (("bare", "a bare server"), ("gateway", f"{_FED_RATE:,}/s to {_FED_USERS:,} streams"))
    )
    run.tell("inbox: changes fed onto the topic", [theirs, compared(ours, theirs, at_most=_FED_BOUND)])


async def _cpu_of_a_change(ground: Ground, worker: Worker, url: str, seconds: float, version: int, words: str) -> float:
    """Microseconds. Raises TimeoutError where not every client is told of every change."""
    users = [user_id(number) for number in range(_FED_USERS)]
    rounds = round(seconds * _FED_RATE / _FED_USERS)
    async with _reading(url, ground.system.state.jwt_secret, users) as readers:
        await _feed(ground, users, 1, version)  # warm
        await _until_told(readers, 1)
        before_s = worker.cpu_s()
        await _feed(ground, users, rounds, version + 1, words)
        await _until_told(readers, 1 + rounds)
        return 1e6 * (worker.cpu_s() - before_s) / (rounds * len(users))


async def _feed(ground: Ground, users: Sequence[str], rounds: int, version: int, words: str = "warm") -> None:
    """``rounds`` changes of each user, from ``version`` on, as evenly as a tick allows."""
    records = iter(_changes(users, rounds, version, ground.partitions))
    task, at_once = ground.progress.add_task(f"  {words}", total=rounds * len(users)), round(_FED_RATE * _TICK_S)
    due = time.monotonic()
    while chunk := [record for _, record in zip(range(at_once), records, strict=False)]:
        await ground.append(chunk)
        ground.progress.advance(task, len(chunk))
        due += _TICK_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    ground.progress.remove_task(task)


def _changes(users: Sequence[str], rounds: int, version: int, partitions: int) -> Iterator[Produce]:
    """A user's first stream begins at 0, behind which the first change of a turn comes."""
    for number in range(version + 1, version + 1 + rounds):
        for user in users:
            change = InboxChange(
                user_id=user,
                version=number,
                previous=number - 1 if number % 1_000_000 != 1 else 0,
                kind="marked",
                unread=1,
                unseen=0,
                unread_before=1,
                unseen_before=0,
                notification_id="0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e",
                seen=True,
                read=bool(number % 2),
                archived=False,
            )
            key = user.encode()
            yield Produce(INBOX_CHANGES, key, encode_inbox_record(change), partition_of(key, partitions))


async def _until_told(readers: Sequence[Reader], changes: int) -> None:
    await _until(lambda: all(reader.changes >= changes for reader in readers))


async def _until(question: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LATE_S):
        while True:
            if question():
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _reading(url: str, secret: str, users: Sequence[str]) -> AsyncIterator[list[Reader]]:
    readers: list[Reader] = []
    async with AsyncExitStack() as stack:
        reading = await stack.enter_async_context(_Reading())
        for user in users:
            stream, writer = await opened_stream(url, secret, user)
            stack.enter_context(closing(writer))
            readers.append(Reader(stream))
            reading.begin(readers[-1])
        yield readers


class _Reading:
    """Readers at work, until it is left."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, reader: Reader) -> None:
        self._tasks.append(asyncio.create_task(reader.read()))

    async def __aenter__(self) -> "_Reading":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _answers(port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/") as response:
            return response.status == 404
    except aiohttp.ClientError:
        return False


# --- through the whole system ---------------------------------------------------------------------------------------


class _Told(Struct):
    notification_id: str | None
    status: str
    occurred_at: str


async def _measure_live(run: Run, ground: Ground) -> None:
    users = [user_id(number) for number in range(_LIVE_USERS)]
    state = ground.system.state
    async with _reading(state.gateway_url, state.jwt_secret, users) as readers:
        await _offer(ground, users, run.size(5.0, 2.0), "warm")
        names = await _offer(ground, users, run.size(60.0, 15.0), "live")
        came: dict[str, int] = {}

        def all_came() -> bool:
            came.update({name: at for each in readers for name, at in each.items.items()})
            return names <= came.keys()

        await _until(all_came)
    accepted, sent = await _occurred(ground, names)
    ways = {
        "accepted → sent": [sent[name] - accepted[name] for name in names],
        "accepted → client": [came[name] - accepted[name] for name in names],
    }
    case = f"{_LIVE_RATE:.0f}/s"
    figures: list[Figure] = []
    for percent in (50.0, 99.0):
        base, ours = (
            Figure(
                benchmark=NAME,
                case=f"{way}, {case}",
                name=f"p{percent:.0f}",
                value=float(percentile(ms, percent)),
                unit="ms",
                detail={"items": len(ms)},
            )
            for way, ms in ways.items()
        )
        figures += [base, compared(ours, base, at_most=_LIVE_BOUND if percent == 99.0 else None)]
    run.tell("inbox: from accepted to the client", figures)


async def _offer(ground: Ground, users: Sequence[str], seconds: float, words: str) -> set[str]:
    """Requests at random (Poisson) times that don't wait; the notifications' ids."""
    chance, names = random.Random(words), set[str]()
    task = ground.progress.add_task(f"  {words}", total=round(seconds))
    begun, at_s = time.monotonic(), 0.0
    async with asyncio.TaskGroup() as producing:
        while (at_s := at_s + chance.expovariate(_LIVE_RATE)) < seconds:
            await asyncio.sleep(max(0.0, begun + at_s - time.monotonic()))
            user, key = chance.choice(users), f"{words}-{len(names)}"
            names.add(keyed_notification_id(SOURCE, key))
            producing.create_task(ground.append([_request(user, key, ground.partitions)]))
            ground.progress.update(task, completed=int(at_s))
    ground.progress.remove_task(task)
    return names


def _request(user: str, key: str, partitions: int) -> Produce:
    asked = {
        "user_id": user,
        "event_type": _HELLO,
        "channels": ["in_app"],
        "content": {"title": "Number", "body": key},
        "source": SOURCE,
        "idempotency_key": key,
    }
    return Produce(EVENTS, user.encode(), msgspec.json.encode(asked), partition_of(user.encode(), partitions))


async def _occurred(ground: Ground, names: set[str]) -> tuple[dict[str, int], dict[str, int]]:
    """When each was accepted, and when sent, by its own events (Unix ms)."""
    found: dict[str, dict[str, int]] = {"accepted": {}, "sent": {}}
    decode = msgspec.json.Decoder(_Told).decode
    for record in await ground.read(LIFECYCLE):
        told = decode(record.value)
        if told.notification_id in names and told.status in found:
            found[told.status][told.notification_id] = parse_ms(told.occurred_at)
    return found["accepted"], found["sent"]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
