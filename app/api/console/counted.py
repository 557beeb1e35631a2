"""What a number of a page counts, as a statement that the page of queries runs: its link leads there."""

from typing import Final

from app.store.sql import quoted

_MOST: Final = 1000
_EVENTS = (
    "SELECT occurred_at, notification_id, user_id, send_id, status, reason, provider FROM lifecycle FINAL\n"
    "WHERE {where}\nORDER BY occurred_at DESC LIMIT {most}"
)
_SENDS = (
    "SELECT accepted_at, ended_at, user_id, channel, send_id, status, reason, provider FROM notifications\n"
    "WHERE {where}\nORDER BY accepted_at LIMIT {most}"
)
_LAST_DAY = "occurred_at > now() - INTERVAL 1 DAY"
#: What came back counts beside the end, and the furthest implies those before.
_CAME_BACK = ("delivered", "opened", "clicked")


def calls(provider: str, status: str) -> str:
    """Of a provider in the last 24 hours."""
    return _events(f"provider = {quoted(provider)} AND status = {quoted(status)} AND {_LAST_DAY}")


def refused(provider: str, status: str, reason: str) -> str:
    return _events(
        f"provider = {quoted(provider)} AND status = {quoted(status)} AND coalesce(reason, '') = {quoted(reason)} "
        f"AND {_LAST_DAY}"
    )


def waited(channel: str, began: str, ended: str) -> str:
    """Sends that an outage made wait. ``began``, ``ended``: minutes, as ClickHouse writes them."""
    return _events(
        f"channel = {quoted(channel)} AND status = 'held' AND reason = 'provider_outage'\n"
        f"  AND occurred_at >= {quoted(began)} AND occurred_at < toDateTime({quoted(ended)}, 'UTC') + INTERVAL 1 MINUTE"
    )


def lost(channel: str, began: str) -> str:
    """Sends that ended without having been sent since an outage began."""
    return _events(
        f"channel = {quoted(channel)} AND (status = 'expired' OR status = 'failed' AND reason = 'retries_exhausted')\n"
        f"  AND send_id != '' AND occurred_at >= {quoted(began)}"
    )


def accepted(minutes: int) -> str:
    """Notifications of the last minutes."""
    return _events(f"status = 'accepted' AND occurred_at > now() - INTERVAL {minutes} MINUTE")


def delivery(notification_id: str, channel: str, name: str) -> str:
    """The sends of a notification or campaign that a count of its ``delivery`` is of."""
    of_channel = "channel IS NULL" if channel == "all" else f"channel = {quoted(channel)}"
    if name == "pending":
        such = "ended_at IS NULL"
    elif name in _CAME_BACK:
        such = f"{name}_at IS NOT NULL"
    else:
        such = f"status = {quoted(name)}"
    return _SENDS.format(where=f"notification_id = {quoted(notification_id)} AND {of_channel} AND {such}", most=_MOST)


def _events(where: str) -> str:
    return _EVENTS.format(where=where, most=_MOST)
