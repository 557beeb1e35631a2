"""What became of the variants of a campaign or a template, and of those whom a holdout kept it from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.store.queries import Limits, Queries

Kind = Literal["campaign", "template"]
#: What is counted of the sends of a variant.
MEASURES = ("opened", "clicked", "opted_out")
_COLUMNS: Mapping[Kind, str] = {"campaign": "campaign_id", "template": "template_id"}
_LIMITS = Limits(rows=10_000)


@dataclass(frozen=True, slots=True)
class Variant:
    """``counts``: of the sends that were sent, how many were opened and clicked by a person, and opted out."""

    channel: str
    variant: str | None
    versions: tuple[int, ...]
    sent: int
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

    async def variants(self, kind: Kind, name: str, version: int | None = None) -> list[Variant]:
        """Of sends that a provider accepted, by channel and variant. ``version``: of the template; None: all."""
        of = "" if version is None else f" AND template_version = {version}"
        rows = await self._rows(
            "SELECT channel, variant, arraySort(groupUniqArrayIf(ifNull(template_version, 0), "
            "template_version IS NOT NULL)), count(), countIf(opened), countIf(clicked), countIf(unsubscribed) "
            f"FROM notify.outcomes WHERE status = 'sent' AND {_COLUMNS[kind]} = {quoted(name)}{of} "
            "GROUP BY channel, variant ORDER BY channel, variant"
        )
        return [
            Variant(row[0] or "", row[1], tuple(row[2]), row[3], dict(zip(MEASURES, row[4:], strict=True)))
            for row in rows
        ]

    async def reach(self, campaign: str, goal: str | None = None, within_s: int = 0) -> tuple[Reach, Reach]:
        """The campaign's users, each once, whatever they got; those who were held out come second. ``goal``: an event
        type that they reach by a notification of it which was accepted within ``within_s`` after the campaign's own."""
        treated = (
            "SELECT user_id, minIf(occurred_at, status = 'accepted') AS began, "
            "max(ifNull(reason, '') = 'holdout') AS held "
            f"FROM notify.lifecycle WHERE campaign_id = {quoted(campaign)} GROUP BY user_id"
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


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
