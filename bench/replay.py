"""A replay of very many sends beside critical messages: what these wait, how fast it goes, and that each candidate has
exactly one outcome and arrives exactly once."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench.delivering import Offered, Pipe, latency_figures
from bench.figures import Figure, compared, held
from bench.ground import Ground
from bench.operating import FAILED, NOTHING_NEW_S, Operator, fail, operator
from bench.run import Run
from bench.workload import URGENT_TYPE, unix_ms
from schemas.instants import rfc3339
from schemas.topics import EVENTS_CRITICAL

NAME = "replay"
_CRITICAL_RATE = 20.0
_BOUND_MS = 1000.0
#: Critical messages are offered for so long at a time, until the replay is done.
_STRETCH_S = 10.0
_EVERY_S = 1.0
_PAGE = 500


class NotExact(Exception):
    """A candidate was lost, counted twice, or arrived more than once."""


async def measure(run: Run) -> None:
    count = run.sends or run.size(100_000, 3_000)
    rate = run.size(300, 100)
    async with Ground(run, NAME) as ground:
        pipe = Pipe(ground, users=run.size(5_000, 500))
        await pipe.prepare()
        await pipe.start()
        pipe.workers["gateway"] = await ground.start_gateway()
        since = unix_ms()
        names = await fail(pipe, count)
        until = unix_ms() + 1
        calm = await _critical(pipe, run.size(30.0, 10.0), "calm")
        async with operator(ground, "admin") as admin:
            replay = _Replay(pipe, admin, names)
            asked = {**FAILED, "from": rfc3339(since), "to": rfc3339(until), "rate": f"{rate}/s"}
            beside = await _beside(pipe, replay, asked)
            await pipe.until_accepted({*names, *beside.at_ms}, "the last of them")
            await replay.check()
        once = [*names, *calm.at_ms, *beside.at_ms]
        check_arrived(once, await asyncio.to_thread(_arrivals, ground.folder / "sandbox"))
        run.tell(f"a replay of {count:,} sends, asked for at {rate}/s", replay.figures())
        run.tell("critical messages beside it", _critical_figures(pipe, calm, beside, count))


async def _critical(pipe: Pipe, seconds: float, words: str) -> Offered:
    offered = await pipe.offer(_CRITICAL_RATE, seconds, f"critical, {words}", EVENTS_CRITICAL, URGENT_TYPE)
    await pipe.until_accepted(set(offered.at_ms), "the last of them")
    return offered


async def _beside(pipe: Pipe, replay: "_Replay", asked: Mapping[str, Any]) -> Offered:
    """Critical messages, from the moment at which the replay is asked for until it is done."""
    carrying_out = asyncio.create_task(replay.carry_out(asked))
    found, stretch = Offered({}), 0
    try:
        while not carrying_out.done():
            stretch += 1
            words = f"critical, {stretch}"
            some = await pipe.offer(_CRITICAL_RATE, _STRETCH_S, words, EVENTS_CRITICAL, URGENT_TYPE)
            found.at_ms.update(some.at_ms)
            found.late_s = max(found.late_s, some.late_s)
        await carrying_out
    finally:
        carrying_out.cancel()
    return found


class _Replay:
    """One replay, from its request to its receipt. ``names``: the notifications that it is to send again."""

    def __init__(self, pipe: Pipe, admin: Operator, names: Collection[str]) -> None:
        self._pipe = pipe
        self._admin = admin
        self._names = names
        self._path = ""
        self.counted_s = 0.0
        self.receipt: Mapping[str, Any] = {}

    async def carry_out(self, asked: Mapping[str, Any]) -> None:
        """Until it is done and nothing of it waits. Raises ProcessEnded, RuntimeError, TimeoutError."""
        begun = changed = time.monotonic()
        said = await self._admin.call("POST", "/v1/replays", asked)
        self._path = f"/v1/replays/{said['replay_id']}"
        task = self._pipe.ground.progress.add_task("  replayed", total=len(self._names))
        while not self._is_over:
            before, self.receipt = self.receipt, await self._admin.call("GET", self._path)
            if not self.counted_s and self.receipt["status"] != "counting":
                self.counted_s = time.monotonic() - begun
            if self.receipt != before:
                changed = time.monotonic()
            self._pipe.ground.progress.update(task, completed=self.receipt["outcomes"]["sent"])
            self._pipe.check()
            if time.monotonic() - changed > NOTHING_NEW_S:
                raise TimeoutError(f"nothing new for {NOTHING_NEW_S:g} s: {self.receipt}")
            await asyncio.sleep(_EVERY_S)
        self._pipe.ground.progress.remove_task(task)

    @property
    def _is_over(self) -> bool:
        return bool(self.receipt) and self.receipt["status"] == "done" and not self.receipt["outcomes"]["waiting"]

    async def check(self) -> None:
        """Raises NotExact unless each candidate is listed once, and was sent."""
        check_receipt(self.receipt, len(self._names))
        listed, cursor = [], ""
        while True:
            page = await self._admin.call("GET", f"{self._path}/candidates?limit={_PAGE}{cursor}")
            listed += [each["send_id"] for each in page["candidates"] if each["outcome"] == "sent"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        if not len(listed) == len(set(listed)) == len(self._names):
            raise NotExact(f"{len(listed)} candidates are listed as sent, {len(set(listed))} different")

    def figures(self) -> list[Figure]:
        case, count = f"{len(self._names):,} sends", len(self._names)
        times = sorted(self._pipe.phone.accepted[name] for name in self._names)
        took_s = max(0.001, (times[-1] - times[0]) / 1000)
        return [
            Figure(benchmark=NAME, case=case, name="counted", value=count / self.counted_s, unit="/s"),
            Figure(benchmark=NAME, case=case, name="sent", value=(count - 1) / took_s, unit="/s"),
            held(Figure(benchmark=NAME, case=case, name="missing or twice", value=0, unit="sends"), at_most=0),
        ]


def check_receipt(receipt: Mapping[str, Any], count: int) -> None:
    """Raises NotExact unless so many candidates were there, each to be sent, and each sent."""
    expected = {"dry_run": {"would_send": count}, "outcomes": {"sent": count}}
    found = {name: {key: n for key, n in receipt[name].items() if n} for name in expected}
    if receipt["candidates"] != count or found != expected:
        raise NotExact(f"of {count} candidates the receipt says {receipt['candidates']}: {found}")


class _Arrived(Struct):
    notification_id: str | None


def _arrivals(folder: Path) -> Counter[str]:
    """How often the provider has accepted each notification."""
    decode = msgspec.json.Decoder(_Arrived).decode
    with (folder / "accepted.jsonl").open("rb") as file:
        return Counter(name for line in file if (name := decode(line).notification_id) is not None)


def check_arrived(names: Collection[str], arrivals: Mapping[str, int]) -> None:
    """Raises NotExact unless each of them arrived exactly once."""
    missing = sum(arrivals.get(name, 0) == 0 for name in names)
    twice = sum(arrivals.get(name, 0) > 1 for name in names)
    if missing or twice:
        raise NotExact(f"of {len(names)} messages {missing} did not arrive, {twice} arrived more than once")


def _critical_figures(pipe: Pipe, calm: Offered, beside: Offered, count: int) -> list[Figure]:
    base = latency_figures(NAME, "critical, calm", pipe.latencies(calm), calm)
    found = latency_figures(NAME, f"critical, beside {count:,}", pipe.latencies(beside), beside)
    told = {name: compared(figure, base[name]) for name, figure in found.items()}
    told["p99"] = held(told["p99"], at_most=_BOUND_MS)
    return [*base.values(), *told.values()]
