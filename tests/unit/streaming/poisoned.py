"""Real machines over rows in memory, in which one record or send blocks the process. Run by test_poison.py."""

import json
from typing import Any

import agents.router.machine as router_machine
import agents.sender.dispatch as sender_dispatch
from agents.router.context import RouterContext
from agents.router.machine import RouterMachine
from agents.router.requests import take_request
from agents.sender.calls import Result
from agents.sender.context import ChannelConfig, Delivery, SenderContext
from agents.sender.dispatch import compose_for
from agents.sender.machine import SenderMachine
from app.domain.last_look import Reach
from app.domain.out import Out
from app.domain.outcome import Outcome
from app.domain.rendering.parts import RenderError
from app.ports import LogRecord, Message
from app.streaming.poison import PoisonGuard
from app.streaming.process import Processor
from schemas.dead import read_dead
from schemas.lifecycle import read_lifecycle
from schemas.sends import encode_send
from schemas.topics import COMMANDS, DEAD, EVENTS, LIFECYCLE
from tables.rows import MemoryRows
from tests.agents.harness import PROVIDERS, SECRET, catalog
from tests.agents.stage import NOON, a_catalog, a_send
from tests.records import Record


def blocks_for_ever() -> None:
    while True:
        pass


def _processor(machine: Any, guard: PoisonGuard) -> Processor:
    return Processor(machine, MemoryRows(), 0, lambda name, count: None, lambda topic, code: None, guard)


async def router(guard: PoisonGuard) -> None:
    """The second of three requests blocks."""

    def take_request_or_block(context: RouterContext, record: LogRecord) -> None:
        if b"poison" in (record.value or b""):
            blocks_for_ever()
        take_request(context, record)

    vars(router_machine)["take_request"] = take_request_or_block
    processor = _processor(RouterMachine(catalog(), partitions=1, providers=PROVIDERS, secret=SECRET), guard)
    out = Out(works_on=guard.works_on)
    for offset, source in enumerate(("shop", "poison", "shop")):
        request = {"user_id": "u1", "event_type": "order.shipped", "source": source, "data": {"n": offset}}
        processor.handle(Record(EVENTS, 0, offset, NOON, b"u1", json.dumps(request).encode()), out, NOON)
    for record in out.records:
        if record.topic == DEAD:
            print("letter", read_dead(record.value or b"").code)
        elif record.topic == LIFECYCLE and (event := read_lifecycle(record.value or b"")).status == "accepted":
            print(event.status)


async def sender(guard: PoisonGuard) -> None:
    """The second of a user's three sends blocks when its turn comes, as the first has been answered."""

    def compose_or_block(context: SenderContext, delivery: Delivery, reach: Reach) -> Message | RenderError:
        if delivery.send.send_id == a_send(2).send_id:
            blocks_for_ever()
        return compose_for(context, delivery, reach)

    vars(sender_dispatch)["compose_for"] = compose_or_block
    processor = _processor(SenderMachine(a_catalog(), ChannelConfig("sms", {"twilio": 15_000})), guard)
    out = Out(works_on=guard.works_on)
    profile: dict[str, object] = {"type": "profile.set", "id": "c1", "at": "2025-01-01T00:00:00Z", "user_id": "u1"}
    profile |= {"phone": "+442071838750", "phone_verified": True, "timezone": "Europe/London"}
    processor.handle(Record(COMMANDS, 0, 0, NOON, b"u1", json.dumps(profile).encode()), out, NOON)
    for number in (1, 2, 3):
        processor.handle(Record("notify_send_sms", 0, number, NOON, b"u1", encode_send(a_send(number))), out, NOON)
    [call] = out.calls
    processor.settle(Result(call, Outcome("ok", provider_message_id="m1")), out, NOON)
    print("call", call.handle.send_id[-5])
    for record in out.records:
        if record.topic == LIFECYCLE and (event := read_lifecycle(record.value or b"")).status == "failed":
            print(event.status, event.reason)
    for call in out.calls[1:]:
        print("call", call.handle.send_id[-5])
