"""Waiting until Kafka answers and has our topics: a role may be started before them."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

log = structlog.get_logger(__name__)

_ASK_EVERY_S = 0.2
_LOG_EVERY = 50


async def until_ready(client_options: Mapping[str, Any], topics: Collection[str]) -> None:
    """Returns when every one of the topics is there; says now and then what is still missing. Never gives up: whoever
    started the process knows better how long to wait."""
    asked = 0
    while missing := await _missing(client_options, topics):
        if asked % _LOG_EVERY == _LOG_EVERY - 1:
            log.warning("waiting for Kafka", missing=missing)
        asked += 1
        await asyncio.sleep(_ASK_EVERY_S)


async def _missing(client_options: Mapping[str, Any], topics: Collection[str]) -> str:
    if not await _listens(str(client_options["bootstrap_servers"])):
        return "no broker listens"
    admin = AIOKafkaAdminClient(**client_options, request_timeout_ms=5000)
    try:
        await admin.start()
        found = set(await admin.list_topics())
    except KafkaError as error:
        return repr(error)
    finally:
        await admin.close()
    return ", ".join(sorted(set(topics) - found))


async def _listens(bootstrap: str) -> bool:
    """Asked before the client, which logs an error for each refused connection."""
    for server in bootstrap.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            continue
        writer.close()
        return True
    return False
