"""Erasing a user, and the certificate that says what was done where, by whom and when, and what is still to come."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Struct

from app.api.audit_log import audited
from app.api.call import Call, Deps, answer
from app.api.callers import ADMIN, ADMIN_READ
from app.api.commands import command_of, publish_command, user_of
from app.api.problems import unknown
from app.api.routes import Route
from app.domain.partition import partition_of
from app.store.owner_client import OwnerUnavailableError
from schemas.instants import parse_ms, rfc3339
from schemas.words import CHANNELS

#: The roles that keep tables: each has its own of the user.
_ROLES = ("router", *CHANNELS)
_MS = timedelta(milliseconds=1)


class Erasing(Struct, frozen=True):
    erasure_id: str
    status: Literal["accepted"] = "accepted"


class Done(Struct, frozen=True, omit_defaults=True):
    """What one part of the system did. Times are RFC 3339; one that is missing is still to come."""

    where: str
    by: str | None = None
    #: The rows were deleted.
    deleted_at: str | None = None
    #: The store's files, and the compacted topics, were found to hold none of them any more.
    store_compacted_at: str | None = None
    log_compacted_at: str | None = None
    #: Of ClickHouse: the mutation that emptied the rows was finished.
    redacted_at: str | None = None


class Pending(Struct, frozen=True, omit_defaults=True):
    """What is still to come. ``until``: the latest time at which it will have been done by itself."""

    where: str
    what: str
    until: str | None = None


class Certificate(Struct, frozen=True):
    """``status``: ``done`` when every part has reported that it is; topics with a time limit go on letting go."""

    erasure_id: str
    erased_at: str
    status: Literal["pending", "done"]
    deleted: list[str]
    remains: list[str]
    done: list[Done]
    pending: list[Pending]
    #: The topics that let go of the user's records by themselves, and when the last of them is gone.
    time_limited: dict[str, str]


async def delete_user(call: Call) -> web.Response:
    """The erasure's id is its command's, and ends with the user's partition, where the certificate lies."""
    user_id = user_of(call)
    partition = partition_of(user_id.encode(), call.deps.partitions)
    erasure_id = f"{call.deps.new_id()[:-4]}{partition:04x}"
    command = msgspec.structs.replace(command_of(call, "user.erase", user_id, {}), id=erasure_id)
    await audited(call, f"erasure {erasure_id}")  # (the user's id would outlive what is known of the user)
    await publish_command(call, command)
    return answer(Erasing(erasure_id), 202)


async def get_certificate(call: Call) -> web.Response:
    erasure_id, deps = call.path("id"), call.deps
    partition = deps.erased.partition_of(erasure_id)
    if partition is None:
        partition = _partition_in(erasure_id)
    if partition is None or partition >= deps.partitions:
        raise unknown("the erasure")
    asked = {"erasure_id": erasure_id}
    known = await deps.owner.read_partition("router", partition, "erasure", asked)
    if known is None:
        raise unknown("the erasure")
    reports = await asyncio.gather(*(_report(deps, role, partition, asked) for role in _ROLES))
    erased_at = known["erased_at"]
    done = [*(_done(role, erased_at, *report) for role, report in zip(_ROLES, reports, strict=True))]
    done.append(_clickhouse(deps, erasure_id))
    pending = [each for part in done for each in _pending(part)]
    certificate = Certificate(
        erasure_id=erasure_id,
        erased_at=erased_at,
        status="pending" if pending else "done",
        deleted=known["deleted"],
        remains=known["remains"],
        done=done,
        pending=pending,
        time_limited=_time_limited(deps.retentions, parse_ms(erased_at)),
    )
    return answer(certificate)


_Report = tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]


async def _report(deps: Deps, role: str, partition: int, asked: Mapping[str, str]) -> _Report:
    """When the role deleted the rows, and what its owner has seen of store and log since."""
    if deps.owners.owner_of(role, partition) is None:
        return None, None  # it isn't waited for: what it has to do is pending
    try:
        deleted, reclaiming = await asyncio.gather(
            deps.owner.read_partition(role, partition, "erasure", asked),
            deps.owner.read_partition(role, partition, "reclaiming", {}),
        )
    except OwnerUnavailableError:
        return None, None
    return deleted, reclaiming


def _done(role: str, erased_at: str, deleted: Mapping[str, Any] | None, reclaiming: Mapping[str, Any] | None) -> Done:
    deleted_at = deleted["erased_at"] if deleted is not None else None
    before = reclaiming["erased_before"] if reclaiming is not None else None
    by = reclaiming["by"] if reclaiming is not None else None
    if reclaiming is None or deleted_at is None or before is None or parse_ms(before) < parse_ms(deleted_at):
        return Done(role, by=by, deleted_at=deleted_at)
    return Done(
        role,
        by=by,
        deleted_at=deleted_at,
        store_compacted_at=reclaiming["store_compacted_at"],
        log_compacted_at=reclaiming["log_compacted_at"],
    )


def _clickhouse(deps: Deps, erasure_id: str) -> Done:
    redacted = deps.erased.redacted.get(erasure_id)
    return Done("clickhouse") if redacted is None else Done("clickhouse", redacted.by, redacted_at=rfc3339(redacted.at))


def _pending(part: Done) -> list[Pending]:
    if part.where == "clickhouse":
        what = "details of the user's events are emptied"
        return [] if part.redacted_at is not None else [Pending(part.where, what)]
    missing = {
        "rows are deleted": part.deleted_at,
        "the store is compacted": part.store_compacted_at,
        "changelogs and journal are compacted": part.log_compacted_at,
    }
    return [Pending(part.where, what) for what, at in missing.items() if at is None]


def _time_limited(retentions: Mapping[str, timedelta], erased_ms: int) -> dict[str, str]:
    return {topic: rfc3339(erased_ms + kept // _MS) for topic, kept in sorted(retentions.items())}


def _partition_in(erasure_id: str) -> int | None:
    try:
        return int(UUID(erasure_id).hex[-4:], 16)
    except ValueError:
        return None


ROUTES = (
    Route("DELETE", "/v1/users/{id}", delete_user, ADMIN, "Erase a user", {202: Erasing}, action="user.erase"),
    Route("GET", "/v1/erasures/{id}", get_certificate, ADMIN_READ, "The certificate of an erasure", {200: Certificate}),
)
