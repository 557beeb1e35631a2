"""The operations port of every role: health, metrics, and reads of the state that the process owns.

Health and metrics are open, for they hold nothing of users. Reads of state are answered to Tocsin's own processes
only: to requests that are signed with the installation's secret (``app/domain/signed_reads.py``) and that name one of
this port's own hosts, which no web page can do by a name of its own. Slow and silent connections are ended as at the
gateway (``app/api/connections.py``).
"""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, generate_latest

from app.api.connections import Connection, ConnectionLimits, Connections, connection_factory
from app.api.problems import Problem
from app.config import Operations
from app.domain import signed_reads
from app.metrics import Readiness
from app.ports import NotOwned, StateReads
from app.serving import add_security_headers
from schemas.decode import Invalid

log = structlog.get_logger(__name__)

_READ_WITHIN_S = 4.0
#: Whoever has signed a read doesn't count. Others are probes and whoever gathers metrics.
LIMITS = ConnectionLimits(unknown=200, unknown_per_address=50)
_HERE = ("127.0.0.1", "localhost", "::1")
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ServedState:
    """What is read of users here, by those who sign with ``secret``. ``clock``: Unix milliseconds."""

    reads: StateReads
    secret: bytes
    clock: Callable[[], int]


class OperationsServer:
    """``problem`` says why the process isn't ready, None when it is."""

    def __init__(
        self,
        *,
        role: str,
        problem: Callable[[], str | None],
        registry: CollectorRegistry,
        state: ServedState | None = None,
        limits: ConnectionLimits = LIMITS,
    ) -> None:
        self.connections = Connections(limits)
        self._role = role
        self._problem = problem
        self._registry = registry
        Readiness(registry, role, problem)
        self._state = state
        self._hosts: frozenset[str] = frozenset()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self, operations: Operations, folder: Path) -> None:
        """Listens, and leaves its address in ``folder/operations.json``. Raises BadCertificate, OSError."""
        app = web.Application(middlewares=[_problems])
        app.on_response_prepare.append(add_security_headers)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        if self._state is not None:
            app.router.add_get("/state/{view}", partial(self._state_read, self._state))
        tls = operations.server_tls()
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        assert self._runner.server is not None
        self._server = await asyncio.get_running_loop().create_server(
            connection_factory(self._runner.server, self.connections), operations.host, operations.port, ssl=tls
        )
        self._sweeping = asyncio.create_task(self.connections.keep_swept())
        bound = self._server.sockets[0].getsockname()[1]
        scheme = "http" if tls is None else "https"
        self._hosts = frozenset(
            host for name in (operations.host, operations.named, *_HERE) for host in _hosts(scheme, name, bound)
        )
        self.url = f"{scheme}://{_bracketed(operations.named)}:{bound}"
        log.info("operations port", role=self._role, url=self.url)
        _leave_address(folder, {"url": self.url, "pid": os.getpid(), "role": self._role})

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"role": self._role, "status": "live"})

    async def _ready(self, _: web.Request) -> web.Response:
        problem = self._problem()
        body = {"role": self._role, "status": "ready" if problem is None else "not ready", "problem": problem}
        return web.json_response(body, status=200 if problem is None else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), content_type="text/plain", charset="utf-8")

    # --- state ---

    async def _state_read(self, state: ServedState, request: web.Request) -> web.Response:
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return web.json_response({"detail": "this host isn't one of this port's"}, status=421)
        given = request.headers.get("Authorization", "")
        refusal = signed_reads.refusal(state.secret, given, request.method, hosts[0], request.raw_path, state.clock())
        if refusal is not None:
            log.warning("a read of state was refused", reason=refusal, peer=request.remote)
            asked = {"WWW-Authenticate": signed_reads.SCHEME}
            return web.json_response({"detail": refusal}, status=401, headers=asked)
        if isinstance(request.protocol, Connection):
            request.protocol.trust()
        status, body = await _answer(state.reads, request.match_info["view"], dict(request.query))
        proof = {signed_reads.PROOF: signed_reads.proof(state.secret, given, status, body)}
        return web.Response(body=body, status=status, content_type="application/json", headers=proof)


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:  # no such path or method
        return Problem(error.status, error.reason).response()


async def _answer(reads: StateReads, view: str, params: dict[str, str]) -> tuple[int, bytes]:
    """(status, JSON)."""
    try:
        partition = int(params.pop("partition"))
        after = params.pop("after", None)
        user_id = params.pop("user_id", "")
        position = None if after is None else int(after)
        answer = await reads.read(partition, view, user_id, params, position, _READ_WITHIN_S)
    except (KeyError, ValueError):
        return _refused(400, "partition and after are numbers")
    except Invalid as invalid:
        return _refused(400, invalid.reason, field=invalid.field)
    except LookupError:
        return _refused(404, "no such view")
    except NotOwned:
        return _refused(409, "another worker owns this partition")
    except TimeoutError:
        return _refused(503, "not caught up yet")
    return _refused(404, "nothing known") if answer is None else (200, msgspec.json.encode(answer))


def _refused(status: int, detail: str, **more: str | None) -> tuple[int, bytes]:
    return status, json.dumps({"detail": detail, **more}).encode()


def _hosts(scheme: str, name: str, port: int) -> list[str]:
    """How the header ``Host`` may name this port."""
    host = _bracketed(name.lower())
    return [f"{host}:{port}", *([host] if port == _DEFAULT_PORT[scheme] else [])]


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _leave_address(folder: Path, address: dict[str, str | int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "operations.json").write_text(json.dumps(address))
