"""Reading records: JSON bytes into a struct, or a refusal that names the field."""

import re
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

#: The end and nothing after it: ``$`` alone lets a newline through.
_END = r"$(?!\n)"
#: Ids, keys, sources and types hold no control characters; lengths are in Unicode code points.
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*" + _END

UserId = Annotated[str, Meta(min_length=1, max_length=128, pattern=_PRINTABLE)]
EventType = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.-]+" + _END)]
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=255, pattern=_PRINTABLE)]
Source = Annotated[str, Meta(max_length=100, pattern=_PRINTABLE)]
TemplateId = Annotated[str, Meta(min_length=1, max_length=100, pattern=_PRINTABLE)]
CampaignId = Annotated[str, Meta(max_length=100, pattern=_PRINTABLE)]
CollapseKey = Annotated[str, Meta(max_length=64, pattern=_PRINTABLE)]
_BCP_47 = r"^([A-Za-z]{2,8}|[ixIX](?=-))([_-][A-Za-z0-9]{1,8})*" + _END
Locale = Annotated[str, Meta(min_length=2, max_length=35, pattern=_BCP_47)]
RecordId = Annotated[str, Meta(min_length=1, max_length=255, pattern=_PRINTABLE)]


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
    return Invalid(reason, path or None)


class Reader(Generic[T]):
    """Decodes one record type; made once, used for every record."""

    def __init__(self, kind: type[T] | Any) -> None:
        self._decode = msgspec.json.Decoder(kind).decode

    def __call__(self, value: bytes | str) -> T:
        """Raises Invalid with the field's name. An explicit null is an absent field."""
        try:
            if isinstance(value, bytes) and not value.isascii():
                value.decode()  # what is skipped or kept as it came isn't looked at otherwise
            return self._decode(value)  # type: ignore[no-any-return]
        except RecursionError as error:
            raise Invalid("is nested too deeply") from error
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
            if isinstance(error, UnicodeDecodeError):
                raise Undecodable("is not UTF-8") from error
            raise invalid_from(error) from error
