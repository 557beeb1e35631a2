"""One performance from the first passenger to the last table, on a system that runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.demo.balance import Balance, balance
from app.demo.effects import effects_of
from app.demo.flights import events_of, read_airports, read_flights
from app.demo.gateway import Gateway, reached
from app.demo.outage import BEGINS_MIN, ENDS_MIN, Outage
from app.demo.passengers import Passengers
from app.demo.phones import Phones
from app.demo.playing import Player
from app.demo.report import Verdict, evaluate, latencies, reasons, render
from app.demo.staging import staged
from app.demo.watching import LogWatch, SandboxWatch
from app.dev.state import State

#: What is still on its way when nothing new was told for so long won't come.
_GIVE_UP_S = 120.0
_LOOK_EVERY_S = 1.0
#: No wait that ends by itself after the last event is longer (minutes of 2013), and what it sets off takes a moment:
#: nothing new for so long means nothing more.
_LAST_WAIT_MIN, _MOMENT_S = 120, 3.0
#: What a platform's provider says of a device that isn't there any more.
_UNREGISTERED = {"ios": ("apns", "Unregistered"), "android": ("fcm", "UNREGISTERED"), "web": ("webpush", "410")}
#: Accounts that are suspended or out of credit for so many calls, one a second: the next provider takes over meanwhile.
_TROUBLES = (("ses", "SendingPausedException", 5), ("twilio", "30002", 5), ("vonage", "9", 3))


async def perform(state: State, console: Console, *, speed: float, per_flight: int, seed: int) -> Verdict:
    """Plays the flights and shows what became of them. ``speed``: how much faster than in 2013."""
    airports, flights = read_airports(), read_flights()
    async with _reaching(state) as (producer, gateway, log, sandbox), staged(gateway, speed):
        people = Passengers(seed, airports, per_flight, datetime.now(UTC), await sandbox.push_service())
        aboard, events = people.board(flights), events_of(flights)
        player = Player(producer, gateway, f"{time.time_ns() // 1_000_000:x}")
        outage = Outage(gateway, sandbox)
        for passenger in people.everyone:
            for device in passenger.devices:
                if device.dead:
                    await _unregister(sandbox, device.platform, device.address)
        for provider, code, times in _TROUBLES:
            await sandbox.add_fault(provider=provider, action="error", code=code, times=times)
        with _progress(console) as progress:
            bar = progress.add_task("passengers", total=len(people.everyone))
            await player.introduce(people.everyone, lambda n: progress.advance(bar, n))
            async with _ringing(Phones(producer, sandbox, player.played.boarding)):
                bar = progress.add_task("flights of 8-9 February 2013", total=len(events))
                turns = ((BEGINS_MIN, outage.begin), (ENDS_MIN, outage.end))
                try:
                    await player.play(events, aboard, speed, lambda n: progress.advance(bar, n), turns)
                finally:
                    await outage.close()
                await _settled(player, log, speed, progress, "settling")
                await outage.replay()
                kept = await _settled(player, log, speed, progress, "replaying")
        await sandbox.read()
        effects = effects_of(log.events)
        verdict = evaluate(player.played, kept, log.events, sandbox.accepted, log.dead)
        console.print(render(player.played, kept, verdict, latencies(log.events, sandbox.accepted), effects))
        console.print(outage.render())
        for line in await reasons(gateway, effects.examples):
            console.print(line, highlight=False, soft_wrap=True)
    return verdict


async def _settled(player: Player, log: LogWatch, speed: float, progress: Progress, name: str) -> Balance:
    """Waits until nothing is on its way any more and nothing new was told for a while; gives up after a long while."""
    bar = progress.add_task(name, total=len(player.played.recipients))
    calm_s = _LAST_WAIT_MIN * 60 / speed + _MOMENT_S
    seen, seen_at = -1, time.monotonic()
    while True:
        kept = balance(player.played.recipients, log.events)
        progress.update(bar, completed=max(0, len(player.played.recipients) - len(kept.open)))
        if len(log.events) != seen:
            seen, seen_at = len(log.events), time.monotonic()
        calm_for_s = time.monotonic() - seen_at
        is_over = not kept.open and len(log.dead) >= player.played.malformed
        if calm_for_s > (calm_s if is_over else calm_s + _GIVE_UP_S):
            return kept
        await asyncio.sleep(_LOOK_EVERY_S)


@asynccontextmanager
async def _ringing(phones: Phones) -> AsyncIterator[None]:
    ringing = asyncio.create_task(phones.ring())
    try:
        yield
    finally:
        ringing.cancel()
        await asyncio.wait((ringing,))
        if not ringing.cancelled():
            ringing.result()


async def _unregister(sandbox: SandboxWatch, platform: str, address: str) -> None:
    provider, code = _UNREGISTERED[platform]
    await sandbox.add_fault(provider=provider, address=address, action="error", code=code)


@asynccontextmanager
async def _reaching(
    state: State,
) -> AsyncIterator[tuple[AIOKafkaProducer, Gateway, LogWatch, SandboxWatch]]:
    producer = AIOKafkaProducer(
        bootstrap_servers=state.kafka_bootstrap, acks="all", enable_idempotence=True, linger_ms=5
    )
    log = LogWatch(state.kafka_bootstrap)
    async with aiohttp.ClientSession() as session, reached(state) as gateway:
        sandbox = SandboxWatch(state.sandbox_url, session)
        await producer.start()
        try:
            await log.start()
            await sandbox.start()
            yield producer, gateway, log, sandbox
        finally:
            await log.stop()
            await producer.stop()


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<30}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
