"""Broadcasting: commands of the router's own, to itself and the channels' roles, so that all know the same."""

import msgspec

from agents.desk import Desk
from schemas.commands import AnyCommand
from schemas.topics import COMMANDS


def command(desk: Desk, said: AnyCommand) -> None:
    """To the user's own partition."""
    assert said.user_id is not None
    desk.out.send(COMMANDS, said.user_id.encode(), msgspec.json.encode(said))


def to_all(desk: Desk, said: AnyCommand) -> None:
    """To every partition: it speaks of whoever has an address or a token."""
    value = msgspec.json.encode(said)
    for partition in range(desk.partitions):
        desk.out.send(COMMANDS, None, value, partition=partition)
