"""What the router decides with: one batch's tables, outputs and time, and the policy in force."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.domain.catalog import Catalog
from app.domain.out import Out
from app.domain.policy import Policy
from app.domain.routing import Providers
from tables.router import RouterState

if TYPE_CHECKING:
    from agents.router.notification_record import NotificationRecord
    from agents.router.retire_devices import MoveLog


@dataclass(slots=True)
class RouterContext:
    """``now``: Unix ms, ``now_text`` the same as RFC 3339. ``partitions``: how many the topics have. ``secret``: the
    installation's, which signs what only its own roles may write. ``moves``: which moves of tokens are logged."""

    catalog: Catalog
    providers: Providers
    partitions: int
    state: RouterState
    out: Out
    now: int
    now_text: str
    secret: bytes
    moves: "MoveLog"
    #: The notifications that the record (or due row) in hand has loaded, by their keys: one object for each row.
    loaded: "dict[bytes, NotificationRecord]" = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        return self.catalog.policy

    def flush(self) -> None:
        """Writes what the record changed of notifications: the only place where it is done."""
        for notification in self.loaded.values():
            notification.write()
        self.loaded.clear()
