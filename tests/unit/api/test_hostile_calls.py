"""Whatever anybody sends to whatever route: it is answered, and what is refused is a problem with its field."""

import asyncio
import gzip
import hashlib
import json
import re
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any
from urllib.parse import quote

import jwt
import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from agents.inbox.machine import InAppMachine
from agents.router.machine import RouterMachine
from app.api import app_reports
from app.api.call import Deps
from app.api.callers import Callers, SharedSecret
from app.api.code_limits import CodeLimits, Codes
from app.api.limits import Limits
from app.api.pages import Pages
from app.api.room import Room
from app.api.server import create_app, routes
from app.config import ApiKey, Branding, Jwt, Verify
from app.defaults import default_policy_text
from app.domain.catalog import default_catalog
from app.store.clickhouse import _place, _position
from app.store.config_follower import ConfigFollower
from app.store.erased import ErasedUsers
from app.store.owner_client import OwnerRefusedError
from app.virtual import VirtualPartition
from app.webhooks.doors import NOT_SET_UP, Webhooks
from schemas import topics
from schemas.config import Template, TemplateVersion
from schemas.dead import DeadLetter, dead_letter
from schemas.decode import Invalid
from tables.rows import MemoryRows
from tests.agents.harness import NOON, PROVIDERS
from tests.auditing import EnteredLog
from tests.campaigns import LocalCampaigns
from tests.hook_topic import HookTopic, a_hook
from tests.hostile import REFUSED, TAKEN, texts
from tests.key_topic import KeyTopic, a_key, two_secrets
from tests.links import LINKS, KeptReports, a_mail, token_of
from tests.live import live_of
from tests.provider_topic import ProviderTopic
from tests.records import Record
from tests.redriving import MemoryDead, redriver_of
from tests.replays import LocalReplays

SECRET = "a-secret-that-is-long-enough-for-hs256-signatures"
KEY = "all." + "k" * 43
NEW_ID = "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"

A_REQUEST = b'{"user_id": "ada", "event_type": "a.b", "content": {"title": "t", "body": "b"}}'
#: A request that a bug refused.
A_LETTER = dead_letter(
    Record(topics.EVENTS, 0, 7, NOON, b"ada", A_REQUEST),
    "internal",
    "internal error: KeyError",
    None,
    "router",
    NOON,
)


class Log:
    """Kafka, the router and the inbox of one partition: what is published is handled at once. What the router would
    make a dead letter is kept: the gateway should have refused it."""

    def __init__(self) -> None:
        catalog = default_catalog()
        router = RouterMachine(catalog, partitions=1, providers=PROVIDERS, secret=b"s" * 32)
        self._roles = {
            "router": VirtualPartition(router, MemoryRows()),
            "in_app": VirtualPartition(InAppMachine(catalog), MemoryRows()),
        }
        self._offset = 0
        self.refused: list[Invalid] = []
        self.audit = EnteredLog()
        self.letters: list[DeadLetter] = [A_LETTER]
        self.published: list[str] = []
        self.written: list[Template | str] = []

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, **_: Any) -> tuple[int, int]:
        self._offset += 1
        self.published.append(topic)
        record = Record(topic, 0, self._offset, NOON, key, value)
        for role, partition in self._roles.items():
            if topic == topics.COMMANDS or (role == "router" and topic not in (topics.CONFIG,)):
                try:
                    partition.handle(record, NOON)
                except Invalid as invalid:
                    if "not known" not in invalid.reason:
                        self.refused.append(invalid)
        return 0, self._offset

    async def publish_many(self, records: Sequence[Any]) -> list[tuple[int, int]]:
        return await self.publish_each(records)

    async def publish_each(self, records: Sequence[Any]) -> list[tuple[int, int]]:
        return [await self.publish(record.topic, record.key, record.value) for record in records]

    async def read(self, role: str, user_id: str, view: str, params: Any = None, after: Any = None) -> Any:
        partition = self._roles[role]
        try:
            return partition.machine.read(view, user_id, params or {}, partition.state, NOON)
        except Invalid as invalid:
            raise OwnerRefusedError(invalid.reason, invalid.field) from invalid

    async def read_partition(self, role: str, _: int, view: str, params: Any, after: Any = None) -> Any:
        return await self.read(role, params.get("user_id", ""), view, params, after)


