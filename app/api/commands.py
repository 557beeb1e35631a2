"""Commands out of bodies: made, checked as on the topic, and published where they belong."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.api.call import Call
from app.api.problems import Problem, problem_of
from app.store.publisher import Outgoing, PublishError
from schemas.commands import ActivitySeen, AnyCommand, ConsentSet, DeviceAdd, ProfileSet, read_command
from schemas.decode import Invalid, UserId
from schemas.instants import rfc3339
from schemas.topics import COMMANDS
from tables.preferences import NO_WISHES, with_consent
from tables.profiles import NOBODY, checked_zone, device_said, with_device, with_profile

#: What a body may not say: the gateway does.
GIVEN = ("type", "id", "at", "user_id")

_ATTEMPTS = 3


def command_of(call: Call, kind: str, user_id: str | None, fields: Mapping[str, Any]) -> AnyCommand:
    """A command of the caller's fields; raises Problem with the field that can't be."""
    given = {"type": kind, "id": call.deps.new_id(), "at": rfc3339(call.deps.clock()), "user_id": user_id}
    try:
        return read_command(msgspec.json.encode({**fields, **given}))
    except Invalid as invalid:
        raise problem_of(invalid) from invalid


async def publish_command(call: Call, command: AnyCommand) -> int:
    """Returns the command's offset in its user's partition, once every in-sync replica has it."""
    assert command.user_id is not None
    _, offset = await call.deps.publisher.publish(COMMANDS, command.user_id.encode(), msgspec.json.encode(command))
    return offset


async def publish_everywhere(call: Call, command: AnyCommand) -> None:
    """A command without a user goes to every partition, again until each has it; it is the same command by its id.
    Raises PublishError."""
    value = msgspec.json.encode(command)
    records = [Outgoing(COMMANDS, None, value, partition) for partition in range(call.deps.partitions)]
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await call.deps.publisher.publish_many(records)
        except PublishError:
            if attempt == _ATTEMPTS:
                raise
        else:
            return


async def command_user(call: Call, kind: str, fields: Mapping[str, Any]) -> int:
    """Publishes a command about the path's user; returns its offset. Raises Problem for one that the router would
    refuse."""
    return await publish_checked(call, command_of(call, kind, user_of(call), fields))


async def publish_checked(call: Call, command: AnyCommand) -> int:
    """As ``publish_command``. Raises Problem for a command that the router would refuse."""
    try:
        _check(command)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    return await publish_command(call, command)


def _check(command: AnyCommand) -> None:
    """What a command says of a user, tried as the router will apply it."""
    match command:
        case ProfileSet():
            with_profile(NOBODY, command)
        case DeviceAdd():
            with_device(NOBODY, device_said(command, 0), command.timezone)
        case ActivitySeen():
            checked_zone(command.timezone)
        case ConsentSet():
            with_consent(NO_WISHES, command)
        case _:
            pass


def user_of(call: Call) -> str:
    """The path's user id; raises Problem for what can't be one."""
    try:
        call.path("id").encode()
        return msgspec.convert(call.path("id"), UserId)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise Problem(400, "is not a user id", "id") from error
