"""Runs the sandbox: every provider's port and the control port, with the credentials of its folder."""

import asyncio
import fcntl
import json
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from app.private import narrow, write_private
from app.sandbox.callbacks.sending import Callbacks
from app.sandbox.certificates import Authority
from app.sandbox.control import control_app
from app.sandbox.desk import Desk
from app.sandbox.exchange import Vendor
from app.sandbox.faults import Faults
from app.sandbox.journal import Journal
from app.sandbox.listener import Listener, bound_socket
from app.sandbox.registry import VENDORS
from app.serving import add_security_headers, listen

DESCRIPTION = "sandbox.json"
#: The port of the topic that SES's events go through.
_SNS = "ses-events"


@dataclass(frozen=True, slots=True)
class Options:
    """``port`` is the control port; 0: the same as last time, else any free one. ``drop``: only counts are
    kept, in memory."""

    dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    drop: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox, as ``sandbox.json`` describes it."""

    control_url: str
    #: The settings tables ``providers.*`` of a worker that is to use it.
    providers: dict[str, dict[str, Any]]
    #: What such a worker needs in its environment.
    env: dict[str, str]


async def serve(options: Options, ready: Callable[[Sandbox], None] = lambda sandbox: None) -> None:
    """Runs until SIGTERM or SIGINT; ``ready`` is told once all ports are open. Raises OSError if the folder is in use,
    the control port is taken, or the journal can't be written any more."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, over)
    async with running(options, over) as sandbox:
        ready(sandbox)
        await over


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


@asynccontextmanager
async def running(options: Options, broken: asyncio.Future[None] | None = None) -> AsyncIterator[Sandbox]:
    """A sandbox inside this process, for as long as the context lasts. ``broken`` gets the error, should its journal
    not be writable any more."""
    folder = options.dir.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    narrow(alone=[folder])
    async with AsyncExitStack() as stack:
        stack.enter_context(_sole_owner(folder))
        journal = Journal(folder, broken=broken, drop=options.drop)
        stack.callback(journal.close)
        authority, faults = Authority(folder), Faults()
        vendors: dict[str, Vendor] = {vendor.name: vendor for vendor in (make(folder, journal) for make in VENDORS)}
        ports = _last_ports(folder)
        socks = {name: bound_socket(options.host, ports.get(name, 0)) for name in (*vendors, _SNS)}
        ports |= {name: sock.getsockname()[1] for name, sock in socks.items()}
        providers = {
            name: vendor.open_at(options.host, ports[name], str(authority.ca_file)) for name, vendor in vendors.items()
        }
        callbacks = Callbacks(folder, providers, f"https://{options.host}:{ports[_SNS]}")
        stack.push_async_callback(callbacks.close)
        providers = {name: {**settings, **callbacks.added(name)} for name, settings in providers.items()}
        desk = Desk(journal, faults, lambda: time.time_ns() // 1_000_000, callbacks.take)
        for name, vendor in vendors.items():
            listener = Listener(vendor, desk)
            stack.push_async_callback(listener.close)
            await listener.open(socks[name], authority.server_context(vendor.protocols))
        await _serve(stack, _sns_app(callbacks), socks[_SNS], authority.server_context(("http/1.1",)))
        sock = bound_socket(options.host, options.port or ports.get("control", 0), insist=options.port != 0)
        ports["control"] = sock.getsockname()[1]
        await _serve(stack, control_app(journal, faults, vendors, callbacks), sock)
        sandbox = Sandbox(f"http://{options.host}:{ports['control']}", providers, _env(vendors.values()))
        _describe(folder, sandbox, ports)
        yield sandbox


async def _serve(
    stack: AsyncExitStack, app: web.Application, sock: socket.socket, tls: ssl.SSLContext | None = None
) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server = await listen(runner, sock=sock, ssl=tls)
    stack.callback(server.close)


def _sns_app(callbacks: Callbacks) -> web.Application:
    app = web.Application()
    app.on_response_prepare.append(add_security_headers)
    app.router.add_get("/{path:.*}", callbacks.serve_sns)
    return app


@contextmanager
def _sole_owner(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another sandbox runs in {folder}: stop it, or name another folder") from None
        yield


def _last_ports(folder: Path) -> dict[str, int]:
    with suppress(OSError, ValueError, KeyError):
        return {name: int(port) for name, port in json.loads((folder / DESCRIPTION).read_text())["ports"].items()}
    return {}


def _env(vendors: Iterable[Vendor]) -> dict[str, str]:
    return {name: value for vendor in vendors for name, value in vendor.env.items()}


def _describe(folder: Path, sandbox: Sandbox, ports: dict[str, int]) -> None:
    """Writes sandbox.json, readable by its owner only, never half written."""
    write_private(folder / DESCRIPTION, json.dumps({**asdict(sandbox), "ports": ports}, indent=2).encode())
