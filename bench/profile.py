"""What one decision costs in this process alone: handling, changed rows and the journal's entry, on dicts, no Kafka."""

import cProfile
import pstats
import time

from rich.console import Console
from rich.progress import track

from agents.router.machine import RouterMachine
from app.domain.out import Out
from app.streaming.journal import Entry, encode_entry
from bench.workload import PROVIDERS, Fed, Workload, catalog, requests, rows_of_users, unix_ms
from tables.rows import MemoryRows

_PARTITIONS = 8


def profile(events: int, users: int, batch: int, lines: int, console: Console) -> None:
    """Prints µs an event of the whole path and of its parts, then where a profiler sees the time go."""
    load = Workload(users=users, events=2 * events, partitions=_PARTITIONS, now_ms=unix_ms())
    path = _Path(load)
    for _ in track(range(1), description="users", console=console):
        path.prepare()
    spent = path.run(events, batch)
    total = sum(spent.values())
    for part, seconds in [*spent.items(), ("in all", total)]:
        console.print(f"{part:<10} {1e6 * seconds / events:8.2f} µs an event")
    profiler = cProfile.Profile()
    profiler.enable()
    path.run(events, batch)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(lines)


class _Path:
    """The router's partitions over rows in memory, and the records that they get."""

    def __init__(self, load: Workload) -> None:
        self._load = load
        self._machine = RouterMachine(
            catalog(load.now_ms), partitions=load.partitions, providers=PROVIDERS, secret=b"secret"
        )
        self._rows = {p: MemoryRows() for p in range(load.partitions)}
        self._states = {p: self._machine.open(rows, p) for p, rows in self._rows.items()}
        self._waiting: dict[int, list[Fed]] = {p: [] for p in self._rows}

    def prepare(self) -> None:
        for partition, tables in rows_of_users(self._load, 0, self._load.users).items():
            self._rows[partition].tables = tables
        for number, record in enumerate(requests(self._load)):
            assert record.key is not None
            assert record.value is not None
            fed = Fed(record.topic, record.partition, number, self._load.now_ms, record.key, record.value)
            self._waiting[record.partition].append(fed)

    def run(self, events: int, batch: int) -> dict[str, float]:
        """Handles so many of the waiting records in batches; CPU seconds by part."""
        spent = {"handle": 0.0, "changes": 0.0, "journal": 0.0}
        clock, left, machine = time.process_time, events, self._machine
        while left > 0:
            for partition, state in self._states.items():
                take = min(batch, left)
                records, self._waiting[partition] = self._waiting[partition][:take], self._waiting[partition][take:]
                out, tables = Out(), state.tables()
                now = unix_ms()
                begun = clock()
                for record in records:
                    for table in tables:
                        table.begin()
                    machine.handle(record, state, out, now)
                handled = clock()
                changes = {t.spec.name: rows for t in tables if (rows := t.changes())}
                encoded = clock()
                encode_entry(Entry({"notify_events": 1}, changes, out.records))
                spent["handle"] += handled - begun
                spent["changes"] += encoded - handled
                spent["journal"] += clock() - encoded
                for name, rows in changes.items():
                    self._rows[partition].write(name, rows)
                for table in tables:
                    table.clear()
                left -= len(records)
        return spent
