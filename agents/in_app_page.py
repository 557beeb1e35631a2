"""What a user is shown of their inbox: a page of items, newest first (contract, "HTTP")."""

from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.decode import Invalid
from schemas.instants import rfc3339
from tables.inbox import Inbox, Item

_MOST_ASKED, _USUALLY_ASKED = 100, 20
#: A page of unread items is looked for among so many at a time.
_LOOKED_THROUGH = 200


def page_of(user_id: str, params: Mapping[str, str], inbox: Inbox) -> dict[str, Any]:
    limit = _number(params, "limit", _USUALLY_ASKED)
    if not 1 <= limit <= _MOST_ASKED:
        raise Invalid(f"is not between 1 and {_MOST_ASKED}", "limit")
    before = _number(params, "cursor", 0) or None
    found = _found(user_id, inbox, before, limit + 1, only_unread=params.get("unread") in ("true", "1"))
    page = found[:limit]
    return {
        "notifications": [_shown(item) for _, item in page],
        "unread_count": inbox.count(user_id).unread,
        "next_cursor": str(page[-1][0]) if len(found) > limit else None,
    }


def _found(user_id: str, inbox: Inbox, before: int | None, limit: int, *, only_unread: bool) -> list[tuple[int, Item]]:
    if not only_unread:
        return inbox.newest(user_id, limit, before)
    found: list[tuple[int, Item]] = []
    while len(found) < limit and (chunk := inbox.newest(user_id, _LOOKED_THROUGH, before)):
        found += [(number, item) for number, item in chunk if item.unread]
        before = chunk[-1][0]
    return found[:limit]


def _shown(item: Item) -> dict[str, Any]:
    return {
        "id": item.notification_id,
        "title": item.title,
        "body": item.body,
        "url": item.url,
        "image": item.image,
        "data": msgspec.json.decode(item.data),
        "created_at": rfc3339(item.created_at),
        "seen": item.seen,
        "read": item.read,
        "archived": item.archived,
    }


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Invalid("is not a number" if name == "limit" else "is not one of ours", name)
    return int(text)
