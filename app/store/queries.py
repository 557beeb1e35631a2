"""SQL that people ask of ClickHouse (``tocsin query``, ``GET /v1/query``): judged, limited, run by a read-only user."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import aiohttp
import msgspec

from app.config import Settings
from app.store.announcement import announced_query_url
from app.store.bound_values import check_places, to_send
from app.store.clickhouse import EMBEDDED, Unavailable
from app.store.reading import (
    DATABASE,
    MAX_SQL_BYTES,
    NotThere,
    QueryRefused,
    as_parameter,
    check_statement,
    explain,
    is_not_there_yet,
    needs_tree,
    refusal,
)

__all__ = ["Answer", "Limits", "Queries", "QueryRefused", "Unavailable"]

_MAX_ANSWER_BYTES = 96 << 20
#: How much longer than its own time limit an answer may be waited for, seconds.
_GRACE_S = 10.0
#: A password of before the embedded ClickHouse was started anew, and one whose time was over.
_AUTHENTICATION_FAILED, _TIMEOUT_EXCEEDED = "516", "159"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may take."""

    rows: int = 10_000
    seconds: int = 30
    memory_bytes: int = 200_000_000
    result_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's result. ``truncated``: there were more rows, or more bytes, than the limits allow."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[list[Any]]
    truncated: bool


class Queries:
    """Runs single statements that read. The embedded ClickHouse judges them itself; a server's are judged here, and its
    own user for queries (``clickhouse.query_url``) may do no more either."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._embedded = settings.clickhouse.url.startswith(EMBEDDED)
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def run(self, sql: str, limits: Limits | None = None, values: Mapping[str, str] | None = None) -> Answer:
        """``values``: of the statement's parameters ``{name:Type}``, by name. Raises QueryRefused, Unavailable."""
        limits = limits or Limits()
        try:
            size = len(sql.encode())
        except UnicodeEncodeError:
            raise QueryRefused("the statement holds a lone surrogate") from None
        if size > MAX_SQL_BYTES:
            raise QueryRefused(f"the statement is longer than {MAX_SQL_BYTES // 1024} KiB")
        bound = to_send(sql, values or {})
        statement = sql if self._embedded else await self._checked(sql, bound)
        raw = await self._ask(
            statement,
            {
                "max_result_rows": str(limits.rows + 1),
                "max_result_bytes": str(limits.result_bytes),
                "max_execution_time": str(limits.seconds),
                "max_memory_usage": str(limits.memory_bytes),
                **({} if self._embedded else _ON_A_SERVER),
                **bound,
            },
            sql,
            within_s=limits.seconds + _GRACE_S,
        )
        return _answer(raw, limits.rows)

    async def _checked(self, sql: str, values: Mapping[str, str]) -> str:
        bound = {"param_sql": as_parameter(sql), "default_format": "RawBLOB"}
        formatted = (await self._ask("SELECT formatQuerySingleLine({sql:String})", bound, sql)).decode()
        if needs_tree(formatted):
            check_places(formatted)
            tree = await self._ask(explain(formatted), {"default_format": "TabSeparatedRaw", **values}, sql)
            check_statement(formatted, tree.decode("utf-8", "replace"))
        return formatted

    async def _ask(self, statement: str, params: Mapping[str, str], sql: str, within_s: float = _GRACE_S) -> bytes:
        """``sql``: what was asked for, as errors may say no more than that."""
        for last in (False, True):
            url = self._url()
            try:
                async with (
                    asyncio.timeout(within_s),
                    self._session().post(
                        f"{'https' if url.scheme == 'clickhouses' else 'http'}://{url.hostname}:{url.port or 8123}/",
                        params={"database": DATABASE, "default_format": "JSONCompact", **params},
                        data=statement.encode(),
                        headers={"Authorization": _basic(url)},
                    ) as response,
                ):
                    body = await _read(response)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Unavailable(f"ClickHouse doesn't answer ({type(error).__name__})") from None
            if response.status == 200:
                return body
            code = response.headers.get("X-ClickHouse-Exception-Code", "")
            if code == _AUTHENTICATION_FAILED and not last:
                continue  # the embedded one was started anew, with another password
            raise self._refused(response.status, code, body.decode("utf-8", "replace"), sql)
        raise AssertionError("not reached")

    def _refused(self, status: int, code: str, text: str, sql: str) -> Exception:
        if code == _AUTHENTICATION_FAILED:
            return Unavailable("ClickHouse refuses the user for queries: check clickhouse.query_url")
        if status == 503:
            return Unavailable(text)
        if code == _TIMEOUT_EXCEEDED:
            return QueryRefused("the query took too long")
        if self._embedded:
            return QueryRefused(text)
        return Unavailable(str(NotThere())) if is_not_there_yet(text) else refusal(text, sql)

    def _url(self) -> SplitResult:
        settings = self._settings
        given = settings.clickhouse.query_url or settings.clickhouse.url
        found = announced_query_url(settings.data.dir) if self._embedded else given
        if found is None:
            remedy = "start `tocsin dev` or `tocsin worker analytics`"
            raise Unavailable(f"the embedded ClickHouse hasn't run here yet: {remedy}")
        return urlsplit(found)

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, connect=5))
        return self._http


_ON_A_SERVER = {
    "readonly": "1",
    "result_overflow_mode": "break",
    "output_format_json_quote_64bit_integers": "0",
    "wait_end_of_query": "1",
}


def _basic(url: SplitResult) -> str:
    return aiohttp.encode_basic_auth(unquote(url.username or "default"), unquote(url.password or ""))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_chunked(1 << 20):
        size += len(chunk)
        if size > _MAX_ANSWER_BYTES:
            raise QueryRefused("the answer is too large: ask for less")
        chunks.append(chunk)
    return b"".join(chunks)


def _answer(raw: bytes, rows: int) -> Answer:
    answer = msgspec.json.decode(raw)
    return Answer(
        columns=tuple(column["name"] for column in answer["meta"]),
        types=tuple(column["type"] for column in answer["meta"]),
        rows=answer["data"][:rows],
        truncated=len(answer["data"]) > rows,
    )
