"""What the router decides with: one batch's tables, outputs and time, and what is in force."""

from dataclasses import dataclass

from app.domain.catalog import Catalog
from app.domain.out import Out
from app.domain.policy import Policy
from app.domain.routing import Providers
from tables.router import RouterState


@dataclass(slots=True)
class Desk:
    """``now``: Unix ms, ``now_text`` the same as RFC 3339. ``partitions``: how many the topics have."""

    catalog: Catalog
    providers: Providers
    partitions: int
    state: RouterState
    out: Out
    now: int
    now_text: str

    @property
    def policy(self) -> Policy:
        return self.catalog.policy
