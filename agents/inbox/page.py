"""What is shown of a user's inbox: a page, newest first; counts; and what changed (docs/inbox.md)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from schemas.decode import Invalid
from schemas.inbox_changes import InboxChange
from schemas.instants import rfc3339
from schemas.sends import Send, read_send
from tables.inbox import Inbox, Item

_MOST_ASKED, _USUALLY_ASKED = 100, 20
_AT_A_TIME = 10
#: A page ends before it gets larger than this, unless a single item is.
_MOST_BYTES = 1 << 20
#: Of changes: each stream that lags holds as much.
_MOST_BYTES_OF_CHANGES = 64 << 10

_encode = msgspec.json.Encoder().encode


def page_of(user_id: str, params: Mapping[str, str], inbox: Inbox) -> dict[str, Any]:
    """Of all items, or of those alone that ``unread``, ``archived``, ``snoozed`` and ``category`` ask for."""
    limit = _number(params, "limit", _USUALLY_ASKED)
    if not 1 <= limit <= _MOST_ASKED:
        raise Invalid(f"is not between 1 and {_MOST_ASKED}", "limit")
    before = _number(params, "cursor", 0) or None
    page: list[dict[str, Any]] = []
    last, size = 0, 0
    is_all = True
    for number, item in _items(user_id, inbox, before, _filter(params)):
        shown = shown_item(item)
        size += len(_encode(shown))
        if len(page) == limit or (page and size > _MOST_BYTES):
            is_all = False
            break
        page.append(shown)
        last = number
    count = inbox.count(user_id)
    return {
        "notifications": page,
        "unread_count": count.unread,
        "next_cursor": None if is_all else str(last),
        "last_event_id": str(count.version),
    }


def summary_of(user_id: str, inbox: Inbox) -> dict[str, Any]:
    count = inbox.count(user_id)
    archived = count.archived
    if archived is None:  # a revision before didn't count them
        archived = sum(item.archived for _, item in inbox.all(user_id))
    return {
        "badge": count.unread,
        "unread": count.unread,
        "unseen": count.unseen,
        "total": count.total,
        "archived": archived,
        "snoozed": count.snoozed,
        "last_event_id": str(count.version),
    }


def changes_of(user_id: str, params: Mapping[str, str], inbox: Inbox) -> dict[str, Any]:
    """What comes after a version, items that were added with their content; ``changes`` None: that can't be said. The
    counts are those at ``version``, the latest."""
    count = inbox.count(user_id)
    limit = min(_number(params, "limit", _MOST_ASKED), _MOST_ASKED)
    answer: dict[str, Any] = {
        "version": count.version,
        "unread": count.unread,
        "unseen": count.unseen,
        "changes": None,
        "items": {},
    }
    if "behind" not in params:
        return answer
    found = inbox.changes_after(user_id, _number(params, "behind", 0), limit)
    if found is not None:
        answer["changes"], answer["items"] = _with_items(user_id, found, inbox)
    return answer


def _with_items(
    user_id: str, changes: list[InboxChange], inbox: Inbox
) -> tuple[list[InboxChange], dict[str, dict[str, Any]]]:
    """As many of them as fit into an answer, and the items that they added, by version, as these came."""
    items: dict[str, dict[str, Any]] = {}
    size = 0
    for place, change in enumerate(changes):
        item = inbox.get(user_id, change.number) if change.number is not None else None
        if item is None:
            continue
        shown = shown_item(item) | {"seen": False, "read": False, "archived": False, "snoozed_until": None}
        size += len(_encode(shown))
        if items and size > _MOST_BYTES_OF_CHANGES:
            return changes[:place], items
        items[str(change.version)] = shown
    return changes, items


def _filter(params: Mapping[str, str]) -> Callable[[Item], bool]:
    only_unread = params.get("unread") in ("true", "1")
    archived, snoozed, category = (params.get(name) for name in ("archived", "snoozed", "category"))

    def is_asked(item: Item) -> bool:
        return (
            (item.unread or not only_unread)
            and archived in (None, str(item.archived).lower())
            and snoozed in (None, str(item.snoozed).lower())
            and (category is None or category == _category_of(item))
        )

    return is_asked


def _items(
    user_id: str, inbox: Inbox, before: int | None, is_asked: Callable[[Item], bool]
) -> Iterator[tuple[int, Item]]:
    """The newest first, a few at a time: each may be as large as a record."""
    while chunk := inbox.newest(user_id, _AT_A_TIME, before):
        for number, item in chunk:
            if is_asked(item):
                yield number, item
        before = chunk[-1][0]


def shown_item(item: Item) -> dict[str, Any]:
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
        "icon": item.icon,
        "actions": [{"label": button.label, "url": button.url} for button in item.actions],
        "expires_at": None if item.expires_at is None else rfc3339(item.expires_at),
        "category": _category_of(item),
        "snoozed_until": None if item.snoozed_until is None else rfc3339(item.snoozed_until),
    }


def _category_of(item: Item) -> str:
    if item.category is not None:
        return item.category
    send = read_send(item.send)
    assert isinstance(send, Send)
    return send.category


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Invalid("is not a number" if name == "limit" else "is not one of ours", name)
    return int(text)
