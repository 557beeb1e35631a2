"""What the router learned of tokens and addresses, for itself and the channels' roles; and commands of its own about
one user."""

import msgspec

from agents.router.context import RouterContext
from agents.router.retire_devices import report_retired
from agents.shared.broadcasts import read_placed_broadcast
from agents.shared.subscriptions import position_of
from app.ports import LogRecord
from schemas.broadcasts import AddressSuppressed, TokenDead, TokenTaken, encode_broadcast
from schemas.commands import AnyCommand
from schemas.topics import BROADCASTS, COMMANDS
from tables.knowledge import Claim


def command(context: RouterContext, message: AnyCommand) -> None:
    """To the user's own partition."""
    assert message.user_id is not None
    context.out.send(COMMANDS, message.user_id.encode(), msgspec.json.encode(message))


def to_all(context: RouterContext, message: TokenTaken | AddressSuppressed) -> None:
    """To every partition: it speaks of whoever has a token or an address."""
    value = encode_broadcast(message)
    for partition in range(context.partitions):
        context.out.send(BROADCASTS, None, value, partition=partition)


def to_owner(context: RouterContext, message: TokenDead) -> None:
    """To the user's own partition, which is this one."""
    context.out.send(BROADCASTS, message.user_id.encode(), encode_broadcast(message))


def claim_token(context: RouterContext, claim: Claim) -> None:
    """Takes a device's token from any other user, wherever they are."""
    to_all(context, TokenTaken(token_hash=claim.token_hash.hex(), user_id=claim.user_id, since=claim.since_ms))


def take_broadcast(context: RouterContext, record: LogRecord) -> None:
    """Takes one record of the router's own broadcasts. Raises Invalid with the field."""
    change = context.state.known.learn(read_placed_broadcast(record, context.partitions))
    report_retired(context, change.retired, position_of(record))
    if change.claim is not None:
        claim_token(context, change.claim)
