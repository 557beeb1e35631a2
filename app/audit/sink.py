"""Check 4, the sink: ClickHouse holds each lifecycle event of the range once, as it lies in the log.

Stretches of a partition are compared by how many rows they have and a sum of their hashes, which ClickHouse computes;
only where these differ, row by row. What an erasure takes from a row isn't compared.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.audit.findings import Finding, Progress
from app.audit.recorded import Span, check_topics, log_reader, read_spans, spans_of, total
from app.store.groups import committed_offsets
from app.store.lifecycle_rows import COLUMNS, Row, read_rows
from app.store.lifecycle_sink import GROUP
from app.store.queries import Answer, Limits
from app.store.sql import quoted
from schemas.instants import rfc3339
from schemas.topics import LIFECYCLE

_VIEW = "notify.lifecycle"
#: Rows that are compared, or asked for by name, at once.
_STRETCH, _NAMED = 20_000, 400
_LIMITS = Limits(rows=10 * _STRETCH)
_DAY_MS = 86_400_000
_WRAP = 1 << 64

#: What is compared of a row. What erasure takes (``sql/redact.sql``) isn't, nor what the sink makes of other columns.
_SAME = (
    *("event_id", "notification_id", "user_id", "send_id", "status", "channel", "provider", "attempt", "event_type"),
    *("category", "priority", "source", "campaign_id", "template_id", "template_version", "variant", "policy_version"),
    *("replay_id", "occurred_at"),
)
_AT = {name: COLUMNS.index(name) for name in (*_SAME, "topic_partition", "topic_offset", "recorded_at")}
_TEXT = ", '\\n', ".join(
    "toString(toUnixTimestamp64Milli(occurred_at))" if name == "occurred_at" else f"ifNull(toString({name}), '')"
    for name in _SAME
)
#: The first eight bytes of a hash, as a number.
_MARK = f"reinterpretAsUInt64(substring(MD5(concat({_TEXT})), 1, 8))"


class Asks(Protocol):
    """What runs SQL (``app.store.queries.Queries``)."""

    async def run(self, sql: str, limits: Limits | None = None) -> Answer: ...


@dataclass(frozen=True, slots=True)
class SinkTerms:
    """Times are Unix ms; ``from_ms`` None: from the beginning of what is kept. ``kept_days``: of rows in ClickHouse."""

    partitions: int
    from_ms: int | None
    to_ms: int
    kept_days: int


async def check_sink(client_options: Mapping[str, Any], queries: Asks, terms: SinkTerms, progress: Progress) -> Finding:
    """Raises KafkaError, LookupError for a missing topic; QueryRefused, Unavailable where ClickHouse can't be asked."""
    committed = await committed_offsets(client_options, GROUP)
    check = _Check(queries, terms)
    async with log_reader(client_options) as consumer:
        await check_topics(consumer, [LIFECYCLE])
        found = await spans_of(consumer, LIFECYCLE, terms.partitions, terms.from_ms)
        spans = {place: check.carried(span, committed.get(place, 0)) for place, span in found.items()}
        done, of = 0, total(spans)

        def passed(offsets: int) -> None:
            nonlocal done
            done += offsets
            progress(done, of)

        for place, span in spans.items():
            async for _, records in read_spans(consumer, {place: span}, passed):
                await check.take(place, records)
            await check.end(place)
    return check.finding


