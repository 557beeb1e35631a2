"""Erasing a user, and the certificate that says what was erased when."""

from typing import Any, Literal
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import ADMIN
from app.api.commands import command_of, publish_command, user_of
from app.api.problems import unknown
from app.api.routes import Route
from app.domain.partition import partition_of


class Erasing(Struct, frozen=True):
    erasure_id: str
    status: Literal["accepted"] = "accepted"


async def delete_user(call: Call) -> web.Response:
    """The erasure's id is its command's, and ends with the user's partition, where the certificate lies."""
    user_id = user_of(call)
    partition = partition_of(user_id.encode(), call.deps.partitions)
    erasure_id = f"{call.deps.new_id()[:-4]}{partition:04x}"
    await publish_command(call, msgspec.structs.replace(command_of(call, "user.erase", user_id, {}), id=erasure_id))
    return answer(Erasing(erasure_id), 202)


async def get_certificate(call: Call) -> web.Response:
    erasure_id = call.path("id")
    certificate = None
    if (partition := _partition_in(erasure_id)) is not None and partition < call.deps.partitions:
        asked = {"erasure_id": erasure_id}
        certificate = await call.deps.owner.read_partition("router", partition, "erasure", asked)
    if certificate is None:
        raise unknown("the erasure")
    return answer(certificate)


def _partition_in(erasure_id: str) -> int | None:
    try:
        return int(UUID(erasure_id).hex[-4:], 16)
    except ValueError:
        return None


ROUTES = (
    Route("DELETE", "/v1/users/{id}", delete_user, ADMIN, "Erase a user", {202: Erasing}),
    Route("GET", "/v1/erasures/{id}", get_certificate, ADMIN, "The certificate of an erasure", {200: dict[str, Any]}),
)
