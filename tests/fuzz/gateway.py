"""The gateway's routes, served over HTTP in this process: what it publishes goes to the roles in memory, and what it
asks their owners is answered by them, through the real clients and operations ports."""

import asyncio
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import aiohttp
import jwt
import msgspec
from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry

from app.api import app_reports, known
from app.api.call import Deps
from app.api.callers import Callers, SharedSecret
from app.api.code_limits import CodeLimits, Codes
from app.api.connections import ConnectionLimits, Connections, connection_factory
from app.api.gateway import unix_ms
from app.api.limits import Limits as CallLimits
from app.api.pages import Pages
from app.api.room import Room
from app.api.server import create_app, routes
from app.config import Branding
from app.config.sections import ApiKey, Jwt, Operations, Verify
from app.domain.bounds import DEFAULT_BOUNDS
from app.domain.origin import ORIGIN
from app.operations import OperationsServer, ServedState
from app.ports import NotOwned
from app.store.bound_values import check_values
from app.store.clickhouse import _place, _position
from app.store.config_follower import ConfigFollower
from app.store.config_writer import ConfigWriter
from app.store.erased import ErasedUsers
from app.store.owner_client import OwnerClient, StateReader
from app.store.owners import Owner
from app.store.publisher import _MAX_REQUEST_BYTES, Outgoing, TooLargeError
from app.store.queries import Answer, Limits
from app.web import component, hashed
from schemas.config import PolicyVersion, encode_config
from schemas.instants import rfc3339
from schemas.lifecycle import LifecycleEvent
from schemas.sizes import size_on_wire
from schemas.topics import CONFIG, ERASURES, EVENTS
from schemas.words import WAITS, Channel
from tests.agents.harness import SECRET
from tests.auditing import EnteredLog
from tests.campaigns import LocalCampaigns
from tests.fuzz.corpus import COMMANDS as COMMAND_SEEDS
from tests.fuzz.corpus import REQUESTS, accepting, introduced, policies
from tests.fuzz.machines import PARTITIONS, Broken, Machines
from tests.hook_topic import HookTopic, a_hook
from tests.key_topic import KeyTopic, a_key, two_secrets
from tests.links import LINKS, KeptReports, a_mail, token_of
from tests.live import live_of
from tests.provider_topic import ProviderTopic
from tests.redriving import MemoryDead, MemoryRedriven, redriver_of
from tests.replays import LocalReplays

_SECRET = "a-secret-that-is-long-enough-for-hs256-signatures"
_INSTALLATION = b"the installation's own secret of 32 bytes or more"
_KEYS: Mapping[str, tuple[str, str, tuple[Any, ...]]] = {
    "shop": ("shop." + "s" * 43, "shop", ("send", "campaign", "read")),
    "sender": ("sender." + "t" * 43, "sender", ("send",)),
    "reader": ("reader." + "r" * 43, "shop", ("read",)),
    "limited": ("limited." + "l" * 43, "shop", ("campaign", "send:order.*")),
    "ops": ("ops." + "o" * 43, "", ("admin",)),
}
#: One that there is.
CAMPAIGN = "spring"
#: Who may call; the users by their own tokens.
CALLERS = (*_KEYS, "ann", "bob", "nobody", "garbage")
A_KEY = "till"
A_HOOK = "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"
_PATIENCE_S = 3.0
_ANSWER_S = 60.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

ROUTES = tuple(routes(None))

# In the gateway a second or two pass until ClickHouse has what was said; here it is there at once.
known._PATIENCE_S = 0.0
vars(app_reports)["_PAUSES_S"] = ()


class Asked(Struct, frozen=True, omit_defaults=True):
    """One request as it goes over the wire. ``target``: path and query."""

    caller: str
    method: str
    target: str
    headers: tuple[tuple[str, bytes], ...] = ()
    body: bytes | None = None


class Asking(Struct, frozen=True):
    """Requests in their order."""

    requests: tuple[Asked, ...]


