"""An executor of calls, and a provider that answers when a test has it answer."""

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import Any

from agents.executor import GatedExecutor, unix_ms
from agents.sender.calls import Call
from app.domain.outcome import Outcome
from app.ports import Address, Handle, Message
from app.providers.gate import Gate, GatedClient
from app.providers.wire import note_status
from schemas.words import Channel, Provider
from tests.unit.providers.factories import a_device, a_handle, a_message

PUSH: tuple[Provider, ...] = ("apns", "fcm")


class Gatekeeper:
    """A provider that answers when it is told to."""

    name: Provider = "apns"
    channel: Channel = "push"
    #: Of its answers.
    status: int | None = None

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.asked: list[str] = []
        self._answers: dict[str, asyncio.Future[Outcome]] = {}
        self._began = asyncio.Condition()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        self.begun.append(handle.send_id)
        async with self._began:
            self._began.notify_all()
        return await self._answer(handle.send_id)

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        self.asked.append(handle.send_id)
        return await self._answer(handle.send_id)

    async def has_begun(self, count: int) -> None:
        async with asyncio.timeout(30), self._began:
            await self._began.wait_for(lambda: len(self.begun) >= count)

    def answer(self, send_id: str, outcome: Outcome | None = None) -> None:
        self._future(send_id).set_result(outcome or Outcome("ok"))

    async def _answer(self, send_id: str) -> Outcome:
        outcome = await self._future(send_id)
        if self.status is not None:
            await asyncio.gather(self._note(self.status))  # as libraries do that make tasks of their own
        return outcome

    async def _note(self, status: int) -> None:
        note_status(status)

    def _future(self, send_id: str) -> "asyncio.Future[Outcome]":
        return self._answers.setdefault(send_id, asyncio.get_running_loop().create_future())


def a_call(name: str, user_id: str = "u1", **changes: Any) -> Call:
    priority = changes.pop("priority", "normal")
    call = Call(
        purpose="send",
        key=name.encode(),
        number=1,
        user_id=user_id,
        provider="apns",
        message=a_message(),
        to=a_device(),
        handle=a_handle(send_id=name, priority=priority),
        claimed_at=unix_ms(),
        timeout_ms=5_000,
    )
    return dataclasses.replace(call, **changes)


def performing(
    client: Gatekeeper,
    *,
    concurrency: int = 10,
    limit: int = 10,
    reserved: int = 2,
    clock: Callable[[], int] = unix_ms,
    rate: float | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[GatedExecutor, Gate]:
    gate = Gate("apns", concurrency=concurrency, rate=rate, clock=monotonic)
    clients: dict[Provider, GatedClient] = {"apns": GatedClient(client, gate)}
    return GatedExecutor(clients, limit=limit, reserved=reserved, clock=clock, monotonic=monotonic), gate


def taken(
    executor: GatedExecutor,
    count: int,
    *,
    urgent: bool = False,
    bulk: bool = False,
    provider: Provider = "apns",
    first: int = 0,
) -> int:
    """How many of so many claims get a slot."""
    claims = [(str(number).encode(), 1) for number in range(first, first + count)]
    return sum(executor.take(provider, claim, urgent=urgent, bulk=bulk) is None for claim in claims)