class Config(ConfigFollower):
    """The defaults are in force, whatever is written; and a template that the policy doesn't name."""

    def __init__(self) -> None:
        super().__init__({})
        otp = self._default.templates["otp"]
        spare = msgspec.structs.replace(otp, version=1, template=msgspec.structs.replace(otp.template, id="spare"))
        self._catalog = replace(self._default, templates={**self._default.templates, "spare": spare})

    @property
    def policy_text(self) -> str:
        return default_policy_text()


class Writer:
    def __init__(self, written: list[Template | str]) -> None:
        self._written = written

    async def write_policy(self, text: str) -> None:
        text.encode()
        self._written.append(text)

    async def write_template(self, template: Template, *, deleted: bool = False) -> TemplateVersion:
        version = TemplateVersion(version=1, template=template, at="2026-01-01T00:00:00Z", deleted=deleted)
        msgspec.json.encode(version)
        self._written.append(template)
        return version


class Past:
    """What ClickHouse knows: one notification of the shop's."""

    async def status(self, notification_id: str) -> Any:
        msgspec.json.encode(notification_id)
        at = "2026-01-01T00:00:00Z"
        shown: dict[str, Any] = {"done": True, "recipients": 1, "created_at": at, "delivery": {}}
        return {**shown, "source": "shop", "event_types": ["a.b"]}

    async def events(self, notification_id: str, user_id: Any = None, cursor: Any = None, limit: int = 1) -> Any:
        _position(cursor)
        msgspec.json.encode((notification_id, user_id))
        assert 1 <= limit <= 1000
        return [], None

    async def of_user(self, user_id: str, since_ms: int, cursor: Any = None, limit: int = 1) -> Any:
        _place(cursor)
        msgspec.json.encode(user_id)
        assert 1 <= limit <= 100
        return [], None

    async def query(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("the query's route is left out here")


def new_id() -> str:
    return NEW_ID


class Owners:
    def owner_of(self, role: str, partition: int) -> None:
        return None

    def behind(self, _: int) -> list[str]:
        return []


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_reports, "_PAUSES_S", ())


@asynccontextmanager
async def gateway(
    webhooks: Webhooks = NOT_SET_UP, *, public_url: str | None = None, has_tls: bool = False, **more: Any
) -> AsyncIterator[tuple[TestClient[Any, Any], Log]]:
    """``more``: of ``Deps``, in place of what is here."""
    log, past, topic = Log(), Past(), ProviderTopic()
    keys = KeyTopic().with_key(a_key(NEW_ID, secrets=two_secrets()), lambda: NOON)
    providers = topic.follow()
    key = ApiKey(
        id="all",
        sha256=hashlib.sha256(KEY.encode()).hexdigest(),
        source="shop",
        scopes=("send", "campaign", "read", "admin"),
    )
    dead = MemoryDead(lambda: log.letters)
    live, _ = live_of(log, lambda: NOON)
    deps: Any = Deps(
        erased=ErasedUsers(),
        retentions={},
        callers=Callers([key], Jwt(secret=SECRET), SharedSecret(SECRET), lambda: NOON / 1000, keys.states, keys.uses),  # type: ignore[arg-type]
        publisher=log,  # type: ignore[arg-type]
        config=Config(),
        writer=Writer(log.written),  # type: ignore[arg-type]
        owners=Owners(),  # type: ignore[arg-type]
        owner=log,  # type: ignore[arg-type]
        history=past,  # type: ignore[arg-type]
        queries=past,  # type: ignore[arg-type]
        dead=dead,  # type: ignore[arg-type]
        redriver=redriver_of(dead, log, b"s" * 32, lambda: NOON),
        audit_log=log.audit,  # type: ignore[arg-type]
        providers=providers,
        pausing=topic.writer(providers),
        replays=LocalReplays(lambda: NOON).add(NEW_ID),
        campaigns=LocalCampaigns(lambda: NOON, Config()).add(NEW_ID, "shop"),
        hooks=HookTopic().with_hook(a_hook(NEW_ID)),
        keys=keys,
        sealing=b"s" * 32,
        partitions=1,
        clock=lambda: NOON,
        new_id=new_id,
        limits=Limits(Room(), 1e9, count().__next__),
        pages=Pages(Branding()),
        reporter=KeptReports(),
        links=LINKS,
        codes=Codes(b"s" * 32, CodeLimits(Verify(per_user=100, per_address=100), count().__next__)),
        webhooks=webhooks,
        streams=live.streams,
        tickets=live.tickets,
    )
    async with TestClient(
        TestServer(create_app(replace(deps, **more), public_url=public_url, has_tls=has_tls))
    ) as client:
        yield client, log


