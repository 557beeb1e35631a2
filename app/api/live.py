"""What the gateway takes of ``tocsin_inbox_changes``: changes for the streams, claims for the tickets."""

from dataclasses import dataclass

from app.api.streams import Streams
from app.api.tickets import Tickets
from schemas.inbox_changes import InboxChange, TicketClaim


@dataclass(frozen=True, slots=True)
class Live:
    """See ``app.store.inbox_follower.Follows``."""

    streams: Streams
    tickets: Tickets

    def wants(self, user_id: bytes) -> bool:
        return self.streams.wants(user_id)

    def take_change(self, change: InboxChange) -> None:
        self.streams.take_change(change)

    def take_claim(self, claim: TicketClaim) -> None:
        self.tickets.take(claim)

    def lost(self) -> None:
        self.streams.lost()
