"""Promise 7 to its letter: a value is planted in every field that a user can have, found in what the system wrote,
and after the erasure's time found nowhere any more but in topics that have a time limit."""

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from app.dev.system import DevSystem, Options
from schemas import topics
from schemas.instants import rfc3339
from schemas.topics import KEPT_DAYS, WITHOUT_USERS
from tests.conftest import eventually
from tests.e2e.planting import Planted

_REPOSITORY = Path(__file__).parents[2]
_USER = "planted-user"
_LIMIT_S = 240.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevSystem]:
    options = Options(
        folder=tmp_path_factory.mktemp("erasure") / "dev",
        jars=_REPOSITORY / ".tocsin" / "kafka",
        partitions=2,
        settings={"TOCSIN_DATA__ERASE_WITHIN": "1m"},
    )
    async with DevSystem(options) as system:
        yield system


class Caller:
    def __init__(self, system: DevSystem) -> None:
        self._url = system.state.gateway_url
        self._keys = system.state.api_keys
        token = jwt.encode({"sub": _USER, "exp": int(time.time()) + 3_600}, system.state.jwt_secret, "HS256")
        self._credentials = {**self._keys, "user": token}

    async def __call__(self, method: str, path: str, key: str = "admin", **body: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._credentials[key]}"}
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, self._url + path, headers=headers, json=body or None) as response,
        ):
            text = await response.read()
            return response.status, json.loads(text) if text else None

    async def does(self, method: str, path: str, key: str = "admin", **body: Any) -> Any:
        status, document = await self(method, path, key, **body)
        assert status < 300, (method, path, status, document)
        return document

    async def sends(self, **request: Any) -> str:
        asked = {"user_id": _USER, "event_type": "order.shipped", **request}
        return str((await self.does("POST", "/v1/notifications", "demo", **asked))["notification_id"])

    async def is_done(self, *notifications: str) -> None:
        async def are_done() -> bool:
            shown = [await self("GET", f"/v1/notifications/{name}", "demo") for name in notifications]
            return all(status == 200 and document["status"] == "done" for status, document in shown)

        await eventually(are_done, _LIMIT_S)


def marks(*fields: str) -> Planted:
    unique = {field: f"plant-{field}-{secrets.token_hex(8)}" for field in fields}
    own = {
        "phone": "+4420718" + "".join(secrets.choice("0123456789") for _ in range(5)),
        "token": secrets.token_hex(32),
        "zone": "Pacific/Chatham",
    }
    return Planted(unique | own)


async def plant(call: Caller, system: DevSystem, planted: Planted) -> None:
    """Says everything that can be said of a user, and leaves sends in every state that holds something."""
    value = planted.values
    me = f"/v1/users/{_USER}"
    await call.does(
        *("PATCH", f"{me}/profile"),
        email=f"{value['mail']}@example.com",
        email_verified=True,
        phone=value["phone"],
        phone_verified=True,
        locale="en",
        timezone=value["zone"],
        name=value["name"],
        attributes={value["attribute"]: {"deep": [value["attribute_value"]]}},
    )
    await call.does(
        *("POST", f"{me}/devices"),
        device_id=value["device"],
        platform="ios",
        token=value["token"],
        app_id=value["app"],
    )
    await call.does(
        *("PUT", f"{me}/preferences"),
        event_types={f"{value['preference']}.*": {"push": False}},
        quiet_hours={"enabled": True, "start": "21:37", "end": "21:38"},
    )
    consent: dict[str, Any] = {
        "channel": "sms",
        "category": "marketing",
        "granted": True,
        "evidence": {"said": value["evidence"]},
    }
    await call.does("PUT", f"{me}/consents", **consent)
    content = {
        "title": value["title"],
        "body": value["body"],
        "subject": value["subject"],
        "html": f"<b>{value['html']}</b>",
        "url": f"https://example.com/{value['url']}",
    }
    sent = await call.sends(
        content=content,
        data={"order": value["data"]},
        channels=["push", "email", "sms", "in_app"],
        collapse_key=value["collapse"],
    )
    later = rfc3339(int(time.time() * 1000) + 30 * 86_400_000)
    await call.sends(content={"title": "t", "body": value["scheduled"]}, channels=["email"], send_at=later)
    digested = {"thread_id": value["digest_key"], "text": value["digested"]}
    await call.sends(event_type="comment.created", data=digested, channels=["push"])
    await call.is_done(sent)
    events = (await call.does("GET", f"/v1/notifications/{sent}/events?user_id={_USER}", "demo"))["events"]
    [item] = [event for event in events if (event["status"], event["channel"]) == ("sent", "in_app")]
    opened = {"send_id": item["send_id"], "notification_id": sent, "status": "opened", "reason": value["reason"]}
    await call.does("POST", f"{me}/receipts", "user", **opened, detail={"app": value["receipt"]})
    async with AIOKafkaProducer(bootstrap_servers=system.state.kafka_bootstrap) as producer:
        bad = {"user_id": _USER, "event_type": "no type", "data": {"x": value["dead"]}}
        await producer.send_and_wait(topics.EVENTS, json.dumps(bad).encode(), _USER.encode())
        event = {"event_id": "e", "status": "lost", "user_id": _USER, "reason": value["dead_event"]}
        await producer.send_and_wait(topics.LIFECYCLE, json.dumps(event).encode(), _USER.encode())
    await _hang(system, "twilio")
    text = {"content": {"title": "t", "body": value["in_flight"]}, "channels": ["sms"]}
    await call.sends(event_type="login.new_device", **text)


