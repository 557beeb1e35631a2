"""What became of the variants of a campaign or a template, and of those whom a holdout kept it from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.store.queries import Limits, Queries
from app.store.sql import quoted

Kind = Literal["campaign", "template"]
#: What is counted of the sends of a variant.
MEASURES = ("opened", "clicked", "opted_out")
_COLUMNS: Mapping[Kind, str] = {"campaign": "campaign_id", "template": "template_id"}
_LIMITS = Limits(rows=10_000)
#: The user of what ``outcomes`` calls a recipient: 32 bits of a hash, so of a million about a hundred pass for others.
_USER = "bitAnd(recipient, 4294967295)"
_RECIPIENT = (
    "bitOr(bitShiftLeft(bitShiftRight(cityHash64(notification_id), 32), 32), bitShiftRight(cityHash64(user_id), 32))"
)


@dataclass(frozen=True, slots=True)
class Variant:
    """``users``: to whom something was sent; ``counts``: how many of them opened and clicked it, and opted out."""

    channel: str
    variant: str | None
    versions: tuple[int, ...]
    users: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Reach:
    """Users of a campaign: those who were to get it (``held_out`` False) or were held out, and how many of them had the
    goal's event within the time."""

    held_out: bool
    users: int
    reached_goal: int


class Experiments:
    """All methods raise Unavailable, QueryRefused."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def kinds(self, name: str) -> list[Kind]:
        """As what the name is known."""
        named = ", ".join(f"countIf({column} = {quoted(name)})" for column in _COLUMNS.values())
        where = " OR ".join(f"{column} = {quoted(name)}" for column in _COLUMNS.values())
        [row] = await self._rows(f"SELECT {named} FROM notify.outcomes WHERE {where}")
        found: list[Kind] = [kind for kind, count in zip(_COLUMNS, row, strict=True) if count]
        if "campaign" not in found and (await self.reach(name))[0].users:
            found.insert(0, "campaign")
        return found

    async def sources(self, campaign: str) -> list[str]:
        """Whose campaigns of that name the events show that are kept: each source names its own."""
        sql = f"SELECT DISTINCT source FROM notify.lifecycle WHERE campaign_id = {quoted(campaign)} AND source != ''"
        return [row[0] for row in await self._rows(f"{sql} ORDER BY source")]

    async def has_expired(self, campaign: str) -> bool:
        """Whether events of the campaign are no longer kept, though it still is what its sends came to."""
        [[expired]] = await self._rows(
            "SELECT ifNull(min(accepted_at) < (SELECT minOrNull(occurred_at) FROM notify.lifecycle), count() > 0) "
            f"FROM notify.outcomes WHERE campaign_id = {quoted(campaign)}"
        )
        return bool(expired)

    async def variants(
        self, kind: Kind, name: str, version: int | None = None, source: str | None = None
    ) -> list[Variant]:
        """Of sends that a provider accepted, by channel and variant, each user once: a variant is given to a user, and
        what several sends to one come to isn't independent. ``version``: of the template; None: all. ``source``: of the
        campaign."""
        of = "" if version is None else f" AND template_version = {version}"
        if source is not None:
            of += (
                f" AND recipient IN (SELECT {_RECIPIENT} FROM notify.lifecycle "
                f"WHERE campaign_id = {quoted(name)} AND source = {quoted(source)})"
            )
        rows = await self._rows(
            "SELECT channel, variant, arraySort(groupUniqArrayIf(ifNull(template_version, 0), "
            f"template_version IS NOT NULL)), uniqExact({_USER}), uniqExactIf({_USER}, opened), "
            f"uniqExactIf({_USER}, clicked), uniqExactIf({_USER}, unsubscribed) "
            f"FROM notify.outcomes WHERE status = 'sent' AND {_COLUMNS[kind]} = {quoted(name)}{of} "
            "GROUP BY channel, variant ORDER BY channel, variant"
        )
        return [
            Variant(row[0] or "", row[1], tuple(row[2]), row[3], dict(zip(MEASURES, row[4:], strict=True)))
            for row in rows
        ]

    async def reach(
        self, campaign: str, goal: str | None = None, within_s: int = 0, source: str | None = None
    ) -> tuple[Reach, Reach]:
        """The campaign's users, each once, whatever they got; those who were held out come second. ``goal``: an event
        type that they reach by a notification of it which was accepted within ``within_s`` after the campaign's own.
        Whose own acceptance has expired isn't counted."""
        of = "" if source is None else f" AND max(ifNull(source, '')) = {quoted(source)}"
        treated = (
            "SELECT user_id, minIf(occurred_at, status = 'accepted') AS began, "
            "max(ifNull(reason, '') = 'holdout') AS held "
            f"FROM notify.lifecycle WHERE campaign_id = {quoted(campaign)} GROUP BY notification_id, user_id "
            f"HAVING countIf(status = 'accepted') > 0{of}"
        )
        reached = (
            f"SELECT user_id, occurred_at AS at FROM notify.lifecycle WHERE event_type = {quoted(goal or '')} "
            f"AND status = 'accepted' AND ifNull(campaign_id, '') != {quoted(campaign)}"
        )
        in_time = f"at >= began AND at < began + toIntervalSecond({within_s})"
        rows = await self._rows(
            f"SELECT held, uniqExact(user_id), uniqExactIf(user_id, {in_time}) "
            f"FROM ({treated}) AS treated LEFT JOIN ({reached}) AS reached USING (user_id) GROUP BY held"
        )
        found = {bool(held): Reach(bool(held), users, count) for held, users, count in rows}
        return found.get(False, Reach(False, 0, 0)), found.get(True, Reach(True, 0, 0))

    async def _rows(self, sql: str) -> list[list[Any]]:
        return (await self._queries.run(sql, _LIMITS)).rows
