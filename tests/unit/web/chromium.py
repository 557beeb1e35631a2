"""A Chromium without a window, driven by its DevTools protocol: enough to see and press what a person would."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from axe_playwright_python.base import AXE_SCRIPT

from app.dev.chromium import NoChromium, ensure_chromium, has_sandbox
from tests.lacking import lacking

_FOLDER = Path(__file__).parents[3] / ".tocsin" / "chromium"
_OPTIONS = ("--headless=new", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0")
_RUN_AXE = "axe.run(document, {resultTypes: ['violations']}).then((found) => JSON.stringify(found.violations))"


class Tab:
    """One page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = count(1)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        name = next(self._ids)
        await self._socket.send_json({"id": name, "method": method, "params": params})
        async with asyncio.timeout(60):
            while True:
                message = json.loads((await self._socket.receive()).data)
                if message.get("id") == name:
                    assert "error" not in message, message
                    result: dict[str, Any] = message["result"]
                    return result

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to; a promise is awaited."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = await self.call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Returns when it is true."""
        try:
            async with asyncio.timeout(60):
                while not await self.value(f"Boolean({expression})"):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never true: {expression}") from None

    async def serious_findings(self) -> list[str]:
        """What axe-core finds of an impact that keeps somebody from using the page."""
        await self.value(f"{AXE_SCRIPT}; true")
        found = json.loads(await self.value(_RUN_AXE))
        return [
            f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": _TEXTS[key]} if key in _TEXTS and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, **_KEYS.get(key, {}), **text)


#: What a key writes.
_TEXTS = {"Enter": "\r", " ": " "}
_KEYS: dict[str, dict[str, int]] = {
    "Tab": {"windowsVirtualKeyCode": 9},
    "Enter": {"windowsVirtualKeyCode": 13},
    "Escape": {"windowsVirtualKeyCode": 27},
    " ": {"windowsVirtualKeyCode": 32},
    "ArrowDown": {"windowsVirtualKeyCode": 40},
}


class Browser:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    @asynccontextmanager
    async def tab(self, url: str) -> AsyncIterator[Tab]:
        async with self._session.put(f"{self._url}/json/new?{url}") as response:
            made = await response.json(content_type=None)
        async with self._session.ws_connect(made["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield Tab(socket)


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    options = _OPTIONS if has_sandbox() else (*_OPTIONS, "--no-sandbox")
    process = await asyncio.create_subprocess_exec(
        _program(), *options, f"--user-data-dir={folder}", stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while True:
                line = (await process.stderr.readline()).decode()
                assert line, "Chromium has ended"
                if "DevTools listening on ws://" in line:
                    break
        host = line.split("ws://")[1].split("/")[0]
        reading = asyncio.create_task(process.stderr.read())
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            yield Browser(session, f"http://{host}")
        reading.cancel()
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _program() -> Path:
    try:
        return ensure_chromium(_FOLDER, os.environ)
    except NoChromium as error:
        lacking(str(error))
