"""The users whom a campaign is for, as the gateway that runs it reads them: a slice of the partition at a time."""

from collections.abc import Mapping
from typing import Any

from schemas.campaigns import Reach, Segment, read_segment
from schemas.decode import Invalid
from tables.knowledge import Knowledge
from tables.profiles import Profile

#: So many profiles are looked at in one go: a few milliseconds.
_SLICE = 200
_MOST_KEY_BYTES = 4 * 1024


def segment_view(known: Knowledge, params: Mapping[str, str]) -> dict[str, Any]:
    """``segment``: a ``Segment`` as JSON. ``behind``: where the slice before ended. The answer's ``behind`` is None
    where these were the last. Raises Invalid."""
    segment = read_segment(params.get("segment", "{}"))
    start = _key(params.get("behind"))
    found = known.profiles_from(start, _SLICE)
    users = [key.decode() for key, profile in found if is_in_segment(profile, segment)]
    return {"users": users, "behind": found[-1][0].hex() if len(found) == _SLICE else None}


def is_in_segment(profile: Profile, segment: Segment) -> bool:
    """Whether all of it holds."""
    attributes = segment.attributes or {}
    return (
        all(name in profile.attributes and _same(profile.attributes[name], said) for name, said in attributes.items())
        and (segment.locale is None or profile.locale == segment.locale)
        and (segment.timezone is None or profile.timezone == segment.timezone)
        and all(_has(profile, channel) for channel in segment.has or ())
    )


def _same(stored: Any, said: Any) -> bool:
    """JSON's equality: true isn't 1, and 1 is 1.0."""
    if isinstance(stored, bool) or isinstance(said, bool):
        return stored is said
    if isinstance(stored, dict) and isinstance(said, dict):
        return stored.keys() == said.keys() and all(_same(stored[name], said[name]) for name in said)
    if isinstance(stored, list) and isinstance(said, list):
        return len(stored) == len(said) and all(map(_same, stored, said))
    return bool(stored == said)


def _has(profile: Profile, channel: Reach) -> bool:
    match channel:
        case "push":
            return bool(profile.devices)
        case "email":
            return profile.email is not None
        case "sms":
            return profile.phone is not None


def _key(text: str | None) -> bytes:
    """The first key that is looked at."""
    if text is None:
        return b""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise Invalid("isn't a key in hexadecimal", "behind") from None
    if len(key) > _MOST_KEY_BYTES:
        raise Invalid("is too long", "behind")
    return key + b"\0"
