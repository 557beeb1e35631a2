"""Broadcasting: what the router learnt of tokens and addresses, for itself and the channels' roles; and commands of
its own about one user."""

import msgspec

from agents.desk import Desk
from agents.intakes import position_of
from agents.placement import check_keyless, check_place
from agents.retiring import report_retired
from app.ports import LogRecord
from schemas.broadcasts import AddressSuppressed, Broadcast, TokenDead, TokenTaken, encode_broadcast, read_broadcast
from schemas.commands import AnyCommand
from schemas.topics import BROADCASTS, COMMANDS
from tables.knowledge import Claim


def command(desk: Desk, said: AnyCommand) -> None:
    """To the user's own partition."""
    assert said.user_id is not None
    desk.out.send(COMMANDS, said.user_id.encode(), msgspec.json.encode(said))


def to_all(desk: Desk, said: TokenTaken | AddressSuppressed) -> None:
    """To every partition: it speaks of whoever has a token or an address."""
    value = encode_broadcast(said)
    for partition in range(desk.partitions):
        desk.out.send(BROADCASTS, None, value, partition=partition)


def to_owner(desk: Desk, said: TokenDead) -> None:
    """To the user's own partition, which is this one."""
    desk.out.send(BROADCASTS, said.user_id.encode(), encode_broadcast(said))


def broadcast_in(record: LogRecord, partitions: int) -> Broadcast:
    """The broadcast of a record that lies where it belongs. Raises Invalid."""
    assert record.value is not None
    said = read_broadcast(record.value)
    if isinstance(said, TokenDead):
        check_place(record, said.user_id, partitions)
    else:
        check_keyless(record)
    return said


def claim_token(desk: Desk, claim: Claim) -> None:
    """Takes a device's token from any other user, wherever they are."""
    to_all(desk, TokenTaken(token_hash=claim.token_hash.hex(), user_id=claim.user_id, since=claim.since_ms))


def take_broadcast(desk: Desk, record: LogRecord) -> None:
    """Takes one record of the router's own broadcasts. Raises Invalid with the field."""
    change = desk.state.known.learn(broadcast_in(record, desk.partitions))
    report_retired(desk, change.retired, position_of(record))
    if change.claim is not None:
        claim_token(desk, change.claim)