async def _hang(system: DevSystem, provider: str) -> None:
    fault = {"provider": provider, "action": "hang"}
    async with aiohttp.ClientSession() as http, http.post(f"{system.state.sandbox_url}/faults", json=fault) as answer:
        assert answer.status == 201, await answer.text()


FIELDS = (
    *("mail", "name", "attribute", "attribute_value", "device", "app", "preference", "evidence"),
    *("title", "body", "subject", "html", "url", "data", "collapse", "scheduled", "digest_key", "digested"),
    *("reason", "receipt", "dead", "dead_event", "in_flight"),
)


def is_of_tocsin(file: str) -> bool:
    """Topics with a time limit let go of it when that is over. The sandbox is the providers, to whom it was sent."""
    parts = file.split("/")
    topic = parts[parts.index("kafka") + 2].rsplit("-", 1)[0] if parts[0] == "kafka" and len(parts) > 3 else ""
    return topic not in KEPT_DAYS and parts[0] != "sandbox" and not file.startswith("logs/sandbox")


async def test_an_erasure_leaves_nothing_but_the_pseudonymous_id(system: DevSystem, tmp_path: Path) -> None:
    folder, call, planted = Path(system.settings.data.dir).parent, Caller(system), marks(*FIELDS)
    await plant(call, system, planted)

    async def is_everywhere() -> bool:
        found = await asyncio.to_thread(planted.found, folder)
        missing = {field for field, files in found.items() if not files}
        kept = {file.split("/")[1] for files in found.values() for file in files if file.startswith("data/")}
        return not missing and {"router-1", "in_app-1", "clickhouse"} <= kept

    for role in ("router", "in_app"):  # a store that is closed has on disk what it has
        os.kill(system.processes[role].pid or 0, signal.SIGTERM)
    try:
        await eventually(is_everywhere, _LIMIT_S)
    finally:
        found = await asyncio.to_thread(planted.found, folder)
        (tmp_path / "before.json").write_text(json.dumps({f: sorted(files) for f, files in found.items()}, indent=1))
    letters = (await call.does("GET", "/v1/dead?limit=100"))["letters"]
    assert len(letters) >= 2

    erasure_id = (await call.does("DELETE", f"/v1/users/{_USER}"))["erasure_id"]

    async def is_certified() -> bool:
        status, document = await call("GET", f"/v1/erasures/{erasure_id}")
        (tmp_path / "certificate.json").write_text(json.dumps(document, indent=1))
        return status == 200 and document["status"] == "done"

    async def is_gone() -> bool:
        found = await asyncio.to_thread(planted.found, folder)
        left = {field: sorted(filter(is_of_tocsin, files)) for field, files in found.items()}
        (tmp_path / "after.json").write_text(json.dumps({f: files for f, files in left.items() if files}, indent=1))
        return not any(left.values())

    await eventually(is_certified, _LIMIT_S)
    await eventually(is_gone, _LIMIT_S)
    assert (await call.does("GET", "/v1/dead?limit=100"))["letters"] == []
    assert (await call.does("GET", f"/v1/users/{_USER}/inbox", "user"))["notifications"] == []
    for field, view in (("mail", "profile"), ("device", "devices"), ("preference", "preferences")):
        _, document = await call("GET", f"/v1/users/{_USER}/{view}")
        assert planted.values[field] not in json.dumps(document)
    certificate = await call.does("GET", f"/v1/erasures/{erasure_id}")
    assert certificate["pending"] == []
    assert {part["where"] for part in certificate["done"]} == {"router", "push", "email", "sms", "in_app", "clickhouse"}
    assert set(certificate["time_limited"]) == set(KEPT_DAYS) - WITHOUT_USERS
