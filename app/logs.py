"""Logs: one JSON line (or one console line) an entry, with addresses, tokens and secrets masked wherever they stand."""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

#: Libraries that say too much at INFO; twilio and python_http_client even log what they send.
_CHATTY = ("faust", "aiokafka", "mode", "twilio", "python_http_client", "aiobotocore", "botocore", "urllib3")

_SECRET_NAMES = re.compile(r"password|secret|token|authorization|credential|api_key|private_key|signing_key", re.I)

_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"), "<email>"),
    (re.compile(r"(?<!\w)(?:\+|%2B)[1-9]\d{6,14}\b"), "<phone>"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "<jwt>"),
    (re.compile(r"\b(Bearer|Basic)\s+\S+", re.I), r"\1 <secret>"),
    (re.compile(r"://[^/\s:@]*:[^/\s@]+@"), "://<secret>@"),
    (re.compile(r"\b[\w-]+\.[A-Za-z0-9_-]{43}\b"), "<api-key>"),
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
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
