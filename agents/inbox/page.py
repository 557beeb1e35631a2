"""A page of a user's inbox, newest first (docs/http.md)."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from schemas.decode import Invalid
from schemas.instants import rfc3339
from tables.inbox import Inbox, Item

_MOST_ASKED, _USUALLY_ASKED = 100, 20
_AT_A_TIME = 10
#: A page ends before it gets larger than this, unless a single item is.
_MOST_BYTES = 1 << 20

_encode = msgspec.json.Encoder().encode


def page_of(user_id: str, params: Mapping[str, str], inbox: Inbox) -> dict[str, Any]:
    limit = _number(params, "limit", _USUALLY_ASKED)
    if not 1 <= limit <= _MOST_ASKED:
        raise Invalid(f"is not between 1 and {_MOST_ASKED}", "limit")
    before = _number(params, "cursor", 0) or None
    page: list[dict[str, Any]] = []
    last, size = 0, 0
    is_all = True
    for number, item in _items(user_id, inbox, before, only_unread=params.get("unread") in ("true", "1")):
        shown = _shown(item)
        size += len(_encode(shown))
        if len(page) == limit or (page and size > _MOST_BYTES):
            is_all = False
            break
        page.append(shown)
        last = number
    return {
        "notifications": page,
        "unread_count": inbox.count(user_id).unread,
        "next_cursor": None if is_all else str(last),
    }


def _items(user_id: str, inbox: Inbox, before: int | None, *, only_unread: bool) -> Iterator[tuple[int, Item]]:
    """The newest first, a few at a time: each may be as large as a record."""
    while chunk := inbox.newest(user_id, _AT_A_TIME, before):
        for number, item in chunk:
            if item.unread or not only_unread:
                yield number, item
        before = chunk[-1][0]


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
