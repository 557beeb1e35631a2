"""Logs: one JSON line (or one console line) an entry, with addresses, tokens and secrets masked wherever they stand."""

import logging
import re
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

#: Events that were renamed after 0.1.0, with their former names: both are written for one release.
FORMERLY = {
    "refusing codes to a country: its limit is reached": "codes to a country are refused: its limit is reached",
    "the changed settings are invalid: keeping the API keys as they were": (
        "the changed settings can't be used: the API keys stay as they were"
    ),
    "reloaded the API keys": "API keys were read again",
    "narrowed file modes: others had access here": "modes were narrowed: others had rights here",
    "can't narrow file modes: others have access here": "modes can't be narrowed: others have rights here",
    "can't read a transaction marker: treating the transaction as ended": (
        "a transaction's marker can't be read, taken for its end"
    ),
    "can't use a policy": "a policy can't be used",
    "can't read a version": "a version can't be read",
    "can't read an erasure": "an erasure can't be read",
    "reading the topic again from its start": "reading again from the start",
    "can't read a worker's state": "a worker's state can't be read",
    "refused an announcement": "an announcement doesn't count",
    "can't publish an announcement": "ownership isn't announced",
    "can't start a new producer yet": "no new producer yet",
    "replaced a producer that had unacknowledged records": "a producer was left with unacknowledged records",
    "can't redact erased users: retrying": "erased users are not redacted, tried again",
    "can't get the changelogs' end offsets: retrying later": "the changelogs' ends are not known, asked again later",
    "a topic accepts less than declared: run tocsin topics apply": (
        "a topic takes less than it should: run tocsin topics apply"
    ),
    "found stale writes of a former owner": "rows of a former owner came late",
    "can't get the end offset of the commands: retrying": "the end of the commands is not known yet, asked again",
    "a commit was refused during a rebalance": "commit refused during a rebalance",
    "a commit failed: retrying": "commit failed, will be tried again",
    "gave up a due row": "gave up what fell due",
    "set poison aside": "poison was set aside",
    "can't compact the store: retrying": "the store is not compacted, tried again",
    "can't tell whether the log is compacted: retrying later": (
        "whether the log is compacted isn't known, asked again later"
    ),
    "the changelog is shorter than the store: rebuilding": "changelog is shorter than the store: rebuilding",
    "topics end before the positions read: reading them anew": "topics end before what was read of them: read anew",
    "records are missing: fetching again": "records are missing, fetched again",
    "a standby copy is behind: retrying": "a standby copy is behind, will be tried again",
    "can't compact a standby copy: retrying": "a copy is not compacted, will be tried again",
    "can't sweep a row": "a row could not be swept",
    "the store was broken: rebuilding it from the log": "store was broken and is rebuilt from the log",
    "deleted a store that nobody keeps up to date": "a store that nobody keeps up to date is deleted",
    "forced the process to end": "ended by force",
    "the gateway is serving": "the gateway serves",
}

#: Libraries that say too much at INFO; twilio and python_http_client even log what they send.
_CHATTY = ("faust", "aiokafka", "mode", "twilio", "python_http_client", "aiobotocore", "botocore", "urllib3")

#: Fields of an entry that say nothing of what happened.
_UNINFORMATIVE = ("timestamp", "_record", "_from_structlog")
#: Some libraries format their messages themselves.
_NUMBER = re.compile(r"[\d.]+")

_SECRET_NAMES = re.compile(r"password|secret|token|authorization|credential|api_key|private_key|signing_key", re.I)

#: Each looks at a word once, from its beginning and without going back, so that long ones take no longer than others.
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<![\w.+%-])[\w.+%-]++@[\w-]+(?:\.[\w-]+)+"), "<email>"),
    (re.compile(r"(?<!\w)(?:\+|%2B)[1-9]\d{6,14}\b"), "<phone>"),
    (re.compile(r"(?<![\w-])(?>([\w-]*?)(?<!\w)eyJ)[\w-]++\.[\w-]++\.[\w-]+"), r"\1<jwt>"),
    (re.compile(r"\b(Bearer|Basic)\s+\S+", re.I), r"\1 <secret>"),
    (re.compile(r"://[^/\s:@]*:[^/\s@]+@"), "://<secret>@"),
    (re.compile(r"(?<![\w-])[\w-]++\.[A-Za-z0-9_-]{43}\b"), "<api-key>"),
    (re.compile(r"\b[0-9a-fA-F]{32,}\b"), "<token>"),
    (re.compile(r"[\w:-]{100,}"), "<token>"),
)


