"""Commands out of bodies: made, checked as on the topic, and published where they belong."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.api.call import Call
from app.api.problems import Problem, problem_of
from app.domain.bounds import Bounds
from app.domain.ids import derived_id
from app.store.publisher import Outgoing
from schemas.commands import ActivitySeen, AnyCommand, ConsentSet, DeviceAdd, ProfileSet, read_command
from schemas.decode import IdempotencyKey, Invalid, UserId
from schemas.instants import rfc3339
from schemas.topics import COMMANDS
from tables.preferences import NO_WISHES, with_consent
from tables.profiles import NOBODY, checked_zone, device_said, with_device, with_profile

#: What a body may not say: the gateway does.
GIVEN = ("type", "id", "at", "user_id")

_ATTEMPTS = 3


def command_of(
    call: Call, kind: str, user_id: str | None, fields: Mapping[str, Any], command_id: str | None = None
) -> AnyCommand:
    """A command of the caller's fields; raises Problem with the field that can't be. ``command_id`` None: a new one."""
    name = command_id or call.deps.new_id()
    given = {"type": kind, "id": name, "at": rfc3339(call.deps.clock()), "user_id": user_id}
    try:
        return read_command(msgspec.json.encode({**fields, **given}))
    except Invalid as invalid:
        raise problem_of(invalid) from invalid


async def publish_command(call: Call, command: AnyCommand) -> int:
    """Returns the command's offset in its user's partition, once every in-sync replica has it."""
    assert command.user_id is not None
    _, offset = await call.deps.publisher.publish(COMMANDS, command.user_id.encode(), msgspec.json.encode(command))
    return offset


async def command_all(call: Call, kind: str, fields: Mapping[str, Any]) -> None:
    """Publishes a command without a user to every partition, again until each has it.

    Raises Problem: 503, with the partitions that acknowledged it and those that didn't. The same call with the same
    idempotency key writes the same command, which partitions that have it pass over.
    """
    key = _idempotency_key(call)
    command = command_of(call, kind, None, fields, _id_for_all(call, key, kind, fields))
    missing = await publish_to_all(call, msgspec.json.encode(command))
    if not missing:
        return
    raise _not_everywhere(key, missing, call.deps.partitions)


async def publish_to_all(call: Call, value: bytes) -> Sequence[int]:
    """Publishes a command without a user to every partition, again until each has it; returns those that haven't
    acknowledged it even so."""
    missing = list(range(call.deps.partitions))
    for _ in range(_ATTEMPTS):
        records = [Outgoing(COMMANDS, None, value, partition) for partition in missing]
        positions = await call.deps.publisher.publish_each(records)
        missing = [partition for partition, at in zip(missing, positions, strict=True) if at is None]
        if not missing:
            break
    return missing


def _idempotency_key(call: Call) -> str:
    """The header's, else a new one."""
    given = call.request.headers.get("Idempotency-Key")
    if given is None:
        return call.deps.new_id()
    try:
        given.encode()
        return msgspec.convert(given, IdempotencyKey)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise Problem(400, "is not an idempotency key", "idempotency_key") from error


def _id_for_all(call: Call, key: str, kind: str, fields: Mapping[str, Any]) -> str:
    """The same key with something else to say is another command."""
    encoded = msgspec.json.encode(fields, order="sorted").decode()
    return derived_id("command for all", call.service.source, key, kind, encoded)


def _not_everywhere(key: str, missing: Sequence[int], partitions: int) -> Problem:
    acknowledged = sorted(set(range(partitions)) - set(missing))
    return Problem(
        503,
        f"partitions {_listed(missing)} of the log haven't acknowledged the command, so it may not be in force there; "
        f"call again with the header Idempotency-Key: {key}",
        headers={"Retry-After": "1"},
        more={
            "idempotency_key": key,
            "partitions": {"acknowledged": acknowledged, "unacknowledged": list(missing)},
        },
    )


def _listed(partitions: Sequence[int]) -> str:
    return ", ".join(str(partition) for partition in partitions)


async def command_user(call: Call, kind: str, fields: Mapping[str, Any]) -> int:
    """Publishes a command about the path's user; returns its offset. Raises Problem for one that the router would
    refuse."""
    return await publish_checked(call, command_of(call, kind, user_of(call), fields))


async def publish_checked(call: Call, command: AnyCommand) -> int:
    """As ``publish_command``. Raises Problem for a command that the router would refuse."""
    try:
        check_user_facts(command, call.deps.config.catalog.bounds)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    return await publish_command(call, command)


def check_user_facts(command: AnyCommand, bounds: Bounds) -> None:
    """What a command says of a user, tried as the router will apply it. Raises Invalid."""
    match command:
        case ProfileSet():
            with_profile(NOBODY, command)
        case DeviceAdd():
            with_device(NOBODY, device_said(command, 0, bounds.push_hosts), command.timezone)
        case ActivitySeen():
            checked_zone(command.timezone)
        case ConsentSet():
            with_consent(NO_WISHES, command)
        case _:
            pass


def check_in_path(name: str, field: str) -> None:
    """Raises Problem for a name that couldn't stand in a path: clients resolve it before they call (RFC 3986, 5.2.4),
    percent-encoded too."""
    if name in (".", ".."):
        raise Problem(422, "must not be . or .., because no path could name it", field)


def user_of(call: Call) -> str:
    """The path's user id; raises Problem for what can't be one."""
    try:
        call.path("id").encode()
        return msgspec.convert(call.path("id"), UserId)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise Problem(400, "is not a user id", "id") from error