ROUTES = [route for route in routes(None) if route.path != "/v1/query"]
CLOSED = [route for route in routes(None) if not route.access.public]
WRITING = [route for route in ROUTES if route.body is not None]
#: Of the others nothing is read that isn't signed.
READING = [route for route in WRITING if not route.path.startswith(("/v1/webhooks/", "/preferences/"))]

A_CAMPAIGN: dict[str, Any] = {
    "campaign_id": "spring",
    "event_type": "a.b",
    "content": {"title": "t", "body": "b"},
    "data": {},
    "channels": ["push"],
    "priority": "low",
    "send_at": "2026-03-05T11:00:00Z",
    "local_time": "09:00",
    "expires_at": "2026-03-06T11:00:00Z",
    "rate": "5/s",
    "canary": "1%",
    "holdout": "5%",
    "user_ids": ["ada"],
}

#: Good bodies, by path: every field of theirs is written to.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/notifications": {"user_id": "ada", "event_type": "a.b", "content": {"title": "t", "body": "b"}, "data": {}},
    "/v1/notifications/bulk": {"requests": []},
    "/v1/users/{id}/preferences": {"categories": {}, "event_types": {}, "quiet_hours": {}, "dnd": {}, "digest": {}},
    "/v1/users/{id}/profile": {"email": "a@b.example", "phone": None, "locale": "en", "name": "A", "attributes": {}},
    "/v1/users/{id}/profile/verify": {"channel": "email", "code": None},
    "/v1/users/{id}/devices": {"device_id": "d", "platform": "android", "token": "t", "app_id": None, "locale": None},
    "/v1/users/{id}/consents": {"channel": "sms", "category": "marketing", "granted": True, "evidence": {"a": 1}},
    "/v1/users/{id}/receipts": {"status": "opened", "notification_id": NEW_ID, "occurred_at": None, "detail": {}},
    "/v1/users/{id}/inbox/{notification_id}/snooze": {"until": "2027-01-01T00:00:00Z"},
    "/v1/users/{id}/activity": {"timezone": "Europe/London"},
    "/v1/templates": {"id": "new", "channels": {"sms": {"en": {"body": "b"}}}, "variants": []},
    "/v1/templates/{id}": {"channels": {"sms": {"en": {"body": "b"}}}, "variants": []},
    "/v1/templates/{id}/preview": {
        "data": {},
        "user": {},
        "items": [],
        "locale": "en",
        "variant": "a",
        "channels": None,
    },
    "/v1/templates/{id}/rollback": {"version": 1},
    "/v1/providers/{provider}/pause": {"why": "an outage"},
    "/v1/providers/{provider}/resume": {"why": "it is over"},
    "/v1/dead/redrive": {
        "ids": ["0-0"],
        "dry_run": False,
        "edited": {"key": b64encode(b"ada").decode(), "value": b64encode(A_REQUEST).decode(), "headers": []},
    },
    "/v1/replays": {
        "channel": "push",
        "from": "2026-03-04T11:00:00Z",
        "to": "2026-03-04T11:30:00Z",
        "provider": ["fcm"],
        "status": ["failed"],
        "reason": ["permanent"],
        "category": ["orders"],
        "campaign": ["spring"],
        "event_type": ["a.b"],
        "as_decided": False,
        "rate": "5/s",
        "expires_after": "6h",
        "dry_run": True,
    },
    **{f"/v1/webhooks/{provider}": {"a": 1} for provider in ("ses", "sendgrid", "twilio", "vonage")},
    "/v1/campaigns": A_CAMPAIGN,
    "/v1/notifications/batch": A_CAMPAIGN,
    "/v1/hooks": {
        "url": "https://example.com/hooks",
        "statuses": ["sent"],
        "secret": "whsec_" + b64encode(b"k" * 32).decode(),
    },
    "/v1/keys": {
        "id": "blog",
        "scopes": ["send:comment.*", "read"],
        "source": "blog",
        "rate": 5.0,
        "critical": False,
        "expires_at": "2199-01-01T00:00:00Z",
    },
    "/v1/keys/{id}/rotate": {"overlap": "0s"},
    "/v1/hooks/{id}/replay": {"from": "2026-03-04T11:00:00Z", "to": "2026-03-04T11:30:00Z"},
    "/preferences/{token}": {"act": "save", "on": [], "shown": [], "quiet": ""},
    "/v1/policy": {"categories": {"other": {"channels": ["in_app"]}}, "caps": [], "defaults": {}},
    "/v1/policy/validate": {"categories": {"other": {"channels": ["in_app"]}}, "timezone": "UTC", "event_types": {}},
}


