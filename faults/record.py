"""The folder of one run: what the client was promised, what it commanded, what was broken, what the providers saw.

It is all that the checker gets. Each line is written when the thing happened, so that a run that fails is told too.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

_OF_PROXIES = frozenset(("502", "503", "504"))
_OF_PROVIDERS = frozenset((("ses", "ServiceUnavailable"), ("sendgrid", "500"), ("twilio", "20503"), ("vonage", "5")))


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


def _say_nothing(calls: Path) -> int:
    """How many answers of the sandbox leave open whether the message was taken: 5xx of who doesn't promise that it
    wasn't, and any proxy's page."""
    found = 0
    for line in calls.read_text().splitlines() if calls.exists() else ():
        call = json.loads(line)
        if call["fault"] == "error":
            found += call["code"] in _OF_PROXIES or (call["provider"], call["code"]) in _OF_PROVIDERS
    return found


class Record:
    """Writes the files of a run's folder; ``sandbox`` is the folder in which the sandbox keeps its own journal."""

    def __init__(self, folder: Path, sandbox: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.started_ms = unix_ms()
        self.accepted: list[dict[str, Any]] = []
        self.injected: list[dict[str, Any]] = []
        self._sandbox = sandbox
        self._begins = {path.name: path.stat().st_size for path in sandbox.glob("*.jsonl")}
        self._files: dict[str, IO[str]] = {}
        for name in ("accepted", "commands", "injected", "offsets", "campaigns"):
            self._files[name] = (folder / f"{name}.jsonl").open("w")

    def accept(self, line: dict[str, Any]) -> None:
        """A request was acknowledged."""
        self.accepted.append(line)
        self._write("accepted", line)

    def command(self, at_ms: int, command: Mapping[str, Any]) -> None:
        """A command was acknowledged."""
        self._write("commands", {"at_ms": at_ms, "command": command})

    def inject(
        self,
        fault: str,
        *,
        role: str | None = None,
        instance: int | None = None,
        in_flight: int = 0,
        at_ms: int | None = None,
        until_ms: int | None = None,
        note: str = "",
        clock_ms: int | None = None,
    ) -> None:
        """Something was broken. ``in_flight``: of how many provider calls the answer may be lost by it. ``clock_ms``:
        how far the workers' clock is ahead from now on."""
        line = {
            "at_ms": unix_ms() if at_ms is None else at_ms,
            "until_ms": until_ms,
            "fault": fault,
            "role": role,
            "instance": None if instance is None else str(instance),
            "in_flight": in_flight,
            "note": note,
            "clock_ms": clock_ms,
        }
        self.injected.append(line)
        self._write("injected", line)

    def offset(self, group: str, topic: str, partition: int, offset: int, *, rewound: bool = False) -> None:
        """A committed offset, as Kafka told it now. ``rewound``: an operator has just set it."""
        line = {"at_ms": unix_ms(), "group": group, "topic": topic, "partition": partition, "offset": offset}
        line |= {"rewound": True} if rewound else {}
        self._write("offsets", line)

    def campaign(self, line: Mapping[str, Any]) -> None:
        """A campaign that has ended: whom it named, how it was shown, and when it was to produce nothing."""
        self._write("campaigns", line)

    def finish(self, run: Mapping[str, Any]) -> None:
        """Closes the files, takes over what the sandbox wrote down since the beginning, and writes run.json."""
        journal = self.folder / "sandbox"
        journal.mkdir(exist_ok=True)
        for path in self._sandbox.glob("*.jsonl"):
            with path.open("rb") as written:
                written.seek(self._begins.get(path.name, 0))
                (journal / path.name).write_bytes(written.read())
        if answers := _say_nothing(journal / "calls.jsonl"):
            note = "answers that don't say whether the message was taken"
            self.inject("no_word", in_flight=answers, at_ms=self.started_ms, until_ms=unix_ms(), note=note)
        for file in self._files.values():
            file.close()
        (self.folder / "run.json").write_text(json.dumps({"started_ms": self.started_ms, **run}, indent=2))

    def _write(self, name: str, line: Mapping[str, Any]) -> None:
        file = self._files[name]
        if not file.closed:
            file.write(json.dumps(line) + "\n")
            file.flush()
