"""Tickets: what opens one stream of a user's inbox where no header can be sent, as from a browser's EventSource.

A ticket is signed, so every gateway knows one that another made. That it is good for one stream only, the log decides:
each gateway writes a claim to the user's partition before it opens the stream, and reads it back; the first claim of a
ticket wins, whichever gateway wrote it. A gateway that starts reads claims from before any ticket of now was made.
"""

import asyncio
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable

import msgspec
from msgspec import Struct

from app.api.problems import Problem, later
from app.domain.signatures import is_signature, signature_of
from app.ports import Publisher
from schemas.inbox_changes import TicketClaim, encode_inbox_record
from schemas.topics import INBOX_CHANGES

TICKET_MS = 60_000
#: From so long ago on claims are read by a gateway that starts: clocks differ, too.
CLAIMS_MS = TICKET_MS + 60_000
_USE = b"tocsin inbox ticket 1"
_MOST_CHARS = 2_048
_CLAIMED_S = 5.0


class Ticket(Struct, frozen=True, array_like=True):
    """``expires``: until when it opens a stream; ``ends``: when that stream ends. Unix ms."""

    id: str
    user_id: str
    expires: int
    ends: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Ticket).decode


class Tickets:
    """``secret``: the installation's. ``clock``: Unix ms."""

    def __init__(self, secret: bytes, publisher: Publisher, clock: Callable[[], int]) -> None:
        self._secret = secret
        self._publisher = publisher
        self._clock = clock
        #: By ticket: the claim that came first, and until when the ticket is good.
        self._first: dict[str, tuple[str, int]] = {}
        self._waiting: dict[str, asyncio.Future[bool]] = {}

    def make(self, user_id: str, ends: int) -> tuple[str, int]:
        """A ticket, and until when it is good (Unix ms): never longer than the token, which ends at ``ends``."""
        expires = min(self._clock() + TICKET_MS, ends)
        encoded = _encode(Ticket(secrets.token_urlsafe(16), user_id, expires, ends))
        body = urlsafe_b64encode(encoded).decode().rstrip("=")
        return f"{body}.{signature_of(self._secret, _USE, [encoded])}", expires

    def read(self, text: str) -> Ticket:
        """One of ours that is good now, as far as it alone shows. Raises Problem 401."""
        body, _, signature = text.partition(".")
        try:
            encoded = urlsafe_b64decode(body + "=" * (-len(body) % 4)) if len(text) <= _MOST_CHARS else b""
            if not is_signature(signature_of(self._secret, _USE, [encoded]), signature.encode()):
                raise _refused("the ticket is not one of ours")
            ticket = _decode(encoded)
        except (ValueError, msgspec.MsgspecError) as error:
            raise _refused("the ticket is not one of ours") from error
        if ticket.expires <= self._clock():
            raise _refused("the ticket has expired: take a new one for each stream")
        if ticket.id in self._first:
            raise _used()
        return ticket

    async def claim(self, ticket: Ticket) -> None:
        """Returns when the ticket is this stream's, and nobody else's. Raises Problem 401, 503, PublishError."""
        name = secrets.token_urlsafe(16)
        waiting = self._waiting[name] = asyncio.get_running_loop().create_future()
        claim = TicketClaim(user_id=ticket.user_id, ticket=ticket.id, claim=name, expires=ticket.expires)
        try:
            await self._publisher.publish(INBOX_CHANGES, ticket.user_id.encode(), encode_inbox_record(claim))
            async with asyncio.timeout(_CLAIMED_S):
                is_first = await waiting
        except TimeoutError:
            raise later("the log doesn't show the ticket's claim; take a new ticket") from None
        finally:
            del self._waiting[name]
        if not is_first:
            raise _used()

    def take(self, claim: TicketClaim) -> None:
        """The next claim in the log."""
        now = self._clock()
        while self._first and next(iter(self._first.values()))[1] <= now - TICKET_MS:
            del self._first[next(iter(self._first))]
        first, _ = self._first.setdefault(claim.ticket, (claim.claim, min(claim.expires, now + TICKET_MS)))
        waiting = self._waiting.get(claim.claim)
        if waiting is not None and not waiting.done():
            waiting.set_result(first == claim.claim)


def _refused(detail: str) -> Problem:
    return Problem(401, detail, "ticket", headers={"WWW-Authenticate": "Bearer"})


def _used() -> Problem:
    return _refused("the ticket was used: take a new one for each stream")
