"""Who gets into the console, and that nobody makes somebody else's browser act there."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest

from app.api.console.sessions import COOKIE
from app.config import ApiKey
from tests.security.conftest import Door, Reply, api_key, opened

_ADMIN, _READER, _SHOP = "ops.secret-of-ops-000000", "eyes.secret-of-eyes-0000", "shop.secret-of-shop-0000"


async def _sign_in(door: Door, key: str, **headers: str) -> Reply:
    body = urlencode({"key": key}).encode()
    return await door.call(
        "POST", "/console/sign-in", body, Content_Type="application/x-www-form-urlencoded", **headers
    )


def _cookie(reply: Reply) -> str:
    return reply.headers["Set-Cookie"].partition(";")[0]


def _keys() -> tuple[ApiKey, ...]:
    return (
        api_key(_ADMIN, scopes=["admin"]),
        api_key(_READER, scopes=["admin:read"]),
        api_key(_SHOP, scopes=["send", "read"]),
    )


async def test_an_admin_key_opens_it_with_a_cookie_that_no_script_reads() -> None:
    async with opened(*_keys()) as door:
        reply = await _sign_in(door, _ADMIN)

        assert (reply.status, reply.headers["Location"]) == (303, "/console")
        attributes = reply.headers["Set-Cookie"].lower()
        assert all(word in attributes for word in ("httponly", "samesite=strict", "path=/console", "max-age="))
        assert _ADMIN.partition(".")[2] not in reply.headers["Set-Cookie"]
        assert (await door.call("GET", "/console/find", Cookie=_cookie(reply))).status == 200


@pytest.mark.parametrize("key", ["", "ops.wrong", _SHOP, "é", "x" * 3000])
async def test_no_other_key_opens_it(key: str) -> None:
    async with opened(*_keys()) as door:
        reply = await _sign_in(door, key)

        assert reply.status == 403
        assert "Set-Cookie" not in reply.headers


async def test_wrong_keys_are_limited_by_address() -> None:
    async with opened(*_keys()) as door:
        statuses = {(await _sign_in(door, "ops.wrong")).status for _ in range(150)}

        assert statuses == {403, 429}


@pytest.mark.parametrize("path", ["", "/find", "/providers", "/dead", "/policy", "/query", "/users/ada", "/audit-log"])
@pytest.mark.parametrize("cookie", ["", f"{COOKIE}=forged", f"{COOKIE}={'A' * 3000}"])
async def test_without_a_session_every_page_leads_to_the_door(path: str, cookie: str) -> None:
    async with opened(*_keys()) as door:
        headers: dict[str, Any] = {"Cookie": cookie} if cookie else {}
        reply = await door.call("GET", f"/console{path}", **headers)

        assert reply.status == 303
        assert reply.headers["Location"].startswith("/console/sign-in")


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, {}),
        ({"Sec_Fetch_Site": "same-site"}, {}),
        ({}, {"csrf": "forged"}),
        ({}, {}),
    ],
)
async def test_a_form_of_another_site_or_session_does_nothing(headers: dict[str, str], form: dict[str, str]) -> None:
    async with opened(*_keys()) as door:
        cookie = _cookie(await _sign_in(door, _ADMIN))
        body = urlencode({"why": "x", "confirmed": "yes", **form}).encode()
        given: dict[str, Any] = {"Cookie": cookie, "Content_Type": "application/x-www-form-urlencoded", **headers}
        reply = await door.call("POST", "/console/providers/fcm/pause", body, **given)

        assert reply.status == 403


async def test_pages_run_no_inline_script_and_are_framed_by_nobody() -> None:
    async with opened(*_keys()) as door:
        cookie = _cookie(await _sign_in(door, _ADMIN))
        page = await door.call("GET", "/console/find", Cookie=cookie)
        policy = page.headers["Content-Security-Policy"]

        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=", page.text)
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", page.text)


async def test_what_was_looked_for_is_shown_as_text() -> None:
    async with opened(*_keys()) as door:
        cookie = _cookie(await _sign_in(door, _ADMIN))
        page = await door.call("GET", f"/console/find?q={'%3Cscript%3E' * 60}", Cookie=cookie)

        assert page.status == 400
        assert "<script>" not in page.text


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json", "text/plain"])
async def test_only_a_form_is_taken_for_one(kind: str) -> None:
    async with opened(*_keys()) as door:
        assert (await door.call("POST", "/console/sign-in", b"key=ops", Content_Type=kind)).status == 415


async def test_a_form_of_any_bytes_is_refused_and_nothing_more() -> None:
    async with opened(*_keys()) as door:
        for body in (b"key=%ff%fe", b"\xff\xfe", b"&" * 4000, b"key=" + b"x" * 5000, b"a=1&" * 500):
            reply = await door.call("POST", "/console/sign-in", body, Content_Type="application/x-www-form-urlencoded")
            assert reply.status in (400, 403, 413)
