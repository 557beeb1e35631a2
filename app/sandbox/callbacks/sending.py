"""Posts reports when they are due, again where nobody took them, and counts what became of them."""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
from aiohttp import web

from app.private import write_private
from app.sandbox.callbacks.plans import Planned, Settings, encode_settings, plan, read_settings
from app.sandbox.callbacks.reports import Post, Reporter, Told
from app.sandbox.callbacks.sendgrid import SendGrid
from app.sandbox.callbacks.ses import CERTIFICATE_PATH, Ses
from app.sandbox.callbacks.twilio import Twilio
from app.sandbox.callbacks.vonage import Vonage
from app.sandbox.records import Accepted
from schemas.decode import Invalid

FILE = "callbacks.json"

#: Reports that wait or are under way; beyond it new ones are counted as dropped.
MOST = 100_000
_AT_ONCE = 32
_LIMIT = aiohttp.ClientTimeout(total=10)
#: After so many seconds a report that nobody took is posted again.
_AGAIN_S = (0.5, 1, 2, 4, 8, 16, 32)


class Callbacks:
    """``opened``: the providers' settings, by name, as the sandbox gives them to a worker. ``sns_url``: where SNS
    listens."""

    def __init__(self, folder: Path, opened: Mapping[str, Mapping[str, Any]], sns_url: str) -> None:
        self._file = folder / FILE
        self._reporters: dict[str, Reporter] = {}
        self._ses: Ses | None = None
        if "ses" in opened:
            self._reporters["ses"] = self._ses = Ses(folder, opened["ses"], sns_url)
        for name, make in (("sendgrid", SendGrid), ("twilio", Twilio), ("vonage", Vonage)):
            if name in opened:
                self._reporters[name] = make(folder, opened[name])
        self.settings = read_settings(self._file.read_bytes()) if self._file.exists() else Settings()
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(self.settings.seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._token, self._confirmed, self._confirming = "", False, asyncio.Lock()

    def added(self, name: str) -> Mapping[str, Any]:
        """What a gateway needs besides, to verify the provider's reports."""
        return self._reporters[name].settings if name in self._reporters else {}

    def use(self, settings: Settings) -> None:
        """From now on, after a restart too."""
        write_private(self._file, encode_settings(settings))
        if settings.url != self.settings.url:
            self._confirmed = False
        self.settings, self._chance = settings, random.Random(settings.seed)

    def take(self, message: Accepted) -> None:
        """A provider has accepted a message."""
        reporter, url = self._reporters.get(message.provider), self.settings.url
        if reporter is None or url is None:
            return
        for planned in plan(message, self.settings, self._chance):
            if len(self._tasks) >= MOST:
                self.counts["dropped"] += 1
            else:
                self._begin(self._report(reporter, message, planned, url.rstrip("/")))

    def say(self, provider: str, sender: str, said: str) -> None:
        """Somebody sends a text to the provider's number. Raises Invalid."""
        reporter, url = self._reporters.get(provider), self.settings.url
        if url is None:
            raise Invalid("is not set: PUT /callbacks first", "url")
        name = str(uuid4())
        if reporter is None or reporter.inbound(sender, said, name, url, 0) is None:
            raise Invalid("takes no texts", "provider")
        base = url.rstrip("/")
        self._begin(self._insist(lambda now_ms: reporter.inbound(sender, said, name, base, now_ms), "inbound"))

    async def serve_sns(self, request: web.Request) -> web.Response:
        """The certificate, and the address by which a subscription is confirmed."""
        if self._ses is not None and request.path == CERTIFICATE_PATH:
            return web.Response(body=self._ses.certificate, content_type="application/x-pem-file")
        if request.query.get("Action") == "ConfirmSubscription" and request.query.get("Token") == self._token:
            self._confirmed = True
            return web.Response(text="<ConfirmSubscriptionResponse/>", content_type="text/xml")
        return web.Response(status=404)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def shown(self) -> dict[str, Any]:
        return {
            "settings": msgspec.to_builtins(self.settings),
            "counts": dict(self.counts),
            "waiting": len(self._tasks),
        }

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, reporter: Reporter, message: Accepted, planned: Planned, url: str) -> None:
        await asyncio.sleep(planned.delay_ms / 1000)
        told = Told(message, planned.kind, planned.number, url)
        needs = url if reporter is self._ses else None
        await self._insist(lambda now_ms: reporter.report(told, now_ms), f"{message.provider} {planned.kind}", needs)

    async def _insist(self, signed: Callable[[int], Post | None], counted: str, needs: str | None = None) -> None:
        """Posts until it is taken, as vendors do, for a while. ``signed``: at each time anew, as signatures don't stay
        good for long. ``needs``: the address that has to subscribe first."""
        for wait_s in (*_AGAIN_S, None):
            post = signed(_now_ms())
            if post is None:
                return
            if (needs is None or await self._subscribed(needs)) and await self._posted(post):
                self.counts[counted] += 1
                return
            if wait_s is not None:
                await asyncio.sleep(wait_s)
        self.counts["given_up"] += 1

    async def _subscribed(self, url: str) -> bool:
        """SNS says nothing to an address that hasn't confirmed that it wants it."""
        async with self._confirming:
            if not self._confirmed and self._ses is not None:
                self._token = secrets.token_hex(32)
                await self._posted(self._ses.confirmation(url, self._token, _now_ms()))
            return self._confirmed

    async def _posted(self, post: Post) -> bool:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_LIMIT)
        async with self._slots:
            try:
                async with self._session.post(post.url, data=post.body, headers=post.headers) as response:
                    self.counts[f"answered {response.status}"] += 1
                    return response.status < 300
            except (TimeoutError, aiohttp.ClientError, OSError):
                self.counts["unanswered"] += 1
                return False


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
