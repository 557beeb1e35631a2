"""What a recipient got, on a notification's page: the template until somebody asks, and then what was sent."""

import html
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import CookieJar

from app.api.callers import Callers
from app.api.console.shown import Picture, masked, sent_by
from app.config import ApiKey
from app.domain.catalog import Catalog, default_catalog
from app.domain.erasure import user_hash
from app.store.queries import Answer
from app.store.recorded_sends import Queued
from schemas.config import Template, TemplateVersion
from schemas.requests import Content
from schemas.sends import Send
from schemas.words import Channel
from tests.calling import key_hash
from tests.key_topic import KeyTopic
from tests.unit.api.test_hostile_calls import NEW_ID, Config, Past, gateway

_KEYS = {name: f"{name}." + "o" * 43 for name in ("ops", "eyes")}
_AT = "2026-01-01T00:00:00.000Z"
_HTML = (
    "<style>p {color: red}</style><p>Dear {{ user.id }}, {{ gate }}</p>"
    '<img src="https://pixel.example/p.gif"><script>x</script>'
)
_CHANNELS: dict[Channel, dict[str, dict[str, str]]] = {
    "push": {"default": {"title": "Boarding", "body": "Gate {{ gate }}"}},
    "email": {"default": {"subject": "Boarding at {{ gate }}", "html": _HTML}},
    "sms": {"default": {"body": "Gate {{ gate }} " + "x" * 170}},
}


_CHANGED: dict[Channel, dict[str, dict[str, str]]] = {"push": {"default": {"title": "changed", "body": "since"}}}


def _catalog() -> Catalog:
    versions = {
        n: TemplateVersion(version=n, template=Template(id="boarding", channels=channels), at=_AT)
        for n, channels in enumerate((_CHANNELS, _CHANGED), 1)
    }
    default = default_catalog()
    return Catalog(default.policy, 1, {"boarding": versions[2]}, versions={"boarding": versions})


def _event(status: str, channel: str | None, send_id: str | None = None, **more: Any) -> dict[str, Any]:
    names = ("reason", "provider", "attempt", "campaign_id", "variant", "provider_message_id", "replay_id", "detail")
    known = {"event_type": "a.b", "category": "other", "priority": "normal", "source": "shop", "policy_version": 1}
    return {
        **dict.fromkeys(names),
        **known,
        "event_id": NEW_ID,
        "notification_id": NEW_ID,
        "user_id": "ada",
        "template_id": "boarding",
        "template_version": 1,
        "status": status,
        "channel": channel,
        "send_id": send_id,
        "occurred_at": _AT,
        **more,
    }


def _send(channel: Any, **more: Any) -> Send:
    return Send(
        send_id=f"{channel}-1",
        notification_id=NEW_ID,
        user_id="ada",
        channel=channel,
        event_type="a.b",
        category="other",
        priority="normal",
        policy_version=1,
        created_at=0,
        accepted_at=0,
        expires_at=9,
        **{"template_id": "boarding", "data": b'{"gate": "<b>B7"}', **more},
    )


_EVENTS = [_event("accepted", None)] + [
    _event(status, channel, f"{channel}-1") for channel in ("push", "email", "sms") for status in ("queued", "sent")
]


class Happened(Past):
    async def events(self, notification_id: str, user_id: Any = None, cursor: Any = None, limit: int = 1) -> Any:
        return _EVENTS, None

    async def run(self, sql: str, limits: Any, values: Any = None) -> Answer:
        return Answer(("user_id", "outcomes"), ("String", "Array(String)"), [["ada", ["push: sent"]]], False)


class Recorded:
    def __init__(self, *sends: Send) -> None:
        self.sends = {send.send_id: send for send in sends}
        self.asked: list[tuple[str, Sequence[Queued]]] = []

    async def of(self, user_id: str, asked: Sequence[Queued]) -> dict[str, Send]:
        self.asked.append((user_id, asked))
        return self.sends


class Boarding(Config):
    @property
    def catalog(self) -> Catalog:
        return _catalog()


@asynccontextmanager
async def looking(recorded: Recorded, key: str = "ops") -> AsyncIterator[tuple[Any, Any]]:
    keys = (
        ApiKey(id="ops", sha256=key_hash(_KEYS["ops"]), scopes=("admin",)),
        ApiKey(id="eyes", sha256=key_hash(_KEYS["eyes"]), scopes=("admin:read",)),
    )
    past = Happened()
    async with gateway(
        callers=Callers(keys, None, None),
        keys=KeyTopic().writer(),
        queries=past,
        history=past,
        sends=recorded,
        config=Boarding(),
        clock=lambda: 0,
    ) as (client, log):
        client.session._cookie_jar = CookieJar(unsafe=True)
        await client.post("/console/sign-in", data={"key": _KEYS[key]}, allow_redirects=False)
        yield client, log