def credentials(route: Any) -> dict[str, str]:
    if route.access.scopes:
        return {"Authorization": f"Bearer {KEY}"}
    return {"Authorization": "Bearer " + jwt.encode({"sub": "ada", "exp": 4_000_000_000}, SECRET)}


def path_of(route: Any, **given: str) -> str:
    path: str = route.path
    known = {"id": "ada" if "/users/" in path else "otp" if "/templates/" in path else NEW_ID}
    known |= {"device_id": "d", "letter_id": "0-0", "number": "1", "token": token_of(link_of(path))}
    for name, value in {**known, "notification_id": NEW_ID, "mark": "read", "provider": "fcm", **given}.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return path


def link_of(path: str) -> str:
    """A link of ours to the route; none where it isn't one of links."""
    makers = {
        "/v1/track/open/": LINKS.opened(a_mail()),
        "/v1/track/click/": LINKS.clicked(a_mail(), "https://shop.example/"),
        "/v1/unsubscribe/": LINKS.unsubscribe(a_mail()),
    }
    return next((url for begin, url in makers.items() if path.startswith(begin)), LINKS.preferences("ada", NOON))


async def answered(client: Any, method: str, path: str, **call: Any) -> int:
    async with client.request(method, URL(path, encoded=True), allow_redirects=False, **call) as response:
        status: int = response.status
        body = await response.read()
    assert status < 500, body
    if status in (400, 413, 422):
        problem = json.loads(body)
        assert problem["status"] == status
        assert problem.get("field"), problem
    return status


def bodies_of(path: str, text: str) -> Iterator[bytes]:
    """The body with the text for the whole, for each field, and, if it can be read, in a list and deeper in each."""
    good = BODIES[path]
    yield text.encode()
    for field in (*good, "unknown", "inbox", "send_at", "user_ids"):
        if len(text) > 10_000 and field != "unknown":  # (a policy takes a second to refuse it, wherever it stands)
            continue
        others = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in good.items() if name != field)
        comma = "," if others else ""
        for value in (text, *([] if text in REFUSED else [f"[{text}]", f'{{"a":[{text}]}}'])):
            yield f'{{{others}{comma}"{field}":{value}}}'.encode()


@pytest.mark.parametrize("route", WRITING, ids=lambda route: f"{route.method} {route.path}")
async def test_no_value_in_any_field_of_any_body_makes_a_route_fail(route: Any) -> None:
    assert route.path in BODIES
    async with gateway() as (client, log):
        for text in (*REFUSED, *TAKEN, "null", "true", '"\xff"', "[]", '""', "-1", '"9999-12-31T23:59:59-12:00"'):
            for body in bodies_of(route.path, text):
                await answered(client, route.method, path_of(route), headers=credentials(route), data=body)
        assert not log.refused


@given(st.sampled_from(WRITING), st.lists(texts, min_size=1, max_size=2))
@settings(max_examples=8, deadline=None)
def test_no_json_makes_a_route_fail(route: Any, written: list[str]) -> None:
    async def call() -> None:
        async with gateway() as (client, log):
            for text in written:
                for body in bodies_of(route.path, text):
                    await answered(client, route.method, path_of(route), headers=credentials(route), data=body)
            assert not log.refused

    asyncio.run(call())


