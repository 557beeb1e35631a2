"""A user whose id is ``.`` or ``..`` is named in a path as ``%2E``, ``%2E%2E``, by clients that send it as written."""

import json

import pytest
import requests
from yarl import URL

from tests.calling import user_token
from tests.security.conftest import Opening


def asked(target: str, caller: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: a", "Connection: close", f"Authorization: Bearer {user_token(caller)}"]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("user_id", [".", ".."])
@pytest.mark.parametrize("what", ["devices", "preferences", "profile"])
async def test_such_a_user_is_reached_by_percent_encoding(open_door: Opening, user_id: str, what: str) -> None:
    target = f"/v1/users/{user_id.replace('.', '%2E')}/{what}"
    sent = (
        f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {user_token(user_id)}\r\n\r\n"
    )
    async with open_door() as door, door.raw(sent.encode()) as (reader, _):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")

    assert head.split()[1] == b"200"
    json.loads(body)


@pytest.mark.parametrize("user_id", [".", ".."])
async def test_another_user_is_not(open_door: Opening, user_id: str) -> None:
    target = f"/v1/users/{user_id.replace('.', '%2E')}/devices"
    async with open_door() as door, door.raw(asked(target, "ada")) as (reader, _):
        assert (await reader.read()).split()[1] == b"403"


def test_clients_that_mend_the_path_name_another() -> None:
    """docs/http.md says what to do instead."""
    written = "http://gateway/v1/users/%2E%2E/devices"
    assert requests.Request("GET", written).prepare().path_url == "/v1/users/../devices"
    assert URL(written).raw_path == "/v1/devices"
    assert URL(written, encoded=True).raw_path == "/v1/users/%2E%2E/devices"


async def test_dots_as_they_are_name_nobody_else(open_door: Opening) -> None:
    for caller in ("..", "ada"):
        async with open_door() as door, door.raw(asked("/v1/users/../devices", caller)) as (reader, _):
            assert int((await reader.read()).split()[1]) in (200 if caller == ".." else 403, 404)
