"""The operations port of every role: health, metrics, and reads of the state that the process owns.

For the inside of a network only: it asks for no credentials, and binds to 127.0.0.1 unless told otherwise.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from app.ports import NotOwned, StateReads
from schemas.decode import Invalid

log = structlog.get_logger(__name__)

_READ_WITHIN_S = 4.0


class OperationsServer:
    """``problem`` says why the process isn't ready, None when it is."""

    def __init__(
        self,
        *,
        role: str,
        problem: Callable[[], str | None],
        registry: CollectorRegistry,
        state: StateReads | None = None,
    ) -> None:
        self._role = role
        self._problem = problem
        self._registry = registry
        self._state = state
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, host: str, port: int, folder: Path) -> None:
        """Listens, and leaves its address in ``folder/operations.json``."""
        app = web.Application()
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        if self._state is not None:
            app.router.add_get("/state/{view}", self._read)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.url = f"http://{host}:{bound}"
        log.info("operations port", role=self._role, url=self.url)
        _leave_address(folder, {"url": self.url, "pid": os.getpid(), "role": self._role})

    async def stop(self) -> None:
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

    async def _read(self, request: web.Request) -> web.Response:
        assert self._state is not None
        params = dict(request.query)
        try:
            partition = int(params.pop("partition"))
            after = params.pop("after", None)
            answer = await self._state.read(
                partition,
                request.match_info["view"],
                params.pop("user_id", ""),
                params,
                None if after is None else int(after),
                _READ_WITHIN_S,
            )
        except (KeyError, ValueError):
            return web.json_response({"detail": "partition and after are numbers"}, status=400)
        except Invalid as invalid:
            return web.json_response({"detail": invalid.reason, "field": invalid.field}, status=400)
        except LookupError:
            return web.json_response({"detail": "no such view"}, status=404)
        except NotOwned:
            return web.json_response({"detail": "another worker owns this partition"}, status=409)
        except TimeoutError:
            return web.json_response({"detail": "not caught up yet"}, status=503)
        if answer is None:
            return web.json_response({"detail": "nothing known"}, status=404)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def _leave_address(folder: Path, address: dict[str, str | int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "operations.json").write_text(json.dumps(address))