def mask(text: str) -> str:
    """The text without mail addresses, E.164 numbers, bearer tokens, API keys, passwords in URLs and device tokens."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def _masked(value: Any) -> Any:
    match value:
        case str():
            return mask(value)
        case Mapping():
            return {
                key: "<secret>" if isinstance(item, str) and _SECRET_NAMES.search(str(key)) else _masked(item)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_masked(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return mask(str(value))


def mask_entry(_: WrappedLogger, __: str, entry: EventDict) -> EventDict:
    """structlog processor: masks every value of an entry, and hides those whose name says that they are secret."""
    kept = {name: entry.pop(name) for name in ("_record", "_from_structlog") if name in entry}
    return {**_masked(entry), **kept}


def add_former_name(_: WrappedLogger, __: str, entry: EventDict) -> EventDict:
    """structlog processor: what looks for the former name of an event finds it in ``formerly``."""
    former = FORMERLY.get(entry.get("event", ""))
    if former is not None:
        entry["formerly"] = former
    return entry


@dataclass(slots=True)
class _Window:
    """Entries of one kind from the first on. ``left_out``: how many were not written; ``latest``: the last of those."""

    until: float
    written: int = 0
    left_out: int = 0
    latest: logging.LogRecord | None = None


class RepeatLimiter(logging.StreamHandler[TextIO]):
    """Writes a warning or an error once, and the same again only once in a while, with ``repeated``: how often it came
    since. Of entries that differ only in their fields, or arguments, it writes a few. Everything else is written.

    A broker that is away is reported by every client for each of its attempts, thousands of times a minute.
    """

    EVERY_S = 30.0
    #: Of entries that differ only in details.
    ALIKE = 10
    _LOOK_EVERY_S = 1.0
    _MOST_KINDS = 2_000

    def __init__(self, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._monotonic = monotonic
        self._windows: dict[Hashable, _Window] = {}
        self._look_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            now = self._monotonic()
            kind, same = _kinds_of(record)
            may = self._admits(same, 1, record, now) and self._admits(kind, self.ALIKE, record, now)
            self._write_overdue(now)
            if not may:
                return
        super().emit(record)

    def close(self) -> None:
        with suppress(ValueError):  # the stream may be closed already
            self._write_overdue(inf)
        super().close()

    def _admits(self, kind: Hashable, most: int, record: logging.LogRecord, now: float) -> bool:
        window = self._windows.get(kind)
        if window is None or now >= window.until:
            if window is not None and window.left_out:
                _note_repeated(record, window.left_out)
            elif window is None and len(self._windows) >= self._MOST_KINDS:
                return True
            self._windows[kind] = _Window(now + self.EVERY_S, written=1)
            return True
        if window.written < most:
            window.written += 1
            return True
        window.left_out += 1
        window.latest = record
        return False

    def _write_overdue(self, now: float) -> None:
        """What was left out, and hasn't come again since."""
        if now < self._look_at:
            return
        self._look_at = now + self._LOOK_EVERY_S
        for kind, window in [(kind, window) for kind, window in self._windows.items() if now >= window.until]:
            del self._windows[kind]
            if window.latest is not None:
                self._windows[kind] = _Window(now + self.EVERY_S, written=1)
                _note_repeated(window.latest, window.left_out)
                super().emit(window.latest)


def _kinds_of(record: logging.LogRecord) -> tuple[Hashable, Hashable]:
    """What entries have in common that differ only in details, and that are the same."""
    place = (record.name, record.levelno)
    if isinstance(record.msg, dict):
        fields = sorted((name, repr(value)) for name, value in record.msg.items() if name not in _UNINFORMATIVE)
        return (*place, record.msg.get("event")), (*place, *fields)
    error = repr(record.exc_info[1]) if record.exc_info else ""
    return (*place, _NUMBER.sub("#", str(record.msg))), (*place, record.getMessage(), error)


def _note_repeated(record: logging.LogRecord, count: int) -> None:
    if isinstance(record.msg, dict):
        count += record.msg.get("repeated", 0)
        record.msg = {**record.msg, "repeated": count}
    else:
        record.repeated = getattr(record, "repeated", 0) + count


def configure(*, console: bool, level: int = logging.INFO, stream: TextIO = sys.stderr) -> None:
    """Sends every log entry of this process, ours and the libraries', to one stream: as JSON lines, or for people."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        add_former_name,
        mask_entry,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty()) if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = RepeatLimiter(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
