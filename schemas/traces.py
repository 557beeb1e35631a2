"""Where a request stands in its service's trace: W3C Trace Context (https://www.w3.org/TR/trace-context/).

What isn't as the specification has it counts as absent, and never makes a record bad.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw, Struct

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
#: The flags of what is sampled, and of what isn't; others aren't passed on.
SAMPLED, NOT_SAMPLED = "01", "00"
#: What a later version may append is read over, but no further.
_LONGEST_PARENT = 512
#: So much of a state is passed on, as the specification asks for (3.3.1.5), and what goes first if it is longer.
MAX_STATE_CHARS = 512
_LARGE_MEMBER = 128
_MOST_MEMBERS = 32
#: What a state may have before it is cut, in characters.
_LONGEST_STATE = 8 * 1024

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(_KEY + r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_BLANKS = " \t"


class Trace(Struct, frozen=True, omit_defaults=True, gc=False):
    """The span that comes before, and what tracing systems say of it. Kept of what is sampled alone."""

    traceparent: str
    tracestate: str | None = None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return self.traceparent[36:52]

    @property
    def is_sampled(self) -> bool:
        return self.traceparent[53:] == SAMPLED

    def behind(self, span_id: str) -> "Trace":
        """The same trace behind another of its spans."""
        return trace_at(self.trace_id, span_id, self.tracestate)


def trace_at(trace_id: str, span_id: str, tracestate: str | None = None, *, sampled: bool = True) -> Trace:
    return Trace(f"00-{trace_id}-{span_id}-{SAMPLED if sampled else NOT_SAMPLED}", tracestate)


def read_trace(traceparent: str, tracestates: Iterable[str] = ()) -> Trace | None:
    """None for what is no traceparent. A state that isn't one is left out. ``tracestates``: every header of that name,
    in order."""
    found = _PARENT.fullmatch(traceparent.strip(_BLANKS)) if len(traceparent) <= _LONGEST_PARENT else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return trace_at(trace_id, span_id, _read_state(",".join(tracestates)), sampled=bool(int(flags, 16) & 1))


def trace_in_headers(headers: Sequence[tuple[str, bytes | None]]) -> Trace | None:
    """Of a record's headers, or of an HTTP request's: names in any case, exactly one of them a traceparent."""
    parents = [value for name, value in headers if name.lower() == TRACEPARENT]
    if len(parents) != 1 or parents[0] is None:
        return None
    states = [value for name, value in headers if name.lower() == TRACESTATE]
    return read_trace(_text(parents[0]), [_text(value) for value in states if value is not None])


def trace_in_fields(traceparent: Raw, tracestate: Raw) -> Trace | None:
    """Of a request's fields, whatever they hold."""
    parent = _string(traceparent)
    if parent is None:
        return None
    state = _string(tracestate)
    return read_trace(parent, () if state is None else (state,))


def _read_state(text: str) -> str | None:
    if len(text) > _LONGEST_STATE:
        return None
    members = [member for each in text.split(",") if (member := each.strip(_BLANKS))]
    if not members or len(members) > _MOST_MEMBERS or not all(_MEMBER.fullmatch(member) for member in members):
        return None
    while _length(members) > MAX_STATE_CHARS:
        large = [index for index, member in enumerate(members) if len(member) > _LARGE_MEMBER]
        del members[large[-1] if large else -1]
    return ",".join(members) or None


def _length(members: Sequence[str]) -> int:
    return sum(len(member) + 1 for member in members) - 1


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _string(raw: Raw) -> str | None:
    written = bytes(raw)
    if not written.startswith(b'"') or len(written) > _LONGEST_STATE:
        return None
    try:
        return _decode_string(written)
    except (msgspec.DecodeError, UnicodeError):
        return None


_decode_string = msgspec.json.Decoder(str).decode
