"""The passengers' phones: they tell, as an app does, which boarding calls their owners opened."""

import asyncio
from collections.abc import Set
from datetime import UTC, datetime
from zlib import crc32

import msgspec
from aiokafka import AIOKafkaProducer

from app.demo.watching import SandboxWatch
from app.domain.ids import partition_of_send
from schemas.topics import RECEIPTS

_LOOK_EVERY_S = 0.4
#: So many of a hundred are opened; of the others somebody else has to be told.
_OPENED_PERCENT = 65


class Phones:
    """``boarding``: ids of the notifications that are opened; more may be added."""

    def __init__(self, producer: AIOKafkaProducer, sandbox: SandboxWatch, boarding: Set[str]) -> None:
        self._producer, self._sandbox, self._boarding = producer, sandbox, boarding
        self._looked_at = 0

    async def ring(self) -> None:
        """Goes on until it is cancelled."""
        while True:
            await self._sandbox.read()
            messages = self._sandbox.accepted[self._looked_at :]
            self._looked_at += len(messages)
            for message in messages:
                is_push = message["provider"] in ("apns", "fcm", "webpush")
                if is_push and message["notification_id"] in self._boarding and _opens(message["send_id"]):
                    await self._report(message["send_id"])
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _report(self, send_id: str) -> None:
        receipt = {
            "id": f"{send_id}:opened",
            "send_id": send_id,
            "status": "opened",
            "occurred_at": datetime.now(UTC).isoformat(),
        }
        await self._producer.send(RECEIPTS, msgspec.json.encode(receipt), partition=partition_of_send(send_id))


def _opens(send_id: str) -> bool:
    return crc32(send_id.encode()) % 100 < _OPENED_PERCENT
