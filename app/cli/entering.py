"""Entering in the audit log what a command changes by itself, without the gateway."""

import asyncio
import time

from aiokafka.errors import KafkaError

from app.cli.output import Refused
from app.cli.run_by import run_by
from app.cli.settings import load_settings
from app.store.audit_log import AuditLog
from app.store.publisher import KafkaPublisher, PublishError

_LIMIT_S = 10.0


def enter_in_audit_log(action: str, what: str) -> str | None:
    """Returns when every in-sync replica has the entry: None, or why it isn't there."""
    try:
        asyncio.run(_enter(action, what))
    except (KafkaError, PublishError, Refused, TimeoutError) as error:
        return str(error) or type(error).__name__
    return None


async def _enter(action: str, what: str) -> None:
    options = load_settings().kafka.client_options()
    publisher = KafkaPublisher(options, client_id="tocsin-cli", timeout_s=_LIMIT_S)
    async with asyncio.timeout(_LIMIT_S):
        try:
            await publisher.start()
            await AuditLog(publisher, options, lambda: time.time_ns() // 1_000_000).enter(None, run_by(), action, what)
        finally:
            await publisher.close()
