"""FCM is away for some hours of the second day; afterwards what it cost is replayed, as an operator would."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.demo.gateway import Gateway, once_known
from app.demo.watching import SandboxWatch
from tocsin.client.answers import Receipt

#: Minutes of 2013: from six to sixteen o'clock on the second day, longer than a cancellation is worth telling.
BEGINS_MIN: Final = 30 * 60
ENDS_MIN: Final = 40 * 60
_PROVIDER: Final = "fcm"
_LOOK_EVERY_S = 0.3
_REPLAYED_WITHIN_S = 180.0
#: New time for what expired: it counts from the replay's start.
_EXPIRES_AFTER, _RATE = "1h", "200/s"
_SHOWN = {
    "would_send": "would be sent",
    "would_wait": "would wait",
    "sent": "sent",
    "waiting": "wait for their time",
    "failed": "failed",
    "unknown": "outcome unknown",
    "already_sent": "sent already, or by a later step",
    "replayed_before": "replayed before",
    "open": "still on their way",
    "in_doubt": "in doubt",
    "expired": "expired",
    "opted_out": "opted out since",
    "suppressed": "suppressed by another rule",
    "cancelled": "cancelled",
    "erased": "erased",
    "forgotten": "no longer known",
    "not_begun": "not begun",
}


@dataclass(slots=True)
class Receipts:
    """What the replays said: the dry run first, then the replay itself."""

    dry_run: Receipt
    replay: Receipt


class Outage:
    """``begin``, ``end`` and, when all else is settled, ``replay``."""

    def __init__(self, gateway: Gateway, sandbox: SandboxWatch) -> None:
        self._gateway, self._sandbox = gateway, sandbox
        self._began, self._ended = "", ""
        self._began_s = self._ended_s = 0.0
        self._fault_id = ""
        self._watch: asyncio.Task[None] | None = None
        #: Seconds from its begin until the breaker was seen open, and the most sends that waited.
        self._open_after_s: float | None = None
        self._waited = 0
        self.receipts: Receipts | None = None

    async def begin(self) -> None:
        self._began, self._began_s = _now(), time.monotonic()
        self._fault_id = await self._sandbox.add_fault(provider=_PROVIDER, action="error", code="UNAVAILABLE")
        self._watch = asyncio.create_task(self._look())

    async def end(self) -> None:
        await self._sandbox.heal(self._fault_id)
        self._ended, self._ended_s = _now(), time.monotonic()
        await self.close()

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch

    async def replay(self) -> None:
        """A dry run, then the replay; returns when all of it has been begun. Raises TimeoutError."""
        self.receipts = Receipts(await self._run(dry_run=True), await self._run(dry_run=False))

    async def _run(self, *, dry_run: bool) -> Receipt:
        replays = self._gateway.operator.replays
        begun = await replays.begin(
            channel="push",
            provider=[_PROVIDER],
            from_=self._began,
            to=self._ended,
            expires_after=_EXPIRES_AFTER,
            rate=_RATE,
            dry_run=dry_run,
        )
        async with asyncio.timeout(_REPLAYED_WITHIN_S):
            while True:
                receipt = await once_known(lambda: replays.get(begun.replay_id))
                if receipt.status == "done":
                    return receipt
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _look(self) -> None:
        while True:
            listed = await self._gateway.operator.providers.list()
            seen = next((each for each in listed if each.provider == _PROVIDER), None)
            if seen is not None:
                self._waited = max(self._waited, seen.waiting)
                if seen.state == "open" and self._open_after_s is None:
                    self._open_after_s = time.monotonic() - self._began_s
            await asyncio.sleep(_LOOK_EVERY_S)

    def render(self) -> RenderableType:
        """The outage and its receipt, for a terminal."""
        if self.receipts is None:
            return Text("")
        breaker = (
            "its breaker stayed closed"
            if self._open_after_s is None
            else (f"its breaker was open after {self._open_after_s:.1f} s")
        )
        away = (
            f"FCM was away for {self._ended_s - self._began_s:.0f} s: {breaker}, up to {self._waited:,} sends waited."
        )
        replay, dry = self.receipts.replay, self.receipts.dry_run
        table = Table(title="What the outage cost, and its replay", title_justify="left")
        for heading in ("pushes that had failed or expired", "dry run", "replay"):
            table.add_column(heading, justify="left" if heading.startswith("pushes") else "right")
        for name, words in _SHOWN.items():
            would = dry.dry_run.get(name, 0)
            did = replay.outcomes.get(name, 0)
            if would or did:
                table.add_row(words, f"{would or ''}", f"{did or ''}")
        table.add_section()
        table.add_row("all", str(dry.candidates), str(replay.candidates))
        shown = Text(f"tocsin replay show {replay.replay_id} --candidates  lists each of them")
        return Group(table, Text(away), shown)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
