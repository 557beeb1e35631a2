"""What every process has: its private folders, its end, its operations port, its traces."""

import asyncio
import faulthandler
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from app.config import Settings
from app.config.secret import FILE as SECRET_FILE
from app.private import narrow
from app.watchdog import END_WITHIN_S, Watchdog

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from app.tracing import SpanExporter


class WorkerFailed(Exception):
    """The role stopped by an error; whoever watches over it starts it again."""


def keep_data_private(role: str, settings: Settings) -> None:
    """The role's own folder, what all roles share in ``data.dir``, and the database if it is embedded here."""
    from app.store.clickhouse import EMBEDDED

    url, data = settings.clickhouse.url, settings.data.dir
    database = [Path(url.removeprefix(EMBEDDED))] if role == "analytics" and url.startswith(EMBEDDED) else []
    narrow(settings.data_folder(role), *database, alone=[data, data / SECRET_FILE])


def run(main: Callable[[asyncio.Event, Watchdog], Awaitable[None]], end_within_s: float = END_WITHIN_S) -> None:
    """The end begins with a signal or where ``main`` says so, with its own at the latest."""
    import uvloop

    # A crash in native code leaves the stacks of all threads in the log.
    faulthandler.enable()
    # Before Faust is imported: its threads take their loops from the policy.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    async def until_signalled() -> None:
        stop, watchdog = asyncio.Event(), Watchdog(end_within_s)
        beating = asyncio.create_task(watchdog.beat())

        def on_signal() -> None:
            watchdog.arm()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, on_signal)
        try:
            await main(stop, watchdog)
        finally:
            watchdog.arm()
            beating.cancel()

    asyncio.run(until_signalled())


async def log_is_ready(settings: Settings, topics: Sequence[str], stop: asyncio.Event) -> bool:
    """Waits for Kafka and these topics; False when told to stop before."""
    from app.store.log_ready import until_ready

    waiting = asyncio.create_task(until_ready(settings.kafka.client_options(), topics))
    stopping = asyncio.create_task(stop.wait())
    done, pending = await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    if waiting in done:
        waiting.result()
    return waiting in done


async def operations(
    stack: AsyncExitStack, role: str, settings: Settings, registry: "CollectorRegistry"
) -> Callable[[], None]:
    """Opens the operations port; what it returns is called when the role is ready."""
    from app.operations import OperationsServer

    is_ready = asyncio.Event()
    server = OperationsServer(role=role, problem=lambda: None if is_ready.is_set() else "starting", registry=registry)
    await server.start(settings.operations, settings.data_folder(role))
    stack.push_async_callback(server.stop)
    return is_ready.set


def span_exporter(
    stack: AsyncExitStack, role: str, settings: Settings, registry: "CollectorRegistry", clock: Callable[[], int]
) -> "SpanExporter | None":
    """None where traces are off: then nothing of OpenTelemetry is imported."""
    tracing = settings.tracing
    if tracing.endpoint is None:
        return None
    from app.metrics import SpanMetrics
    from app.tracing import DROP_REASONS, SpanExporter

    headers = {name: value.get_secret_value() for name, value in tracing.headers.items()}
    service = {
        "service.name": f"tocsin-{role}",
        "service.namespace": "tocsin",
        "service.instance.id": settings.instance,
    }
    exporter = SpanExporter.open(tracing.endpoint, headers, service, SpanMetrics(registry, DROP_REASONS), clock)
    stack.push_async_callback(exporter.close)
    return exporter
