"""One performance from the first passenger to the last table, on a system that runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.demo.balance import Balance, balance
from app.demo.flights import events_of, read_airports, read_flights
from app.demo.passengers import Passengers
from app.demo.playing import Player
from app.demo.report import Verdict, judge, latencies, render
from app.demo.watching import LogWatch, SandboxWatch
from app.dev.state import State

#: How long after the last event everything may take to end or to wait.
_SETTLE_S = 120.0
_LOOK_EVERY_S = 1.0


async def perform(state: State, console: Console, *, speed: float, per_flight: int, seed: int) -> Verdict:
    """Plays the flights and shows what became of them. ``speed``: how much faster than in 2013."""
    airports, flights = read_airports(), read_flights()
    people = Passengers(seed, airports, per_flight, datetime.now(UTC))
    aboard, events = people.board(flights), events_of(flights)
    async with _reaching(state) as (producer, session, log, sandbox):
        run = f"{time.time_ns() // 1_000_000:x}"
        player = Player(producer, session, state.gateway_url, state.api_keys["demo"], run)
        for passenger in people.everyone:
            for device in passenger.devices:
                if device.dead:
                    await _unregister(sandbox, device.platform, device.token)
        with _progress(console) as progress:
            bar = progress.add_task("passengers", total=len(people.everyone))
            await player.introduce(people.everyone, lambda n: progress.advance(bar, n))
            bar = progress.add_task("flights of 8-9 February 2013", total=len(events))
            await player.play(events, aboard, speed, lambda n: progress.advance(bar, n))
            bar = progress.add_task("settling", total=len(player.played.recipients))
            kept = await _settled(player, log, lambda n: progress.update(bar, completed=n))
        await sandbox.read()
        verdict = judge(player.played, kept, log.events, sandbox.accepted, log.dead)
        console.print(render(player.played, kept, verdict, latencies(log.events, sandbox.accepted)))
    return verdict


async def _settled(player: Player, log: LogWatch, told: Callable[[int], None]) -> Balance:
    """Waits until nothing is on its way any more, or for too long."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        kept = balance(player.played.recipients, log.events)
        told(len(player.played.recipients) - len(kept.open))
        if (not kept.open and len(log.dead) >= player.played.malformed) or time.monotonic() > deadline:
            return kept
        await asyncio.sleep(_LOOK_EVERY_S)


async def _unregister(sandbox: SandboxWatch, platform: str, token: str) -> None:
    provider, code = ("apns", "Unregistered") if platform == "ios" else ("fcm", "UNREGISTERED")
    await sandbox.add_fault(provider=provider, address=token, action="error", code=code)


@asynccontextmanager
async def _reaching(
    state: State,
) -> AsyncIterator[tuple[AIOKafkaProducer, aiohttp.ClientSession, LogWatch, SandboxWatch]]:
    producer = AIOKafkaProducer(
        bootstrap_servers=state.kafka_bootstrap, acks="all", enable_idempotence=True, linger_ms=5
    )
    log = LogWatch(state.kafka_bootstrap)
    async with aiohttp.ClientSession() as session:
        sandbox = SandboxWatch(state.sandbox_url, session)
        await producer.start()
        try:
            await log.start()
            await sandbox.start()
            yield producer, session, log, sandbox
        finally:
            await log.stop()
            await producer.stop()


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<30}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
