"""One call of the gateway, as its handlers see it: who calls, what is asked, and what is needed to answer."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from app.api.callers import Caller, Callers, Service, check_event_type
from app.api.code_limits import Codes
from app.api.console.comparing import Comparing
from app.api.console.sessions import Sessions
from app.api.limits import Limits
from app.api.pages import Pages
from app.api.problems import Problem, check_coding, problem_of
from app.api.rates import Standing
from app.api.refusals import UNCOUNTED, Counting
from app.api.reporter import Reporter
from app.api.room import Hold
from app.api.streams import Streams
from app.api.tickets import Tickets
from app.api.tracing import Tracing
from app.campaigns.service import Campaigns
from app.domain.links import Links
from app.replay.service import Replays
from app.store.api_keys import KeyWriter
from app.store.audit_log import AuditLog
from app.store.clickhouse import History
from app.store.config_follower import ConfigFollower
from app.store.config_writer import ConfigWriter
from app.store.dead_letters import DeadLetters
from app.store.erased import ErasedUsers
from app.store.hooks import HookWriter
from app.store.lags import RoleLags
from app.store.owner_client import OwnerClient
from app.store.owners import OwnersFollower
from app.store.provider_states import PauseWriter, ProvidersFollower
from app.store.publisher import KafkaPublisher
from app.store.queries import Queries
from app.store.recorded_sends import RecordedSends
from app.store.redriver import Redriver
from app.webhooks.doors import NOT_SET_UP, Webhooks
from schemas.decode import Invalid, Reader

T = TypeVar("T")

MAX_BODY_BYTES = 1 << 20
#: What a body is counted as that is taken a piece at a time.
STREAMED_BYTES = 1 << 20
#: As they are written without leading zeros; none is larger than ten digits.
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
#: A body may take as long as it likes, but not pause for so long.
_BODY_IDLE_S = 30.0

_read_object: Reader[dict[str, Any]] = Reader(dict[str, Any])


#: What is left of the caller's rate, for the answer's headers.
STANDING = web.RequestKey("standing", Standing)
#: When an answer that goes on began, of the monotonic clock: how long it lasts shows nothing of the gateway.
BEGAN = web.RequestKey("began", float)
#: Set once the audit log has the call's change.
AUDITED = web.RequestKey("audited", bool)


@dataclass(frozen=True, slots=True)
class Deps:
    """What the gateway reaches the world with. ``clock``: Unix milliseconds; ``new_id``: a random UUID."""

    callers: Callers
    publisher: KafkaPublisher
    config: ConfigFollower
    writer: ConfigWriter
    owners: OwnersFollower
    owner: OwnerClient
    history: History
    queries: Queries
    dead: DeadLetters
    redriver: Redriver
    audit_log: AuditLog
    providers: ProvidersFollower
    pausing: PauseWriter
    replays: Replays
    campaigns: Campaigns
    erased: ErasedUsers
    #: How long each topic is kept, the time that its last segment covers included.
    retentions: Mapping[str, timedelta]
    partitions: int
    clock: Callable[[], int]
    new_id: Callable[[], str]
    limits: Limits
    codes: Codes
    hooks: HookWriter
    keys: KeyWriter
    #: What seals the secrets of hooks.
    sealing: bytes = field(repr=False)
    streams: Streams
    tickets: Tickets
    pages: Pages
    reporter: Reporter
    #: Of the console. Without the installation's secret no other process takes them.
    sessions: Sessions = field(default_factory=lambda: Sessions.of_this_process(lambda: int(time.time())))
    #: The hosts that hooks may lead to though they aren't public.
    hook_hosts: Sequence[str] = ()
    #: Makes and reads links that go out with messages; None where none can be made.
    links: Links | None = None
    cors_origins: frozenset[str] = frozenset()
    #: Whether callers may show client certificates.
    asks_certificates: bool = False
    counting: Counting = UNCOUNTED
    webhooks: Webhooks = NOT_SET_UP
    comparing: Comparing = field(default_factory=Comparing)
    #: What channels were asked to bring; None: nobody can read it back.
    sends: RecordedSends | None = None
    #: None: nobody asks Kafka how far the roles are.
    lags: RoleLags | None = None
    #: None: there are no traces.
    tracing: Tracing | None = None


@dataclass(frozen=True, slots=True)
class Call:
    request: web.Request
    deps: Deps
    #: None where anybody may call.
    caller: Caller | None
    #: What it has taken of the room for what is in flight.
    hold: Hold
    #: Its route's, for the audit log.
    action: str | None = None

    @property
    def service(self) -> Service:
        """The caller of a route that is for services only."""
        assert isinstance(self.caller, Service)
        return self.caller

    def count_more(self, requests: int) -> None:
        """The call holds so many requests more than the one that its caller's rate has counted."""
        assert self.caller is not None
        self.request[STANDING] = self.deps.limits.count_more(self.caller, requests)

    def check_event_type(self, event_type: str) -> None:
        """Raises Problem 403 where the caller's key isn't for it."""
        check_event_type(self.service, event_type)

    def path(self, name: str) -> str:
        return self.request.match_info[name]

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    @property
    def has_body(self) -> bool:
        return self.request.body_exists

    async def body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """The whole body; raises Problem 413 before more than ``limit`` bytes are held, 429 where there is no room for
        it, 408 where nothing comes any more, 415 for a coding that isn't undone here, 401 where the caller's key has
        ended before all of it came."""
        check_coding(self.request.headers.getall("Content-Encoding", []))
        content = self.request.content
        if (self.request.content_length or 0) > limit:
            raise _too_large(limit)
        try:
            if content.is_eof() and content.total_bytes <= limit:  # it came with its header, as small ones do
                whole = content.read_nowait()
                self.hold.take_body(len(whole))
                return whole
            read = await self._whole(limit)
            self._check_caller()
        except RequestPayloadError as error:
            # Nothing can be read from this connection any more.
            close = {"Connection": "close"}
            raise Problem(400, "is cut off, or isn't compressed as its header says", "body", close) from error
        return read

    async def _whole(self, limit: int) -> bytes:
        read = bytearray()
        while chunk := await self._chunk():
            read += chunk
            if len(read) > limit:
                raise _too_large(limit)
            self.hold.take_body(len(chunk))
        return bytes(read)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body's bytes as they come, however many, for as long as the caller's key counts; raises Problem as
        ``body`` does, but for their number."""
        check_coding(self.request.headers.getall("Content-Encoding", []))
        self.hold.take_body(STREAMED_BYTES)
        try:
            while chunk := await self._chunk():
                self._check_caller()
                yield chunk
        except (RequestPayloadError, ConnectionError) as error:
            close = {"Connection": "close"}
            raise Problem(400, "is cut off, or isn't compressed as its header says", "body", close) from error

    def _check_caller(self) -> None:
        if isinstance(self.caller, Service):
            self.deps.callers.check_known(self.caller)

    async def _chunk(self) -> bytes:
        """The body's next bytes, none at its end."""
        content = self.request.content
        if content.is_eof():  # all of it has come: no clock is needed
            return await content.readany()
        try:
            async with asyncio.timeout(_BODY_IDLE_S):
                return await content.readany()
        except TimeoutError:
            raise Problem(408, f"no data of the body arrived for {_BODY_IDLE_S:g} s") from None

    async def read(self, reader: Reader[T], limit: int = MAX_BODY_BYTES) -> T:
        """The body as the reader's type; raises Problem 400 with the field."""
        try:
            return reader(await self.body(limit))
        except Invalid as invalid:
            raise problem_of(invalid) from invalid

    async def fields(self) -> dict[str, Any]:
        """The body's object as it stands, for what is checked where it is made a record; no body is no fields."""
        if not self.has_body:
            return {}
        return await self.read(_read_object)

    def integer(self, name: str, default: int, most: int) -> int:
        """A query parameter from 1 to ``most``; raises Problem 400."""
        text = self.query.get(name)
        if text is None:
            return default
        if not _NUMBER.fullmatch(text) or int(text) > most:
            raise Problem(400, f"is not a number from 1 to {most}", name)
        return int(text)


def _too_large(limit: int) -> Problem:
    return Problem(413, f"the body is larger than {limit} bytes", "body")


def answer(document: Any, status: int = 200) -> web.Response:
    """The document as JSON."""
    return web.Response(body=msgspec.json.encode(document), status=status, content_type="application/json")


def no_content() -> web.Response:
    return web.Response(status=204)