_PATH = f"/console/notifications/{NEW_ID}"


async def test_until_it_is_asked_for_nothing_personal_is_read_or_shown() -> None:
    recorded = Recorded(_send("push"), _send("email"), _send("sms"))
    async with looking(recorded) as (client, log):
        page = await (await client.get(_PATH)).text()

        assert (recorded.asked, log.audit.entries) == ([], [])
    assert "Gate {{ gate }}" in page
    assert "B7" not in page
    assert "since" not in page  # the version that was sent, not the one in force


@pytest.mark.parametrize("user_id", ["", " ", None])
async def test_an_unmasking_names_whose_it_is(user_id: str | None) -> None:
    recorded = Recorded(_send("push"))
    async with looking(recorded) as (client, log):
        [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', await (await client.get(_PATH)).text()))
        fields = {"csrf": csrf} | ({} if user_id is None else {"user_id": user_id})
        response = await client.post(f"{_PATH}/shown", data=fields)

        assert response.status == 400
        assert "user_id" in await response.text()
        assert (recorded.asked, log.audit.entries) == ([], [])


async def test_what_was_sent_is_shown_once_the_audit_log_has_it() -> None:
    recorded = Recorded(_send("push"), _send("email"), _send("sms"))
    async with looking(recorded) as (client, log):
        [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', await (await client.get(_PATH)).text()))
        response = await client.post(f"{_PATH}/shown", data={"csrf": csrf, "user_id": "ada"})
        page = await response.text()

        [entry] = log.audit.entries
    assert (entry.action, entry.what) == (
        "notification.unmask",
        f"notification {NEW_ID}, user {user_hash('ada').hex()}",
    )
    assert recorded.asked[0] == ("ada", [Queued(f"{each}-1", each, 1767225600000) for each in ("push", "email", "sms")])
    assert "Gate &lt;b&gt;B7" in page
    assert page.count('class="bubble"') == 2  # an SMS of 153 characters, and the rest
    [mail] = re.findall(r'<iframe sandbox title="[^"]*" srcdoc="([^"]*)"', page)
    document = html.unescape(mail)
    assert document.startswith('<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy"')
    assert "img-src data:" in document
    assert 'style="color: red' in document
    assert "&lt;b&gt;B7" in document
    policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy


async def test_a_page_without_a_mail_allows_no_style_of_its_own() -> None:
    async with looking(Recorded()) as (client, _):
        response = await client.get("/console/find")

        assert "unsafe-inline" not in response.headers["Content-Security-Policy"]


async def test_a_reader_is_not_shown_what_was_sent() -> None:
    recorded = Recorded(_send("push"))
    async with looking(recorded, "eyes") as (client, log):
        page = await (await client.get("/console/users/ada")).text()
        [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', page))
        response = await client.post(f"{_PATH}/shown", data={"csrf": csrf, "user_id": "ada"})

        assert (response.status, recorded.asked, log.audit.entries) == (403, [], [])


@pytest.mark.parametrize(
    ("send", "says"),
    [
        (None, "Not found in the send topics"),
        (_send("push", verifies="x"), "It carried a verification code"),
        (_send("push", template_id=None, content=Content("Own words", "said <once>")), "said &lt;once&gt;"),
        (_send("push", data=b'{"n": 1e999}'), "data: can&#39;t be read"),
    ],
)
async def test_each_send_is_shown_or_says_why_not(send: Send | None, says: str) -> None:
    async with looking(Recorded(*([send] if send else []))) as (client, _):
        [csrf] = set(re.findall(r'name="csrf" value="([^"]+)"', await (await client.get(_PATH)).text()))
        page = await (await client.post(f"{_PATH}/shown", data={"csrf": csrf, "user_id": "ada"})).text()

    assert says in page


def test_the_template_is_that_of_the_latest_call_and_shown_once() -> None:
    events = [
        _event("queued", "push", "a", template_version=2),
        _event("queued", "push", "b", template_version=2),
        _event("sending", "push", "a"),
        _event("sending", "push", "b"),
        _event("sent", "push", "a", template_version=2),
    ]

    assert [(each.version, each.state) for each in sent_by(events)] == [(1, "sent"), (1, "sending")]
    assert masked(events, _catalog()) == [Picture("push", _CHANNELS["push"]["default"], is_source=True)]


def test_a_text_of_its_own_shows_nothing_until_it_is_asked_for() -> None:
    [picture] = masked([_event("queued", "sms", "a", template_id=None, template_version=None)], _catalog())

    assert (picture.parts, picture.problem is not None) == ({}, True)
