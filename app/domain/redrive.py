"""Putting dead letters back: which may be, by which place they are known, and with which headers (docs/decisions/0019).

A redriven record has two headers more: the letter that was redriven first, and the place where the record lay first,
signed over everything else (``app/domain/origin.py``). Both are taken off where the record is dead again.
"""

import re
from dataclasses import dataclass

from app.domain.origin import FIRST_LETTER, ORIGIN, Headers, as_produced, origin_of, signed_origin, without_origin
from schemas.dead import Contents, DeadLetter, contents_of
from schemas.instants import counted_ms, parse_ms
from schemas.topics import COMMANDS, EVENT_TOPICS, RECEIPTS

#: What services write. What Tocsin's roles write to each other follows from it, and isn't put back by itself.
REDRIVABLE: frozenset[str] = frozenset((*EVENT_TOPICS, COMMANDS, RECEIPTS))

#: For so long after a record roles know a further copy of its place, whatever is set for its topic: requests as long as
#: their notifications (``tables/routed.py``), commands as long as they are remembered (``tables/applied.py``).
KNOWN_MS: dict[str, int] = {**dict.fromkeys(EVENT_TOPICS, 14 * 86_400_000), COMMANDS: 30 * 86_400_000}

#: A record that its topic is about to delete may be gone before it is read.
_READ_WITHIN_MS = 5 * 60_000
_LETTER_ID = re.compile(r"[0-9]{1,9}-[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Original:
    """A letter's record as it was, without our headers. ``place``: where it lay first, ``topic:partition:offset``.
    ``first``: the letter that was redriven first, if this one is of a redriven record. ``timestamp_ms``: the one that
    counted when it was read, Unix ms."""

    place: str
    first: str | None
    topic: str
    partition: int
    timestamp_ms: int
    contents: Contents


def original_of(letter: DeadLetter, secret: bytes) -> Original:
    """``secret``: the installation's."""
    contents = contents_of(letter)
    place = origin_of(secret, *contents)
    headers = without_origin(contents.headers) if place is None else as_produced(contents.headers)
    return Original(
        place=place or f"{letter.topic}:{letter.partition}:{letter.offset}",
        first=None if place is None else _first_letter(contents.headers),
        topic=letter.topic,
        partition=letter.partition,
        timestamp_ms=counted_ms(letter.timestamp, parse_ms(letter.at)),
        contents=contents._replace(headers=headers),
    )


def headers_of(original: Original, letter_id: str, secret: bytes) -> Headers:
    """The headers that the record gets: its own, and ours, which name its first place and its first letter."""
    contents = original.contents
    headers = [*contents.headers, (FIRST_LETTER, (original.first or letter_id).encode())]
    return [*headers, (ORIGIN, signed_origin(secret, original.place, contents.key, contents.value, headers))]


def why_not(letter: DeadLetter, kept_ms: int | None, now_ms: int) -> str | None:
    """Why a letter can't be put back, in words; None: it can. ``kept_ms``: how long its topic keeps records."""
    if letter.topic not in REDRIVABLE or kept_ms is None:
        return f"{letter.topic} is written by Tocsin itself: only what services write is put back"
    if letter.truncated:
        return "the letter is truncated: it doesn't hold the whole record"
    if letter.value is None or letter.offset < 0:
        return "the letter holds no record"
    written_ms = counted_ms(letter.timestamp, parse_ms(letter.at))
    if written_ms + kept_ms - _READ_WITHIN_MS <= now_ms:
        return f"the record is older than {letter.topic} keeps records ({_words(kept_ms)})"
    if (known_ms := KNOWN_MS.get(letter.topic)) is not None and written_ms + known_ms <= now_ms:
        return f"the record is older than {_words(known_ms)}: a copy might no longer be recognised"
    if any(not _is_text(name) for name, _ in contents_of(letter).headers):
        return "a header's name isn't UTF-8, and can't be written: put it back without that header (--edit)"
    return None


def is_letter_id(text: str) -> bool:
    """Whether it has the form of a letter's id, ``partition-offset``."""
    return _LETTER_ID.fullmatch(text) is not None


def _first_letter(headers: Headers) -> str | None:
    content = next((content for name, content in headers if name == FIRST_LETTER and content is not None), b"")
    text = content.decode(errors="replace")
    return text if is_letter_id(text) else None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _words(ms: int) -> str:
    days, hours = ms / 86_400_000, ms / 3_600_000
    return f"{days:g} d" if days >= 1 else f"{hours:g} h"