LIMITS = ["0", "-1", "01", "000000000100000", "1" * 4_400, "1001", "1.0", "+1", "1\N{ARABIC-INDIC DIGIT ONE}"]
ODD = [
    "0",
    "-1",
    "01",
    "000000000100000",
    "1" * 4_400,
    "\N{ARABIC-INDIC DIGIT TWO}",
    "1e3",
    "\0",
    "a" * 3_000,
    "..",
    "%",
    "\N{GRINNING FACE}",
    "e\u0301",
    "WzFd",
    "eyItMSI6LTF9",
    "true",
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_no_parameter_of_any_route_makes_it_fail(route: Any) -> None:
    names = re.findall(r"\{(\w+)\}", route.path)
    body = json.dumps(BODIES[route.path]).encode() if route.body is not None else None
    async with gateway() as (client, _):
        for odd in ODD:
            for name in names:
                if route.method in ("POST", "PUT", "PATCH") or name != "id" or "user" not in route.path:
                    await answered(
                        client, route.method, path_of(route, **{name: odd}), headers=credentials(route), data=body
                    )
            for name in (*route.query, "unknown"):
                path = f"{path_of(route)}?{name}={quote(odd)}"
                await answered(client, route.method, path, headers=credentials(route), data=body)
        for raw in ("%FF", "%ED%A0%80", "%00", "%"):
            for name in names:
                path = path_of(route, **{name: "RAW"}).replace("RAW", raw)
                await answered(client, route.method, path, headers=credentials(route), data=body)
            for name in route.query:
                await answered(
                    client, route.method, f"{path_of(route)}?{name}={raw}", headers=credentials(route), data=body
                )


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    async with gateway() as (client, _):
        path = f"/v1/notifications/{NEW_ID}/events?limit={quote(limit)}"
        assert await answered(client, "GET", path, headers={"Authorization": f"Bearer {KEY}"}) == 400


@pytest.mark.parametrize("route", READING, ids=lambda route: f"{route.method} {route.path}")
async def test_a_body_that_cannot_be_read_is_refused(route: Any) -> None:
    good = json.dumps(BODIES[route.path]).encode()
    broken: list[tuple[dict[str, str], bytes]] = [
        ({"Content-Encoding": "gzip"}, good),
        ({"Content-Encoding": "gzip"}, gzip.compress(good)[: len(gzip.compress(good)) // 2]),
        ({"Content-Encoding": "gzip"}, gzip.compress(good)[:12] + b"\xff" * 20),
        ({"Content-Encoding": "deflate"}, b"\xff" * 10),
        ({}, b"\xff\xfe{}"),
        ({}, b"\0"),
        ({}, b"{"),
    ]
    async with gateway() as (client, _):
        for headers, body in broken:
            sent = {**credentials(route), **headers}
            status = await answered(client, route.method, path_of(route), headers=sent, data=body)
            assert status == 400, (headers, body)
        bomb, deflated = zlib.compress(b"[" * (64 << 20)), {**credentials(route), "Content-Encoding": "deflate"}
        assert await answered(client, route.method, path_of(route), headers=deflated, data=bomb) == 413


@pytest.mark.parametrize("credential", ["Bearer \udcff", "Bearer é", "Bearer \udcff.a.b", "\udcff", "Basic \udcff"])
async def test_credentials_that_are_no_text_are_bad_ones(credential: str) -> None:
    async with gateway() as (client, _):
        for route in CLOSED:
            reader, writer = await asyncio.open_connection(client.host, client.port)
            head = f"{route.method} {path_of(route)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            writer.write(f"{head}Authorization: {credential}\r\n\r\n".encode(errors="surrogateescape"))
            answer = await reader.read()
            writer.close()
            assert answer.split(b" ")[1] in (b"400", b"401"), (route.path, answer)


@pytest.mark.parametrize("name", [".", ".."])
@pytest.mark.parametrize(("path", "field"), [("/v1/users/{id}/devices", "device_id"), ("/v1/templates", "id")])
async def test_what_no_path_can_name_is_not_made(path: str, field: str, name: str) -> None:
    route = next(route for route in ROUTES if (route.method, route.path) == ("POST", path))
    body = json.dumps({**BODIES[path], field: name})
    async with (
        gateway() as (client, _),
        client.request("POST", URL(path_of(route)), headers=credentials(route), data=body) as response,
    ):
        assert (response.status, json.loads(await response.read())["field"]) == (422, field)