class Answered(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def bodies() -> Mapping[tuple[str, str], Sequence[Any]]:
    """Real bodies by method and path."""
    commands: dict[str, list[dict[str, Any]]] = {}
    for said in COMMAND_SEEDS:
        commands.setdefault(said["type"], []).append({k: v for k, v in said.items() if k != "type"})
    requests = [
        {"user_id": "ann", **{k: v for k, v in said.items() if k not in ("notification_id", "source")}}
        for said in REQUESTS
    ]
    several = [{**said, "user_ids": ["ann", "bob"]} for said in requests]
    for said in several:
        del said["user_id"]
    receipts = [
        {
            "status": "opened",
            "notification_id": known_id(),
            "channel": "push",
            "occurred_at": rfc3339(1_772_625_600_000),
        },
        {"status": "seen", "send_id": _known_send(), "detail": {"screen": "home"}},
    ]
    template = {
        "id": "welcome",
        "channels": {
            "push": {
                "en": {"title": "Hello {{ user.name }}", "body": "{% for o in orders %}{{ o.n|round }}{% endfor %}"}
            },
            "email": {
                "de": {"subject": "s", "html": "<p>{{ x|upper }}</p>"},
                "en": {"subject": "s", "text": "{{ x }}"},
            },
        },
    }
    said = {"event_type": "a.b", "content": {"title": "t", "body": "b"}, "data": {"n": 1}}
    campaigns = [
        {**said, "campaign_id": "sale", "user_ids": ["ann", "bob"], "rate": "5/s", "canary": "1%", "holdout": "0.5%"},
        {**said, "segment": {"attributes": {"plan": "gold"}, "locale": "de", "timezone": "UTC", "has": ["push"]}},
        {**said, "all": True, "send_at": "2026-03-05T00:00:00Z", "local_time": "09:00", "channels": ["push"]},
    ]
    shown = {"data": {"x": 1, "orders": [{"n": 1.5}]}, "user": {"name": "Ann", "id": "ann"}, "locale": "de-CH"}
    users = "/v1/users/{id}"
    return {
        ("POST", "/v1/notifications"): requests + several,
        ("POST", "/v1/notifications/bulk"): [{"requests": requests + several}, {"requests": requests[:1]}],
        ("PUT", f"{users}/preferences"): [said["preferences"] for said in commands["preferences.set"]],
        ("PATCH", f"{users}/preferences"): [said["preferences"] for said in commands["preferences.patch"]],
        ("PATCH", f"{users}/profile"): commands["profile.set"],
        ("POST", f"{users}/profile/verify"): [{"channel": "sms"}, {"channel": "email", "code": "123456"}],
        ("POST", f"{users}/devices"): commands["device.add"],
        ("PUT", f"{users}/consents"): commands["consent.set"],
        ("POST", f"{users}/receipts"): receipts,
        ("POST", f"{users}/activity"): commands["activity.seen"],
        ("POST", f"{users}/inbox/{{notification_id}}/snooze"): [
            {"until": said["until"]} for said in commands["inbox.snooze"]
        ]
        + [{"until": None}],
        ("POST", "/v1/templates"): [template],
        ("PUT", "/v1/templates/{id}"): [{"channels": template["channels"]}],
        ("POST", "/v1/templates/{id}/preview"): [shown, {**shown, "channels": template["channels"], "items": [shown]}],
        ("POST", "/v1/templates/{id}/rollback"): [{"version": 1}],
        ("POST", "/v1/campaigns"): campaigns,
        ("POST", "/v1/notifications/batch"): campaigns,
        ("POST", "/v1/replays"): [{"channel": "push", "from": "2026-03-04T10:00:00Z", "to": "2026-03-04T11:00:00Z"}],
        ("POST", "/v1/hooks"): [
            {"url": "https://example.com/hooks"},
            {"url": "https://example.com:8443/a?b=c", "statuses": ["sent", "failed"], "secret": "whsec_" + "a" * 40},
        ],
        ("POST", "/v1/keys"): [
            {"id": "blog", "scopes": ["send:comment.*", "read"], "source": "blog", "rate": 5, "critical": False},
            {"id": "ops2", "scopes": ["admin"], "expires_at": "2199-01-01T00:00:00Z"},
        ],
        ("POST", "/v1/keys/{id}/rotate"): [{"overlap": "24h"}, {"overlap": "0s"}, {}],
        ("POST", "/v1/hooks/{id}/replay"): [{"from": "2026-03-04T10:00:00Z", "to": "2026-03-04T11:00:00Z"}],
        ("POST", "/v1/providers/{provider}/pause"): [{"why": "an outage"}],
        ("POST", "/v1/providers/{provider}/resume"): [{"why": "it is over"}, {}],
        ("POST", "/preferences/{token}"): [{"act": "all"}, {"act": "save", "on": ["channel/email"], "quiet": "none"}],
        # Signatures aren't guessed: what is signed is fuzzed in tests/unit/api/test_webhooks.py.
        ("POST", "/v1/webhooks/ses"): [{"Type": "Notification", "Message": "{}", "Signature": "AA=="}],
        ("POST", "/v1/webhooks/sendgrid"): [[{"event": "delivered"}]],
        ("POST", "/v1/webhooks/twilio"): [{"MessageSid": "SM1"}],
        ("POST", "/v1/webhooks/vonage"): [{"message_uuid": "u", "status": "delivered", "sig": "0" * 64}],
        ("POST", "/v1/dead/redrive"): [
            {"ids": ["0-0", "0-1", "7-7"]},
            {"topic": EVENTS, "dry_run": True},
            {"reason": "is not the user_id", "from": rfc3339(0), "to": rfc3339(2_000_000_000_000), "field": "key"},
            {
                "ids": ["0-0"],
                "edited": {"key": "YW5u", "value": "eyJhIjogMX0=", "headers": [["a", "YQ=="], ["b", None]]},
            },
        ],
    }


def texts() -> Sequence[str]:
    """Bodies of the policy's routes."""
    return policies()


@cache
def _tokens() -> Mapping[str, str]:
    """By how the path of their route begins."""
    mail = a_mail(user_id="ann")
    return {
        "/v1/track/open/": token_of(LINKS.opened(mail)),
        "/v1/track/click/": token_of(LINKS.clicked(mail, "https://shop.example/")),
        "/v1/unsubscribe/": token_of(LINKS.unsubscribe(mail)),
        "/preferences/": token_of(LINKS.preferences("ann", 2**42)),
    }


def token_for(path: str) -> str:
    """A token of a route of links."""
    return next(token for begin, token in _tokens().items() if path.startswith(begin))


def path_values(name: str) -> Sequence[str]:
    """Values of a path's parameter that there are."""
    match name:
        case "id":
            return ("ann", "bob", "note", known_id(), "welcome", A_HOOK, A_KEY)
        case "number":
            return ("1", "2")
        case "device_id":
            return ("d1", "d2")
        case "letter_id":
            return ("0-0", "0-1")
        case "notification_id":
            return (known_id(),)
        case "name":
            return ("request", "lifecycle", "nothing")
        case "token":
            return tuple(_tokens().values())
        case "hash":
            return (hashed(component()), "0" * 16)
        case "provider":
            return ("fcm", "push", "inbox")
        case _:
            return ("seen", "read", "unread", "archived", "opened")


@cache
def _world() -> Machines:
    machines = introduced(Machines(accepting))
    for said in REQUESTS:
        given = {"user_id": "ann", "source": "shop", **said}
        machines.feed("notify_events", b"ann", json.dumps(given).encode())
    for key, value in ((b"bob", b'{"user_id": "ann"}'), (None, b"{"), (b"ann", b'{"type": "profile.set"}')):
        machines.feed(EVENTS, key, value)
    return machines


def known_id() -> str:
    return _sent("in_app").notification_id or ""


def _known_send() -> str:
    return _sent("push").send_id or ""


def _sent(channel: Channel) -> LifecycleEvent:
    return next(e for e in _world().events if e.status == "sent" and e.channel == channel)


class _World:
    """What the gateway reaches; made anew for each input."""

    def __init__(self) -> None:
        known = _world()
        self.machines = known.fork(accepting)
        self.machines.events = list(known.events)
        self.machines.letters = list(known.letters)
        self._ids = 0
        self._config_ends = 0
        self.config = _in_force().fork()
        self.erased = ErasedUsers()
        topic = ProviderTopic()
        self.providers = topic.follow()
        self.pausing = topic.writer(self.providers)
        self.hooks = HookTopic().with_hook(a_hook(A_HOOK))
        self.keys = KeyTopic().with_key(a_key(A_KEY, secrets=two_secrets()))
        self.redriven = MemoryRedriven()
        self.campaigns = LocalCampaigns(lambda: self.machines.now, self.config).add(CAMPAIGN, "shop")

    def new_id(self) -> str:
        self._ids += 1
        return str(UUID(int=self._ids, version=4))


class _ConfigRecord(NamedTuple):
    offset: int
    value: bytes | None


class _Config(ConfigFollower):
    """Follows what is published here."""

    def __init__(self) -> None:
        super().__init__({}, bounds=DEFAULT_BOUNDS)

    async def reached(self, offset: int) -> None:
        return

    def fork(self) -> "_Config":
        other = copy(self)
        other._policies, other._compiled = dict(self._policies), dict(self._compiled)
        other._templates = {name: dict(versions) for name, versions in self._templates.items()}
        return other


@cache
def _in_force() -> _Config:
    config = _Config()
    policy = PolicyVersion(version=1, text=policies()[0], at=rfc3339(0))
    for version in (policy, *_world().catalog.templates.values()):
        config._take(_ConfigRecord(0, encode_config(version)))  # type: ignore[arg-type]
    asyncio.run(config._settle())
    return config


class _Gateway:
    """See ``app.store`` for what each of its parts stands for."""

    def __init__(self) -> None:
        self.world = _World()
        self.runner = asyncio.Runner()
        self.port = self.runner.run(self._start())

    async def _start(self) -> int:
        urls: dict[str, str] = {}
        for role in self.world.machines.machines:
            server = OperationsServer(
                role=role,
                problem=lambda: None,
                registry=CollectorRegistry(),
                state=ServedState(_Reads(role, lambda: self.world), _INSTALLATION, unix_ms),
            )
            await server.start(Operations(), Path(tempfile.mkdtemp(prefix="tocsin-fuzz-")))
            urls[role] = server.url
        owners: Any = _Owners(urls)
        here: Any = self
        keys = [
            ApiKey(id=name, sha256=hashlib.sha256(key.encode()).hexdigest(), source=source, scopes=scopes)
            for name, (key, source, scopes) in _KEYS.items()
        ]
        dead = MemoryDead(lambda: self.world.machines.letters)
        owner = OwnerClient(
            StateReader(aiohttp.ClientSession(), _INSTALLATION, unix_ms), owners, PARTITIONS, patience_s=_PATIENCE_S
        )
        live, _ = live_of(owner, lambda: self.world.machines.now)
        deps = Deps(
            callers=Callers(keys, Jwt(secret=_SECRET), SharedSecret(_SECRET)),  # type: ignore[arg-type]
            publisher=here,
            config=_Through(lambda: self.world.config),  # type: ignore[arg-type]
            writer=ConfigWriter(here, _Through(lambda: self.world.config), lambda: self.world.machines.now),  # type: ignore[arg-type]
            owners=owners,
            owner=owner,
            history=here,
            queries=_Queries(),  # type: ignore[arg-type]
            dead=dead,  # type: ignore[arg-type]
            redriver=redriver_of(
                dead,
                here,
                SECRET,
                lambda: self.world.machines.now,
                _Through(lambda: self.world.redriven),  # type: ignore[arg-type]
                _Through(lambda: self.world.erased),
            ),
            audit_log=EnteredLog(),  # type: ignore[arg-type]
            providers=_Through(lambda: self.world.providers),  # type: ignore[arg-type]
            pausing=_Through(lambda: self.world.pausing),  # type: ignore[arg-type]
            replays=LocalReplays(lambda: self.world.machines.now),
            campaigns=_Through(lambda: self.world.campaigns),  # type: ignore[arg-type]
            hooks=_Through(lambda: self.world.hooks),  # type: ignore[arg-type]
            keys=_Through(lambda: self.world.keys),  # type: ignore[arg-type]
            sealing=SECRET,
            erased=_Through(lambda: self.world.erased),  # type: ignore[arg-type]
            retentions={EVENTS: timedelta(days=7)},
            partitions=PARTITIONS,
            clock=lambda: self.world.machines.now,
            new_id=lambda: self.world.new_id(),
            # Rates aren't what is fuzzed: each call comes a second after the one before.
            limits=CallLimits(Room(), 1e9, count().__next__),
            pages=Pages(Branding()),
            reporter=KeptReports(),
            links=LINKS,
            codes=Codes(SECRET, CodeLimits(Verify(), count().__next__)),
            streams=live.streams,
            tickets=live.tickets,
        )
        serving = web.AppRunner(create_app(deps), access_log=None)
        await serving.setup()
        assert serving.server is not None
        connections = connection_factory(serving.server, Connections(ConnectionLimits()))
        listening = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
        return int(listening.sockets[0].getsockname()[1])

    # --- the log ---

    async def publish_each(self, records: Sequence[Outgoing]) -> list[tuple[int, int] | None]:
        return list(await self.publish_many(records))

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, **given: Any) -> tuple[int, int]:
        [position] = await self.publish_many([Outgoing(topic, key, value, **given)])
        return position

    async def publish_many(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        for record in records:
            if size_on_wire(record.key, record.value, record.headers) > _MAX_REQUEST_BYTES:
                raise TooLargeError("larger than the topic accepts")
        return [await self._published(record) for record in records]

    async def _published(self, record: Outgoing) -> tuple[int, int]:
        if record.topic == CONFIG:
            self.world._config_ends += 1
            self.world.config._take(_ConfigRecord(self.world._config_ends, record.value))  # type: ignore[arg-type]
            await self.world.config._settle()
            self.world.machines.use(self.world.config.catalog)
            return 0, self.world._config_ends
        redriven = any(name == ORIGIN for name, _ in record.headers)  # as bad as it came
        lies = self.world.machines.feed(
            record.topic,
            record.key,
            record.value,
            partition=record.partition,
            timestamp=record.timestamp_ms,
            headers=record.headers,
            made_by=None if redriven else "gateway",
        )
        for produced in self.world.machines.produced:
            if produced.topic == ERASURES:
                self.world.erased.take(produced)
        return lies.partition, lies.offset

    # --- what is told of notifications ---

    async def status(self, notification_id: str) -> dict[str, Any] | None:
        events = [e for e in self.world.machines.events if e.notification_id == notification_id]
        if not events:
            return None
        users = {e.user_id for e in events}
        delivery = {e.channel or "all": {e.status: 1} for e in events}
        done = not any(e.status in WAITS for e in events)
        first = events[0]
        return {
            "recipients": len(users),
            "created_at": first.occurred_at,
            "source": first.source,
            "event_types": sorted({e.event_type for e in events if e.event_type}),
            "delivery": delivery,
            "done": done,
        }

    async def events(
        self, notification_id: str, user_id: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[dict[str, Any]], str | None]:
        _position(cursor)
        found = [
            msgspec.to_builtins(e)
            for e in self.world.machines.events
            if e.notification_id == notification_id and user_id in (None, "", e.user_id)
        ]
        return found[:limit], None

    async def of_user(
        self, user_id: str, since_ms: int, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[dict[str, Any]], str | None]:
        _place(cursor)
        ends = [e for e in self.world.machines.events if e.user_id == user_id and e.send_id]
        return [{"notification_id": e.notification_id, "status": e.status} for e in ends][:limit], None

    # --- a client ---

    async def ask(self, asked: Asked) -> Answered:
        return await over_wire(self.port, asked, _authorization(asked.caller))


async def over_wire(port: int, asked: Asked, authorization: bytes | None) -> Answered:
    """Byte for byte as it was asked: a client would mend some of it."""
    lines = [f"{asked.method} {asked.target} HTTP/1.1".encode(), b"Host: gateway", b"Connection: close"]
    if authorization is not None:
        lines.append(b"Authorization: " + authorization)
    lines += [name.encode("latin-1") + b": " + said for name, said in asked.headers]
    if asked.body is not None:
        lines.append(b"Content-Length: %d" % len(asked.body))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    try:
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + (asked.body or b""))
        read = await reader.read()
    finally:
        writer.close()
    head, _, body = read.removeprefix(_CONTINUE).partition(b"\r\n\r\n")
    status, *named = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): said.strip() for name, _, said in (line.partition(":") for line in named)}
    return Answered(int(status.split(" ")[1]), headers, body)


