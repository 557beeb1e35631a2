"""How soon a pause is obeyed: after a provider, a campaign or a replay was paused and that was acknowledged, when the
last request was produced and the last call began; with little else to do, then under load.

A campaign and a replay promise that nothing more is produced; what is produced goes its way, so their last calls are
held to nothing.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct

from bench.delivering import Pipe
from bench.figures import Figure, compared, held
from bench.ground import Ground
from bench.operating import FAILED, NOTHING_NEW_S, PROVIDER, Operator, fail, operator
from bench.run import Run
from bench.workload import EVENT_TYPE, unix_ms, user_id
from schemas.instants import rfc3339
from schemas.topics import EVENTS_BULK, LIFECYCLE

NAME = "pausing"
#: Requests a second meanwhile.
_CALM_RATE = 10.0
#: Of the campaign and the replay.
_JOB_RATE = 50
#: A pause lasts so long, and before the next so many more have to go out.
_HOLD_S = 3.0
_UNDER_WAY = 20
_EVERY_S = 0.2
#: Held to what docs/http.md and docs/campaigns.md say.
_PROVIDER_S, _JOB_S = 2.0, 1.0
#: Of the campaign and the replay, for each try; more than go out in one, whatever the machine does.
_FOR_A_TRY = 300


async def measure(run: Run) -> None:
    tries = run.size(12, 4)
    base: dict[tuple[str, str], Figure] = {}
    async with Ground(run, NAME) as ground:
        pipe = Pipe(ground, users=_FOR_A_TRY * tries)
        await pipe.prepare()
        await pipe.start()
        pipe.workers["gateway"] = await ground.start_gateway()
        for words, rate in (("calm", _CALM_RATE), ("under load", run.size(150.0, 60.0))):
            held_back = await _paused(pipe, tries, words, rate)
            seen = await _Seen.of(ground)
            for paused in held_back:
                figures = paused.figures(seen, words)
                told = [_against(figure, base.get((paused.what, figure.name))) for figure in figures]
                base |= {(paused.what, figure.name): figure for figure in figures if words == "calm"}
                run.tell(f"{paused.what}, {words}: {tries} pauses", told)


def _against(figure: Figure, base: Figure | None) -> Figure:
    """With its baseline; what it is held to is its value, not the ratio."""
    beside = compared(figure, base)
    return msgspec.structs.replace(beside, bound=figure.bound, holds=figure.holds)


async def _paused(pipe: Pipe, tries: int, words: str, rate: float) -> "list[_Paused]":
    """Each of the three so many times, one after the other, while others ask for so much a second."""
    since = unix_ms()
    await fail(pipe, _FOR_A_TRY * tries)
    failed = {**FAILED, "from": rfc3339(since), "to": rfc3339(unix_ms() + 1), "rate": f"{_JOB_RATE}/s"}
    async with operator(pipe.ground, "admin") as admin, operator(pipe.ground, "demo") as service:
        found: list[_Paused] = [
            _Campaign(service, words.replace(" ", "-"), pipe.load.users),
            _Replay(admin, failed),
            _Provider(admin, pipe.ground),  # last, as its load grows slowly again for a minute after it is resumed
        ]
        async with _others(pipe, rate, words):
            for each in found:
                task = pipe.ground.progress.add_task(f"  {each.what}, {words}", total=tries)
                await each.begin()
                for _ in range(tries):
                    await each.under_way()
                    await each.hold()
                    pipe.check()
                    pipe.ground.progress.advance(task)
                pipe.ground.progress.remove_task(task)
    return found


@asynccontextmanager
async def _others(pipe: Pipe, rate: float, words: str) -> AsyncIterator[None]:
    """Meanwhile others ask for so many pushes a second."""
    offering = asyncio.create_task(pipe.offer(rate, 86_400.0, f"others, {words}"))
    try:
        yield
        if offering.done():
            await offering
    finally:
        offering.cancel()
        with suppress(asyncio.CancelledError):
            await offering


class _Paused(ABC):
    """What is paused and resumed; ``holds``: from when each pause was acknowledged until it was to end."""

    what: str

    def __init__(self, who: Operator) -> None:
        self._who = who
        self.holds: list[tuple[int, int]] = []

    async def hold(self) -> None:
        await self._pause()
        begun = unix_ms()
        await asyncio.sleep(_HOLD_S)
        self.holds.append((begun, unix_ms()))
        await self._resume()

    async def under_way(self) -> None:
        """Returns when more has gone out since. Raises TimeoutError, and RuntimeError for what is done already."""
        before, begun = await self._gone_out(), time.monotonic()
        while await self._gone_out() < before + _UNDER_WAY:
            if time.monotonic() - begun > NOTHING_NEW_S:
                raise TimeoutError(f"{self.what}: nothing goes out any more")
            await asyncio.sleep(_EVERY_S)

    @abstractmethod
    async def begin(self) -> None: ...

    @abstractmethod
    async def _pause(self) -> None: ...

    @abstractmethod
    async def _resume(self) -> None: ...

    @abstractmethod
    async def _gone_out(self) -> int: ...

    @abstractmethod
    def figures(self, seen: "_Seen", words: str) -> list[Figure]: ...

    def _figures(self, words: str, name: str, times: Collection[int], at_most: float | None) -> list[Figure]:
        """Raises LookupError where nothing was seen: then no pause can be judged by it."""
        if not times and at_most is None:
            return []
        if not times:
            raise LookupError(f"{self.what}, {words}: nothing was seen of which it could be said when the {name}")
        late = [ms / 1000 for ms in lateness(self.holds, times)]
        detail = {"tries": len(late), "s": sorted(late)}
        case = f"{self.what}, {words}"
        middle, most = (
            Figure(benchmark=NAME, case=case, name=f"{name}, {kind}", value=value, unit="s", detail=detail)
            for kind, value in (("median", median(late)), ("most", max(late)))
        )
        return [middle, held(most, at_most=at_most)]


class _Provider(_Paused):
    what = "provider"

    def __init__(self, who: Operator, ground: Ground) -> None:
        super().__init__(who)
        self._calls = _Calls(ground.folder / "sandbox")

    async def begin(self) -> None:
        """It is called all the time."""

    async def _pause(self) -> None:
        await self._who.call("POST", f"/v1/providers/{PROVIDER}/pause", {"why": "it is measured"})

    async def _resume(self) -> None:
        await self._who.call("POST", f"/v1/providers/{PROVIDER}/resume", {})

    async def _gone_out(self) -> int:
        return await asyncio.to_thread(self._calls.look)

    def figures(self, seen: "_Seen", words: str) -> list[Figure]:
        return self._figures(words, "last call begins", seen.calls.values(), _PROVIDER_S)


class _Campaign(_Paused):
    what = "campaign"

    def __init__(self, who: Operator, name: str, users: int) -> None:
        super().__init__(who)
        self._name = f"paused-{name}"
        self._users = users

    @property
    def _path(self) -> str:
        return f"/v1/campaigns/{self._name}"

    async def begin(self) -> None:
        body = {
            "campaign_id": self._name,
            "event_type": EVENT_TYPE,
            "content": {"title": self._name, "body": "Of a campaign that is paused."},
            "channels": ["push"],
            "rate": f"{_JOB_RATE}/s",
            "user_ids": [user_id(number) for number in range(self._users)],
        }
        await self._who.call("POST", "/v1/campaigns", body)

    async def _pause(self) -> None:
        await self._who.call("POST", f"{self._path}/pause")

    async def _resume(self) -> None:
        await self._who.call("POST", f"{self._path}/resume")

    async def _gone_out(self) -> int:
        campaigns = (await self._who.call("GET", "/v1/campaigns"))["campaigns"]
        shown = next(each for each in campaigns if each["campaign_id"] == self._name)
        if shown["status"] == "done":
            raise RuntimeError(f"it was done before the last pause: {shown}")
        return int(shown["produced"])

    def figures(self, seen: "_Seen", words: str) -> list[Figure]:
        produced = seen.produced.get(self._name, ())
        called = [seen.calls[send] for send in seen.sends.get(self._name, ()) if send in seen.calls]
        return [
            *self._figures(words, "last request is produced", produced, _JOB_S),
            *self._figures(words, "last call begins", called, None),
        ]


class _Replay(_Paused):
    what = "replay"

    def __init__(self, who: Operator, asked: dict[str, Any]) -> None:
        super().__init__(who)
        self._asked = asked
        self._replay_id = ""

    async def begin(self) -> None:
        self._replay_id = (await self._who.call("POST", "/v1/replays", self._asked))["replay_id"]

    async def _pause(self) -> None:
        await self._who.call("POST", f"/v1/replays/{self._replay_id}/stop")

    async def _resume(self) -> None:
        await self._who.call("POST", f"/v1/replays/{self._replay_id}/resume")

    async def _gone_out(self) -> int:
        receipt = await self._who.call("GET", f"/v1/replays/{self._replay_id}")
        if receipt["status"] == "done":
            raise RuntimeError(f"it was done before the last stop: {receipt}")
        return int(receipt["candidates"]) - int(receipt["outcomes"]["not_begun"])

    def figures(self, seen: "_Seen", words: str) -> list[Figure]:
        sends = seen.sends.get(self._replay_id, {})
        called = [seen.calls[send] for send in sends if send in seen.calls]
        return [
            *self._figures(words, "last send is queued", sends.values(), _JOB_S),
            *self._figures(words, "last call begins", called, None),
        ]


def lateness(holds: Sequence[tuple[int, int]], times: Collection[int]) -> list[int]:
    """For each pause how long after its acknowledgement the last happened, in ms; 0: nothing did."""
    return [max((at - begun for at in times if begun <= at < until), default=0) for begun, until in holds]


# --- what was seen ---


class _Call(Struct):
    at_ms: int
    operation: str
    send_id: str | None = None


class _Calls:
    """The provider's calls, read from the sandbox's file as it is written: send id → when the last began."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "calls.jsonl"
        self._at = 0
        self._decode = msgspec.json.Decoder(_Call).decode
        self.began: dict[str, int] = {}
        self._count = 0

    def look(self) -> int:
        """Reads what is new; how many there were so far."""
        with self._file.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                call = self._decode(line)
                if call.operation == "send" and call.send_id is not None:
                    self.began[call.send_id] = call.at_ms
                    self._count += 1
        return self._count


class _Asked(Struct):
    campaign_id: str | None = None


class _Queued(Struct):
    send_id: str | None = None
    status: str = ""
    campaign_id: str | None = None
    replay_id: str | None = None


@dataclass(slots=True)
class _Seen:
    """``calls``: when each send's call began. ``produced``: when each campaign's requests were. ``sends``: of each
    campaign and replay, when each was queued. All in Unix ms."""

    calls: dict[str, int] = field(default_factory=dict)
    produced: dict[str, list[int]] = field(default_factory=dict)
    sends: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    async def of(cls, ground: Ground) -> "_Seen":
        """All until now."""
        seen, calls = cls(), _Calls(ground.folder / "sandbox")
        await asyncio.to_thread(calls.look)
        seen.calls = calls.began
        for record in await ground.read(EVENTS_BULK):
            if campaign := msgspec.json.decode(record.value, type=_Asked).campaign_id:
                seen.produced.setdefault(campaign, []).append(record.timestamp)
        for record in await ground.read(LIFECYCLE):
            event = msgspec.json.decode(record.value, type=_Queued)
            job = event.replay_id or event.campaign_id
            if event.status == "queued" and event.send_id and job:
                seen.sends.setdefault(job, {})[event.send_id] = record.timestamp
        return seen
