"""``tocsin dev``: everything on this machine, in the foreground."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.output import Refused
from app.demo.page import InboxPage
from app.dev.broker import BrokerFailed
from app.dev.child import die_with
from app.dev.java import NoJava
from app.dev.kafka_jars import NoJars
from app.dev.state import FOLDER, AlreadyRunning
from app.dev.supervisor import Change, NotReady
from app.dev.system import DevSystem, Options
from app.dev.welcome import welcome
from app.store.topics import TopicsError

#: What can go wrong on a machine, as opposed to a bug.
REFUSALS = (AlreadyRunning, BrokerFailed, NoJars, NoJava, NotReady, TopicsError)

#: What the sandbox's providers report of mail and SMS.
REPORTED = {"bounce": 0.01, "complain": 0.002}

STARTING = "Starting Kafka, the sandbox, the gateway and the workers …"


def dev(
    folder: Annotated[Path, typer.Option(help="The folder for data, logs, settings and keys.")] = FOLDER,
    gateway_port: Annotated[int, typer.Option(min=0, max=65_535, help="The port, or any other if it's in use.")] = 8080,
    kafka_port: Annotated[int, typer.Option(min=0, max=65_535, help="The port, or any other if it's in use.")] = 9092,
    page_port: Annotated[int, typer.Option(min=0, max=65_535, help="The port, or any other if it's in use.")] = 8090,
) -> None:
    """Run Kafka, the provider sandbox, the gateway and every worker on this machine, until Ctrl-C.

    A process that dies is started again; its log is in FOLDER/logs. Other commands find the running system when
    TOCSIN_CONFIG is unset.

    Example: `tocsin dev --gateway-port 8000`
    """
    with closing(InboxPage(page_port)) as page:
        try:
            asyncio.run(until_stopped(_serve(options_of(folder, gateway_port, kafka_port, page), page)))
            print("Stopped.")
        except REFUSALS as error:
            raise Refused(str(error)) from None


def options_of(folder: Path, gateway_port: int, kafka_port: int, page: InboxPage) -> Options:
    """A system whose providers report, and whose gateway lets the page in."""
    return Options(
        folder=folder,
        gateway_port=gateway_port,
        kafka_port=kafka_port,
        callbacks=REPORTED,
        settings=page.settings,
    )


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Does the work until it ends or a signal asks us to stop; then it is cancelled, and its clean-up waited for."""
    running = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, running.cancel)
    if "MAKELEVEL" in os.environ:  # make, when it is killed, would leave us behind
        die_with(os.getppid(), signal.SIGTERM)
    await asyncio.wait((running,))
    if not running.cancelled():
        running.result()


def print_change(change: Change) -> None:
    """Says on the terminal what became of a process."""
    if change.what == "ended":
        code = change.exit_code or 0
        why = f"signal {-code}" if code < 0 else f"exit status {code}"
        print(f"{change.name} ended ({why}), restarting it", flush=True)
    elif change.restarts:
        print(f"{change.name} is running again, pid {change.pid} (restart {change.restarts})", flush=True)


async def _serve(options: Options, page: InboxPage) -> None:
    print(STARTING, flush=True)
    async with DevSystem(options, print_change) as system, page.served(system.state):
        print(f"Tocsin is running. Ctrl-C stops it.\n\n{welcome(system.state, page.url)}\n", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("\nStopping …", flush=True)