class _Through:
    """The part of the world that there is now."""

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)


class _Reads:
    def __init__(self, role: str, world: Callable[[], _World]) -> None:
        self._role, self._world = role, world

    async def read(
        self, partition: int, view: str, user_id: str, params: Mapping[str, str], after: int | None, within_s: float
    ) -> Any:
        if not 0 <= partition < PARTITIONS:
            raise NotOwned
        if view == "reclaiming":  # (the worker itself answers that)
            return None
        return self._world().machines.read(self._role, partition, view, user_id, params)


class _Owners:
    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    def owner_of(self, role: str, partition: int) -> Owner:
        url = self._urls[role]
        return Owner(role=role, instance="1", partitions=[partition], url=url, policy_version=1, at=0)

    def behind(self, policy_version: int) -> list[str]:
        return []


class _Queries:
    async def run(self, sql: str, limits: Limits, values: Mapping[str, str] | None = None) -> Answer:
        check_values(values or {})
        return Answer((), (), [], False)


def _authorization(caller: str) -> bytes | None:
    match caller:
        case "nobody":
            return None
        case "garbage":
            return b"Bearer a.b.c"
        case _ if caller in _KEYS:
            return f"Bearer {_KEYS[caller][0]}".encode()
        case _:
            claims = {"sub": caller, "exp": int(time.time()) + 86_400}
            return f"Bearer {jwt.encode(claims, _SECRET, algorithm='HS256')}".encode()