class _Check:
    def __init__(self, queries: Asks, terms: SinkTerms) -> None:
        self.finding = Finding("sink")
        self._queries = queries
        self._terms = terms
        self._rows: list[Row] = []
        self._oldest_ms = terms.to_ms - (terms.kept_days - 1) * _DAY_MS

    def carried(self, span: Span, committed: int) -> Span:
        """As far as the sink has come; it is a moment behind."""
        end = max(span.start, min(span.end, committed))
        self.finding.not_covered["events that the sink hasn't written yet"] += span.end - end
        return Span(span.start, end, span.begin)

    async def take(self, place: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        rows, refused, empty = read_rows(
            [r for r in records if (self._terms.from_ms or 0) <= r.timestamp < self._terms.to_ms or r.timestamp < 0]
        )
        self.finding.not_covered["records that are no event, and become dead letters"] += len(refused) + empty
        for row in rows:
            if row[_AT["occurred_at"]] < self._oldest_ms:
                self.finding.not_covered["events older than ClickHouse keeps"] += 1
            else:
                self._rows.append(row)
        while len(self._rows) >= _STRETCH:
            stretch, self._rows = self._rows[:_STRETCH], self._rows[_STRETCH:]
            await self._compare(place.partition, stretch)

    async def end(self, place: TopicPartition) -> None:
        """The partition was read to its end."""
        if self._rows:
            await self._compare(place.partition, self._rows)
        self._rows = []

    async def _compare(self, partition: int, rows: Sequence[Row]) -> None:
        self.finding.covered["events"] += len(rows)
        where = _where(partition, rows)
        sql = (
            f"SELECT count(), sumWithOverflow(mark) FROM (SELECT DISTINCT topic_offset, {_MARK} AS mark "
            f"FROM lifecycle WHERE {where})"
        )
        [[count, marks]] = (await self._queries.run(sql, _LIMITS)).rows
        if (int(count), int(marks)) != (len(rows), sum(mark_of(row) for row in rows) % _WRAP):
            await self._narrow(partition, rows, where)

    async def _narrow(self, partition: int, rows: Sequence[Row], where: str) -> None:
        sql = f"SELECT DISTINCT topic_offset, event_id, {_MARK} AS mark FROM lifecycle WHERE {where}"
        answer = await self._queries.run(sql, _LIMITS)
        there = {(int(offset), int(mark)): str(name) for offset, name, mark in answer.rows}
        logged = {(row[_AT["topic_offset"]], mark_of(row)): row for row in rows}
        missing = [row for key, row in logged.items() if key not in there]
        await self._report_missing(partition, missing, there)
        offsets = {offset for offset, _ in logged}
        for (offset, _), name in there.items():
            if offset not in offsets:
                what = f"event {name} is in ClickHouse, and the log has no such event there"
                self.finding.differs(_VIEW, partition, name, offset, what)

    async def _report_missing(
        self, partition: int, missing: Sequence[Row], there: Mapping[tuple[int, int], str]
    ) -> None:
        """Of an event that is in the log twice, ClickHouse keeps one row, at either's offset."""
        taken = {offset for offset, _ in there}
        for start in range(0, len(missing), _NAMED):
            some = missing[start : start + _NAMED]
            marks = await self._named([str(row[_AT["event_id"]]) for row in some], some)
            for row in some:
                name, offset = str(row[_AT["event_id"]]), row[_AT["topic_offset"]]
                if mark_of(row) in marks.get(name, ()):
                    self.finding.covered["events that are in the log twice"] += 1
                    continue
                if name in marks or offset in taken:
                    what = f"event {name} ({row[_AT['status']]}) differs in ClickHouse"
                else:
                    what = f"event {name} ({row[_AT['status']]}) is missing in ClickHouse"
                self.finding.differs(LIFECYCLE, partition, str(row[_AT["user_id"]]), offset, what)

    async def _named(self, names: Sequence[str], rows: Sequence[Row]) -> dict[str, set[int]]:
        listed = ", ".join(quoted(name) for name in names)
        where = f"{_occurred(rows)} AND event_id IN ({listed})"
        sql = f"SELECT DISTINCT event_id, {_MARK} AS mark FROM lifecycle WHERE {where}"
        marks: dict[str, set[int]] = {}
        for name, mark in (await self._queries.run(sql, _LIMITS)).rows:
            marks.setdefault(str(name), set()).add(int(mark))
        return marks


def mark_of(row: Row) -> int:
    """What ClickHouse computes of the row."""
    text = "\n".join("" if row[_AT[name]] is None else str(row[_AT[name]]) for name in _SAME)
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:8], "little")


def _where(partition: int, rows: Sequence[Row]) -> str:
    """Rows of these offsets, and of these times: a topic that was made anew counts from 0 again."""
    offsets = [row[_AT["topic_offset"]] for row in rows]
    recorded = [row[_AT["recorded_at"]] for row in rows]
    return (
        f"topic_partition = {partition} AND topic_offset BETWEEN {min(offsets)} AND {max(offsets)} "
        f"AND recorded_at BETWEEN {_instant(min(recorded))} AND {_instant(max(recorded))}"
    )


def _occurred(rows: Sequence[Row]) -> str:
    occurred = [row[_AT["occurred_at"]] for row in rows]
    return f"occurred_at BETWEEN {_instant(min(occurred))} AND {_instant(max(occurred))}"


def _instant(ms: int) -> str:
    return f"toDateTime64('{rfc3339(ms)[:-1].replace('T', ' ')}', 3, 'UTC')"
