"""A user's devices: where push goes."""

from typing import Any

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer, no_content
from app.api.callers import OWN_OR_ADMIN, OWN_OR_ADMIN_READ
from app.api.commands import check_in_path
from app.api.problems import unknown
from app.api.routes import Route
from app.api.state import read, write_and_read
from schemas.commands import DeviceAdd
from schemas.instants import Instant
from schemas.words import Platform

_PATH = "/v1/users/{id}/devices"


class Device(Struct, frozen=True):
    """``token``: only its last four characters."""

    device_id: str
    platform: Platform
    token: str | None
    app_id: str | None
    locale: str | None
    registered_at: Instant


class Devices(Struct, frozen=True):
    devices: list[Device]


async def get(call: Call) -> web.Response:
    return answer({"devices": await read(call, "devices") or []})


async def post(call: Call) -> web.Response:
    """Adds or renews a device; its token is taken from any other user."""
    fields = await call.fields()
    check_in_path(fields.get("device_id", ""), "device_id")
    devices = await write_and_read(call, "device.add", fields, "devices")
    added = _named(devices, fields["device_id"])
    if added is None:
        raise unknown("a user who was erased")
    return answer(added, 201)


async def delete(call: Call) -> web.Response:
    device_id = call.path("device_id")
    if _named(await read(call, "devices"), device_id) is None:
        raise unknown("the device")
    await write_and_read(call, "device.remove", {"device_id": device_id}, "devices")
    return no_content()


def _named(devices: list[dict[str, Any]] | None, device_id: str) -> dict[str, Any] | None:
    return next((device for device in devices or [] if device["device_id"] == device_id), None)


ROUTES = (
    Route("GET", _PATH, get, OWN_OR_ADMIN_READ, "A user's devices", {200: Devices}),
    Route("POST", _PATH, post, OWN_OR_ADMIN, "Add or renew a device", {201: Device}, body=DeviceAdd),
    Route("DELETE", f"{_PATH}/{{device_id}}", delete, OWN_OR_ADMIN, "Remove a device", {204: None}),
)
