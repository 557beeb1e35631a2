"""ClickHouse, embedded or a server: how to reach it, and what it knows of the past of notifications."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import msgspec
from clickhouse_connect.driver import AsyncClient, options
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from app.config import Settings
from app.store.announcement import announced_url
from app.store.lifecycle_rows import EVENT_COLUMNS
from app.store.sql import statement
from schemas.decode import Invalid
from schemas.instants import instant_ms, rfc3339

#: How ``clickhouse.url`` begins where chDB is meant; its folder follows.
EMBEDDED = "chdb://"
_UNKNOWN_DATABASE = 81
#: Of a part of a cursor.
_MOST_NAME_CHARS = 64
#: No answer at all, or one from a server that has been started anew since (with another password).
_LOST = (None, 516)
_AS_JSON = {"date_time_output_format": "iso", "output_format_json_quote_64bit_integers": 0}


class Unavailable(Exception):
    """ClickHouse can't be asked now; the message says what to do."""


async def connect(settings: Settings, database: str | None = "notify") -> AsyncClient:
    """A client of the server that ``clickhouse.url`` names, or of the one that the analytics role runs here.

    Raises Unavailable.
    """
    embedded = settings.clickhouse.url.startswith(EMBEDDED)
    found = announced_url(settings.data.dir) if embedded else settings.clickhouse.url
    remedy = "start `tocsin dev` or `tocsin worker analytics`" if embedded else "check clickhouse.url"
    if found is None:
        raise Unavailable(f"the embedded ClickHouse hasn't run here yet: {remedy}")
    url = urlsplit(found)
    # Else the first insert imports pandas, which takes seconds and 40 MB, to see whether it was given a data frame.
    options.pd = None
    try:
        return await clickhouse_connect.get_async_client(
            host=url.hostname,
            port=url.port or 8123,
            username=unquote(url.username or "default"),
            password=unquote(url.password or ""),
            database=database,
            secure=url.scheme == "clickhouses",
            compress=not embedded,
            connect_timeout=5,
            show_clickhouse_errors="scrub",
        )
    except (ClickHouseError, OSError) as error:
        if getattr(error, "code", None) == _UNKNOWN_DATABASE:
            raise Unavailable(
                "ClickHouse has no database notify yet: start the analytics role, which makes it"
            ) from None
        what = "the embedded ClickHouse" if embedded else f"ClickHouse at {url.hostname}:{url.port or 8123}"
        raise Unavailable(f"{what} can't be reached ({type(error).__name__}): {remedy}") from None


