"""Where a record that was moved lay first: signed, so that nobody else can give a record another one's place."""

from collections.abc import Sequence

from app.domain.signatures import is_signature, signature_of

#: The header that says it, as ``topic:partition:offset:signature``.
ORIGIN = "tocsin-origin"

#: In a record that was redriven: the id of the letter that was first (app/domain/redrive.py). It counts only beside an
#: origin that is true, which signs it.
FIRST_LETTER = "tocsin-first-letter"

#: Tells this use of the installation's secret from others.
_USE = b"tocsin record origin 1"
_LONGEST = 400

Headers = Sequence[tuple[str, bytes | None]]


def signed_origin(secret: bytes, place: str, key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """The header's value. ``place``: ``topic:partition:offset``. ``headers``: all others of the record."""
    return f"{place}:{_signature(secret, place, key, value, headers)}".encode()


def origin_of(secret: bytes, key: bytes | None, value: bytes | None, headers: Headers) -> str | None:
    """Where the record lay first, as ``topic:partition:offset``; None unless it has one such header, and a true one."""
    given = [content for name, content in headers if name == ORIGIN]
    if len(given) != 1 or given[0] is None or len(given[0]) > _LONGEST:
        return None
    place, _, signature = given[0].rpartition(b":")
    try:
        written = place.decode()
    except UnicodeDecodeError:
        return None
    expected = _signature(secret, written, key, value, without_origin(headers))
    return written if is_signature(expected, signature) else None


def as_produced(headers: Headers) -> list[tuple[str, bytes | None]]:
    """The headers that a record with a true origin had at its first place."""
    return [header for header in headers if header[0] not in (ORIGIN, FIRST_LETTER)]


def without_origin(headers: Headers) -> list[tuple[str, bytes | None]]:
    return [header for header in headers if header[0] != ORIGIN]


def _signature(secret: bytes, place: str, key: bytes | None, value: bytes | None, headers: Headers) -> str:
    named: list[bytes | None] = []
    for name, content in headers:
        named += (name.encode("utf-8", "surrogatepass"), content)
    return signature_of(secret, _USE, (place.encode(), key, value, *named))
