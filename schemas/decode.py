"""Reading records: JSON bytes into a struct, or a refusal that names the field.

There is one reading of JSON, whatever door it comes through: what it takes can be decoded and encoded by everybody
downstream (MessagePack rows, lifecycle events, ClickHouse, templates), fields that are skipped or kept as they came
included. See ``schemas.values``.
"""

import re
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from msgspec import Meta

from schemas.values import MAX_DEPTH, BadValue, check_values, field_of, is_suspicious

T = TypeVar("T")

#: The end and nothing after it: ``$`` alone lets a newline through.
_END = r"$(?!\n)"
#: Ids, keys, sources and types hold no control characters; lengths are in Unicode code points.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*" + _END

UserId = Annotated[str, Meta(min_length=1, max_length=128, pattern=PRINTABLE)]
EventType = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+" + _END)]
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=255, pattern=PRINTABLE)]
Source = Annotated[str, Meta(max_length=100, pattern=PRINTABLE)]
TemplateId = Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTABLE)]
CampaignId = Annotated[str, Meta(max_length=100, pattern=PRINTABLE)]
CollapseKey = Annotated[str, Meta(max_length=64, pattern=PRINTABLE)]
_BCP_47 = r"^([A-Za-z]{2,8}|[ixIX](?=-))([_-][A-Za-z0-9]{1,8})*" + _END
Locale = Annotated[str, Meta(min_length=2, max_length=35, pattern=_BCP_47)]
Category = Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTABLE)]
#: Of a template or a policy; ClickHouse has 32 bits for it.
Version = Annotated[int, Meta(ge=0, lt=2**32)]
#: An id that is looked up: what can't be one is not found.
AnyId = Annotated[str, Meta(max_length=64, pattern=PRINTABLE)]
Reason = Annotated[str, Meta(max_length=200)]
RecordId = Annotated[str, Meta(min_length=1, max_length=255, pattern=PRINTABLE)]


class Invalid(Exception):
    """A record that can't be taken: ``reason`` in words, ``field`` its dotted name (None: the whole record).

    ``code`` is the kind of refusal, as it stands in dead letters and metrics.
    """

    code: ClassVar[str] = "invalid"

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field


class Malformed(Invalid):
    """Not what its type demands, found only after it was decoded."""


class TooLarge(Invalid):
    """More than a record may hold."""

    code: ClassVar[str] = "too_large"


class Undecodable(Invalid):
    """Not UTF-8, or not JSON."""

    code: ClassVar[str] = "undecodable"


class Misplaced(Invalid):
    """The key isn't the record's ``user_id``."""

    code: ClassVar[str] = "misplaced"


_AT = re.compile(r"^(?P<reason>.*?)(?: - at (?:`key` in )?`(?P<path>[^`]*)`)?$", re.DOTALL)
_INDEX = re.compile(r"\[[^\]]*\]$")
_NAMED = re.compile(r"field `(?P<name>[^`]+)`")
#: A reason may repeat what was sent: no more of it than shows what is meant.
_MAX_REASON_CHARS = 300


def invalid_from(error: msgspec.ValidationError | msgspec.DecodeError) -> Invalid:
    """msgspec's error in our words: ``$.channels[0]`` becomes the field ``channels[0]``."""
    match = _AT.match(str(error))
    assert match is not None
    reason, path = match["reason"], (match["path"] or "").removeprefix("$").removeprefix(".")
    path = _INDEX.sub("", path)
    named = _NAMED.search(reason)
    if named and ("missing" in reason or "unknown" in reason):
        path = f"{path}.{named['name']}" if path else named["name"]
        reason = "is required" if "missing" in reason else "is unknown"
    if len(reason) > _MAX_REASON_CHARS:
        reason = reason[:_MAX_REASON_CHARS] + "…"
    return Malformed(reason, path or None) if isinstance(error, msgspec.ValidationError) else Undecodable(reason)


def check_size(raw: bytes, most: int, beside: int = 0) -> None:
    """Raises TooLarge with the largest member's name where a record has more than ``most`` bytes, with ``beside`` of
    them elsewhere (in key and headers)."""
    if len(raw) + beside <= most:
        return
    field = "headers" if beside > len(raw) else _largest_member(raw)
    raise TooLarge(f"is larger than {most // 1024} KiB", field)


def _largest_member(raw: bytes) -> str | None:
    """None where what was sent isn't even an object, ``value`` where looking for the member would cost the neighbours
    more than a moment: a batch may unpack to 64 MiB."""
    if len(raw) > _SEARCHED_BYTES or raw.count(b":") > _SEARCHED_COLONS:
        return "value"
    try:
        members = _decode_members(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _located(raw, TooLarge("")).field
    return field_of(max(members, key=lambda name: len(bytes(members[name])))) if members else None


#: Each about 0.1 s of a core.
_SEARCHED_BYTES, _SEARCHED_COLONS = 4 * 1024 * 1024, 100_000
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _bytes_of(value: bytes | str | msgspec.Raw) -> bytes:
    return value.encode(errors="surrogatepass") if isinstance(value, str) else bytes(value)


class Reader(Generic[T]):
    """Decodes one record type; made once, used for every record.

    ``own``: only Tocsin writes such records; their values were checked when they came in, maybe by an earlier version.
    """

    def __init__(self, kind: type[T] | Any, *, own: bool = False) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._own = own

    def __call__(self, value: bytes | str | msgspec.Raw) -> T:
        """Raises Invalid with the field's name. An explicit null is an absent field."""
        raw = value if type(value) is bytes else _bytes_of(value)
        try:
            if not raw.isascii():
                raw.decode()  # what is skipped or kept as it came isn't looked at otherwise
            if not self._own and is_suspicious(raw):
                check_values(raw)
            return self._decode(raw)  # type: ignore[no-any-return]
        except RecursionError as error:
            raise _too_deep() from error
        except BadValue as bad:
            raise Malformed(bad.reason, bad.field) from bad
        except UnicodeError as error:
            raise _located(raw, Undecodable("is not UTF-8")) from error
        except msgspec.ValidationError as error:
            invalid = invalid_from(error)
            raise (invalid if invalid.field is not None else _not_json(raw) or invalid) from error
        except msgspec.DecodeError as error:
            raise _located(raw, invalid_from(error)) from error


def _not_json(raw: bytes) -> Invalid | None:
    """What another type than an object begins with may be no JSON at all; None: it is."""
    try:
        _decode_any(raw)
    except msgspec.DecodeError as error:
        return invalid_from(error)
    except RecursionError:
        return _too_deep()
    return None


def _too_deep() -> Malformed:
    return Malformed(f"is nested more than {MAX_DEPTH} deep")


_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def _located(raw: bytes, invalid: Invalid) -> Invalid:
    """The same with the field, where another decoder sees which one it is: NaN, half a surrogate pair, no UTF-8."""
    try:
        check_values(raw)
    except BadValue as bad:
        return Undecodable(bad.reason, bad.field)
    return invalid
