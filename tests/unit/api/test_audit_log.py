"""What a key changes is in the audit log before it is changed, on every route; where it can't be, nothing is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.api.callers import Service, authorize
from app.api.problems import Problem
from app.api.routes import Route
from app.api.server import routes
from tests.unit.api.test_hostile_calls import BODIES, credentials, gateway, path_of

#: Routes of services that write and need no entry, and why.
NO_ENTRY = {
    ("POST", "/v1/notifications"): "a request; its events say what became of it",
    ("POST", "/v1/notifications/bulk"): "requests",
    ("POST", "/v1/policy/validate"): "changes nothing",
    ("POST", "/v1/templates/{id}/preview"): "changes nothing",
    # One user's own data, which the user may change as well:
    ("PUT", "/v1/users/{id}/preferences"): "a user's",
    ("PATCH", "/v1/users/{id}/preferences"): "a user's",
    ("PATCH", "/v1/users/{id}/profile"): "a user's",
    ("POST", "/v1/users/{id}/devices"): "a user's",
    ("DELETE", "/v1/users/{id}/devices/{device_id}"): "a user's",
    ("PUT", "/v1/users/{id}/consents"): "a user's",
    ("POST", "/v1/users/{id}/preferences/link"): "changes nothing",
}
ALL = routes(None)
AUDITED = [route for route in ALL if route.action is not None]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_every_route_by_which_a_key_changes_something_has_an_action() -> None:
    changing = {(route.method, route.path) for route in ALL if route.method != "GET" and route.access.scopes}

    assert {(route.method, route.path) for route in AUDITED} == changing - NO_ENTRY.keys()
    assert NO_ENTRY.keys() <= changing


def target(route: Route) -> str:
    return path_of(route, id="spare") if "/templates/" in route.path else path_of(route)


def body_of(route: Route) -> bytes | None:
    return json.dumps(BODIES[route.path]).encode() if route.body is not None else None


@pytest.mark.parametrize("route", AUDITED, ids=name_of)
async def test_what_a_route_changes_is_entered_first_and_only_once(route: Route) -> None:
    async with gateway() as (client, log):
        answer = await client.request(route.method, target(route), headers=credentials(route), data=body_of(route))

        assert answer.status < 300, await answer.text()
        [entry] = log.audit.entries
        assert (entry.key_id, entry.action, entry.from_) == ("all", route.action, "127.0.0.1")
        assert entry.what


@pytest.mark.parametrize("route", AUDITED, ids=name_of)
async def test_where_the_log_cannot_be_written_nothing_is_changed(route: Route) -> None:
    async with gateway() as (client, log):
        log.audit.is_down = True
        answer = await client.request(route.method, target(route), headers=credentials(route), data=body_of(route))

        assert answer.status == 503
        assert log.published == []
        assert log.written == []


async def test_a_refused_change_has_no_entry() -> None:
    async with gateway() as (client, log):
        headers = {"Authorization": credentials(AUDITED[0])["Authorization"]}
        for body in (b"[]", b"{", b'{"categories": 1}'):
            answer = await client.put("/v1/policy", headers=headers, data=body)
            assert answer.status in (400, 422)
        assert log.audit.entries == []


async def test_an_erasure_is_entered_without_its_user() -> None:
    async with gateway() as (client, log):
        [route] = [route for route in AUDITED if route.action == "user.erase"]
        await client.delete("/v1/users/somebody", headers=credentials(route))

        assert "somebody" not in repr(log.audit.entries)


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({}, "127.0.0.1"),
        ({"X-Forwarded-For": "203.0.113.7, 10.0.0.1"}, "127.0.0.1 (X-Forwarded-For 203.0.113.7, 10.0.0.1)"),
        ({"X-Forwarded-For": "<script>, 10.0.0.1"}, "127.0.0.1"),
        ({"X-Forwarded-For": ", ".join(["::1"] * 90)}, f"127.0.0.1 (X-Forwarded-For {', '.join(['::1'] * 5)})"),
        ({"Tocsin-Run-By": "ada@laptop"}, "127.0.0.1 (run by ada@laptop)"),
        ({"Tocsin-Run-By": "ada at home; (run by root)"}, "127.0.0.1"),
    ],
)
async def test_an_entry_says_who_called_and_what_others_said_of_it(headers: dict[str, str], shown: str) -> None:
    async with gateway() as (client, log):
        [route] = [route for route in AUDITED if route.action == "user.erase"]
        await client.delete("/v1/users/ada", headers=credentials(route) | headers)

        assert [entry.from_ for entry in log.audit.entries] == [shown]


def test_the_docs_name_every_action() -> None:
    text = (Path(__file__).parents[3] / "docs" / "http.md").read_text()
    [listed] = re.findall(r"`action` is one of (.*?)\(the console", text, re.DOTALL)
    by_no_route = {"key.change", "user.unmask", "notification.unmask"}

    assert set(re.findall(r"`([a-z._]+)`", listed)) == {route.action for route in AUDITED} | by_no_route


async def test_the_log_is_read_newest_first_and_filtered() -> None:
    async with gateway() as (client, log):
        for action in ("policy.put", "template.put", "template.delete"):
            await log.audit.enter("ops", "127.0.0.1", action, "x")
        headers = credentials(AUDITED[0])

        async def actions(query: str) -> list[str]:
            page = await (await client.get(f"/v1/audit-log?{query}", headers=headers)).json()
            assert page["next_cursor"] is None
            return [entry["action"] for entry in page["entries"]]

        assert await actions("") == ["template.delete", "template.put", "policy.put"]
        assert await actions("action=template") == ["template.delete", "template.put"]
        assert await actions("action=templat") == []
        assert await actions("key_id=nobody") == []
        assert await actions("from=2026-11-29T10:00:00Z&limit=1") == ["template.delete"]
        assert await actions("to=2026-11-29T10:00:00Z") == []


@pytest.mark.parametrize("query", ["cursor=x", "cursor=-1", "from=yesterday", "to=2026-13-01T00:00:00Z", "limit=0"])
async def test_a_parameter_that_is_none_is_refused_by_name(query: str) -> None:
    async with gateway() as (client, _):
        answer = await client.get(f"/v1/audit-log?{query}", headers=credentials(AUDITED[0]))

        assert (answer.status, (await answer.json())["field"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize("route", [route for route in ALL if route.access.scopes], ids=name_of)
def test_a_key_that_reads_for_admins_reads_what_they_may_and_changes_nothing(route: Route) -> None:
    def admitted(*scopes: Any) -> bool:
        try:
            authorize(Service("k", "", frozenset(scopes)), route.access, None)
        except Problem:
            return False
        return True

    assert admitted("admin:read") == (route.method == "GET" and admitted("admin"))
