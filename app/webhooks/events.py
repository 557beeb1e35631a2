"""What a webhook may say, whoever the vendor is, and how its parts are read: whatever is there, nothing is raised."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from schemas.decode import Invalid, Reader
from schemas.instants import parse_ms
from schemas.receipts import ReceiptStatus

#: How far a signed time may be from ours: what was overheard can't be said again later.
FRESH_MS = 5 * 60_000

JSON, FORM = "application/json", "application/x-www-form-urlencoded"

OptOut = Literal["stop", "start"]

_MAX_FIELDS = 1_000
_MAX_EVENT_ID = 2_000
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
_UUID_FIRST = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f-])", re.IGNORECASE)

read_object: Reader[dict[str, Any]] = Reader(dict[str, Any])
#: As they came: each is read by itself, so that a bad one harms no other.
read_list: Reader[list[msgspec.Raw]] = Reader(list[msgspec.Raw], own=True)


class NotGenuine(Exception):
    """The request isn't signed by the vendor, as far as anybody can tell: ``why`` in words of ours."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Posted:
    """One request. ``headers``: by name in any case. ``url``: as the vendor called it, query included."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """Without parameters; empty where there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a send. ``event_id``: the vendor's name of the event, the same when it is sent again. ``send_id``
    None: it is of no send of ours. ``at_ms`` None: the vendor doesn't say when."""

    event_id: str
    send_id: str | None
    status: ReceiptStatus
    reason: str | None = None
    at_ms: int | None = None
    provider_message_id: str | None = None
    is_machine: bool = False


@dataclass(frozen=True, slots=True)
class InboundText:
    """An SMS from somebody. ``number``: as the vendor wrote it. What it says stays out of everything."""

    event_id: str
    number: str
    opt_out: OptOut | None


@dataclass(frozen=True, slots=True)
class NoInterest:
    """An event that changes nothing. ``is_readable`` False: it isn't as the vendor documents it."""

    is_readable: bool = True


Event = Report | InboundText | NoInterest

NO_INTEREST = NoInterest()
UNREADABLE = NoInterest(is_readable=False)


def text(part: Any, *path: str) -> str | None:
    """The text at the path into objects; None where there is none. A number counts as it is written."""
    for name in path:
        if not isinstance(part, dict):
            return None
        part = part.get(name)
    if isinstance(part, str):
        return part or None
    return str(part) if isinstance(part, int | float) and not isinstance(part, bool) else None


def member(part: Any, name: str) -> dict[str, Any]:
    """The object with that name; an empty one where there is none."""
    found = part.get(name) if isinstance(part, dict) else None
    return found if isinstance(found, dict) else {}


def event_id(*parts: str | None) -> str:
    """Names an event by what tells it from others."""
    return "\n".join((part or "")[:_MAX_EVENT_ID] for part in parts)


def send_id_in(handle: str | None) -> str | None:
    """The send that a handle begins with (an attempt may stand behind it); None where it begins with no id."""
    found = _UUID_FIRST.match(handle or "")
    return str(UUID(found[0])) if found else None


def ms_of_seconds(at: str | None) -> int | None:
    """Unix ms of Unix seconds; None where it isn't such."""
    return int(at) * 1000 if at is not None and _SECONDS.fullmatch(at) else None


def ms_of_instant(at: str | None) -> int | None:
    """Unix ms of RFC 3339; None where it isn't such."""
    try:
        return parse_ms(at or "")
    except ValueError:
        return None


def form(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form in their order, blank and repeated ones included. Raises ValueError."""
    return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")


def object_of(body: bytes) -> dict[str, Any]:
    """A JSON object; raises NotGenuine for anything else, as where the signature is a member of it."""
    try:
        return read_object(body)
    except Invalid as invalid:
        raise NotGenuine("the body is not a JSON object") from invalid