@cache
def _gateway() -> _Gateway:
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    _in_force()
    return _Gateway()


def play(asking: Asking) -> None:
    """Asks, lets all waits end, and judges. Raises Broken."""
    gateway = _gateway()
    gateway.runner.run(_play(gateway, asking))


def ask(asked: Asked) -> Answered:
    """One request alone."""
    gateway = _gateway()
    gateway.world = _World()
    return gateway.runner.run(gateway.ask(asked))


def ask_all(asking: Asking) -> list[Answered]:
    """Requests that build on each other."""
    gateway = _gateway()
    gateway.world = _World()
    return [gateway.runner.run(gateway.ask(asked)) for asked in asking.requests]


async def _play(gateway: _Gateway, asking: Asking) -> None:
    gateway.world = _World()
    for asked in asking.requests:
        try:
            async with asyncio.timeout(_ANSWER_S):
                answered = await gateway.ask(asked)
        except TimeoutError:
            raise Broken(f"no answer within {_ANSWER_S:g} s") from None
        judge(asked, answered)
    gateway.world.machines.run_out()
    gateway.world.machines.judge()


def judge(asked: Asked, answered: Answered) -> None:
    """Raises Broken for an answer that nobody may get."""
    status, headers, body = answered
    kind = headers.get("content-type", "").partition(";")[0]
    if status >= 500:
        raise Broken(f"{status}: {body[:300]!r}")
    if status >= 400:
        if kind != "application/problem+json":
            raise Broken(f"{status} as {kind}: {body[:200]!r}")
        problem = msgspec.json.decode(body)
        if not {"type", "title", "status", "detail"} <= problem.keys() or problem["status"] != status:
            raise Broken(f"not a problem: {problem}")
        if status in (400, 422) and "field" not in problem and _is_an_object(asked.body):
            raise Broken(f"{status} without a field: {problem}")
    elif kind == "application/json":
        json.loads(body)
        msgspec.json.decode(body)


def _is_an_object(body: bytes | None) -> bool:
    try:
        return isinstance(json.loads(body or b""), dict)
    except (ValueError, RecursionError):
        return False


def quoted(text: str) -> str:
    return quote(text.encode(errors="surrogatepass"), safe="")