class History:
    """Reads. Connects when first asked, and again when the role that serves it has been restarted.

    All methods raise Unavailable.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        if self._client is not None:
            await self._drop(self._client)

    async def status(self, notification_id: str) -> dict[str, Any] | None:
        """``{recipients, created_at, source, event_types, delivery: {channel: {pending, sent, …: count}}, done}``;
        None: not known. Of the event types (there is one unless producers to Kafka repeat ids) at most 100.

        ``delivery`` counts sends, under ``all`` what has ended or waits for all channels together. ``pending`` and the
        ends (``sent``, ``suppressed``, ``failed``, ``expired``, ``cancelled``, ``aggregated``, ``unknown``) add up to
        all of them, as each send has one end. What came back counts beside, and cumulatively: a send that was clicked
        is also among ``opened``, ``delivered`` and ``sent``. ``done``: every recipient was judged and nothing is
        pending; a fallback step that never began isn't waited for.
        """
        named = {"notification_id": notification_id}
        [known], counts = await asyncio.gather(
            self._rows("notification_recipients", named), self._rows("notification_status", named)
        )
        if not known["recipients"]:
            return None
        delivery = {row.pop("channel"): row for row in counts}
        return {
            "recipients": known["recipients"],
            "created_at": known["created_at"],
            "source": known["source"],
            "event_types": known["event_types"],
            "delivery": delivery,
            "done": known["judged"] >= known["recipients"] and not any(row["pending"] for row in delivery.values()),
        }

    async def events(
        self, notification_id: str, user_id: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Lifecycle events as they were written, each once, oldest first, and where to go on (None: at the end).

        Raises ValueError for a cursor that isn't one of ours.
        """
        after_at, after_rank, after_offset, after_id = _position(cursor)
        rows = await self._rows(
            "notification_events",
            {
                "notification_id": notification_id,
                "user_id": user_id or "",
                "after_at": after_at,
                "after_rank": after_rank,
                "after_offset": after_offset,
                "after_id": after_id,
                "limit": limit + 1,
            },
            columns=", ".join(EVENT_COLUMNS),
        )
        page = rows[:limit]
        more = _cursor(page[-1]) if len(rows) > limit else None
        return [_event(row) for row in page], more

    async def of_user(
        self, user_id: str, since_ms: int, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[dict[str, Any]], str | None]:
        """What became of everything meant for a user that was accepted since, newest first, and where to go on (None:
        at the end). Raises ValueError for a cursor that isn't one of ours."""
        before_at, before_id, before_channel, before_send = _place(cursor)
        rows = await self._rows(
            "user_notifications",
            {
                "user_id": user_id,
                "since": rfc3339(since_ms),
                "before_at": before_at,
                "before_id": before_id,
                "before_channel": before_channel,
                "before_send": before_send,
                "limit": limit + 1,
            },
        )
        page = rows[:limit]
        more = _written(tuple(page[-1][name] for name in _PLACED)) if len(rows) > limit else None
        return [{name: row[name] for name in _OF_USER} for row in page], more

    async def _rows(self, name: str, parameters: Mapping[str, Any], **parts: str) -> list[dict[str, Any]]:
        try:
            raw = await self._raw(statement(name, **parts), parameters, fmt="JSONEachRow")
        except DatabaseError as error:
            raise Unavailable(f"ClickHouse: {error}") from None
        return [msgspec.json.decode(line) for line in raw.splitlines()]

    async def _raw(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        fmt: str,
        settings: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Raises DatabaseError for what ClickHouse refuses."""
        for _ in range(2):
            client = await self._connected()
            try:
                answer: bytes = await client.raw_query(
                    sql, dict(parameters or {}), settings={**_AS_JSON, **(settings or {})}, fmt=fmt
                )
                return answer
            except DatabaseError as error:
                if error.code not in _LOST:
                    raise
                await self._drop(client)
        raise Unavailable("ClickHouse doesn't answer")

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                self._client = await connect(self._settings)
            return self._client

    async def _drop(self, client: AsyncClient) -> None:
        if self._client is client:
            self._client = None
        await client.close()


def _event(row: dict[str, Any]) -> dict[str, Any]:
    detail = row["detail"]
    return {
        **{name: row[name] for name in EVENT_COLUMNS},
        "detail": None if detail is None else msgspec.json.decode(detail),
    }


_Position = tuple[str, int, int, str]
_START: _Position = ("1970-01-01T00:00:00.000Z", 0, 0, "")


def _cursor(row: Mapping[str, Any]) -> str:
    position = (row["occurred_at"], row["rank"], row["topic_offset"], row["event_id"])
    return _written(position)


def _written(position: tuple[Any, ...]) -> str:
    return urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


_OF_USER = ("notification_id", "event_type", "category", "channel", "status", "reason", "at")
_PLACED = ("at", "notification_id", "of_channel", "of_send")
_Place = tuple[str, str, str, str]
_NEWEST: _Place = ("2200-01-01T00:00:00.000Z", "", "", "")


def _place(cursor: str | None) -> _Place:
    if cursor is None:
        return _NEWEST
    try:
        place: _Place = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=_Place)
        instant_ms(place[0], "cursor")
        if any(len(part) > _MOST_NAME_CHARS or "\0" in part for part in place):
            raise ValueError
        return place
    except (ValueError, msgspec.MsgspecError, Invalid):
        raise ValueError("cursor: not a valid cursor") from None


def _position(cursor: str | None) -> _Position:
    if cursor is None:
        return _START
    try:
        position: _Position = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=_Position)
        at, rank, offset, _ = position
        instant_ms(at, "cursor")
        if not (0 <= rank < 2**8 and 0 <= offset < 2**63):
            raise ValueError
        return position
    except (ValueError, msgspec.MsgspecError, Invalid):
        raise ValueError("cursor: not a valid cursor") from None
