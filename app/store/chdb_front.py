"""ClickHouse's HTTP protocol over chDB, the embedded ClickHouse: one process owns the folder, all others ask it.

Each request gets its own chDB connection, as ``USE`` and ``SET`` last as long as a connection does; opening one takes
a millisecond.

chDB knows no users, so they are known here: ``USER`` may do everything; ``READER`` runs what people ask, which is
judged (``reading.py``), limited, and kept apart from everything else.
"""

import asyncio
import hmac
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cramjam
from aiohttp import BasicAuth, web
from chdb.state.sqlitelike import Connection

from app.store.bound_values import check_places, values_in
from app.store.lookups import as_asked, named_format
from app.store.query_users import QueryUsers
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
from app.store.sql import quoted

USER = "tocsin"
READER = "reader"

#: Keeps the role's memory small; a request may set others.
_DEFAULTS = {
    "max_threads": "1",
    "max_insert_threads": "1",
    "max_memory_usage": "200000000",
    "max_bytes_before_external_group_by": "60000000",
    "max_bytes_before_external_sort": "60000000",
    "input_format_parallel_parsing": "0",
    "output_format_parallel_formatting": "0",
}
#: What one query of a reader may take at most.
READER_LIMITS = {
    "max_result_rows": "1000001",
    "max_result_bytes": str(64 << 20),
    "max_execution_time": "30",
    "max_memory_usage": "200000000",
}
#: Readers' queries that run at the same time; how long, in seconds, another one waits for its turn, and how much longer
#: than its time one may take before it is killed.
_ASKED_AT_ONCE, _PATIENCE_S, _GRACE_S = 2, 5.0, 2.0
#: Of the queries of all users that were made for other tools, how many run at the same time: fewer than all, so that
#: they don't keep `tocsin query` and the gateway waiting.
_OF_USERS_AT_ONCE = 1
#: Of one of these users: queries, and seconds that they ran.
_QUERIES_A_MINUTE, _SECONDS_A_MINUTE = 600, 60.0
#: What HTTP parameters may say that isn't a setting of the query.
_NOT_SETTINGS = {
    *("query", "database", "default_format", "query_id", "quota_key", "role", "user", "password"),
    *("session_id", "session_timeout", "session_check", "compress", "decompress", "buffer_size"),
    *("wait_end_of_query", "client_protocol_version"),
}
#: An INSERT of rows that ClickHouse makes of its own.
_FROM_ROWS = re.compile(rb"\s*INSERT\s+INTO\s+[\w.]+\s*(?:\([^)]*\)\s*)?SELECT\b", re.I)
#: An INSERT whose data follows in the format that it names (chDB's parser would look for its end inside binary data).
_WITH_DATA = re.compile(
    rb"\s*(INSERT\s+INTO\s+(?:(?!\bSELECT\s|\bVALUES\s*\().)*?)\s+FORMAT\s+(\w+)[ \t]*\r?\n", re.I | re.S
)
_MAX_BODY_BYTES = 256 << 20
#: ClickHouse's own numbers.
_NOT_IMPLEMENTED, _AUTHENTICATION_FAILED, _UNKNOWN_EXCEPTION = "48", "516", "1002"
_QUERY_IS_TOO_LARGE = "394"
_ACCESS_DENIED, _TIMEOUT_EXCEEDED, _TOO_MANY_QUERIES, _UNKNOWN_DATABASE = "497", "159", "202", "81"
_QUOTA_EXCEEDED = "201"


def _basic(user: str, password: str) -> bytes:
    return b"Basic " + b64encode(f"{user}:{password}".encode())


def _reader_limits(params: Mapping[str, str]) -> dict[str, str]:
    """The limits of a reader's query: lower ones may be asked for. Raises ValueError."""
    limits = dict(READER_LIMITS)
    for name in limits.keys() & params.keys():
        if not re.fullmatch(r"[0-9]{1,12}", params[name]) or not 0 < int(params[name]) <= int(limits[name]):
            raise ValueError(f"{name}: at most {limits[name]}")
        limits[name] = params[name]
    return limits | {"result_overflow_mode": "break", "output_format_json_quote_64bit_integers": "0"}


@dataclass(slots=True)
class _Used:
    """What a user has used of its quota in a minute."""

    minute: int
    queries: int = 0
    seconds: float = 0.0


class ChdbFront:
    """Serves one folder on loopback, as ``aiohttp`` application ``app``. The passwords are what clients must know."""

    def __init__(self, folder: Path, password: str, reader_password: str, users: QueryUsers) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = str(folder.resolve())
        self._owner_basic = _basic(USER, password)
        self._reader_basic = _basic(READER, reader_password)
        self._users = users
        #: By name of ``users``: what each has used of its quota.
        self._used: dict[str, _Used] = {}
        #: Keeps the folder open, and other processes out.
        self._owner = Connection(self._path)
        #: Apart, so that somebody's long query doesn't hold up what comes in.
        self._writer = ThreadPoolExecutor(1, "chdb-write")
        self._readers = ThreadPoolExecutor(2, "chdb-read")
        #: Rows that are made of rows: nobody waits for them, and they may take long.
        self._upkeep = ThreadPoolExecutor(1, "chdb-upkeep")
        #: What people ask, so that two queries that hang don't keep anybody's history from being read.
        self._asked = ThreadPoolExecutor(_ASKED_AT_ONCE, "chdb-asked")
        self._asking = asyncio.Semaphore(_ASKED_AT_ONCE)
        self._users_asking = asyncio.Semaphore(_OF_USERS_AT_ONCE)
        #: Inserts under way. The rows of one are there before the states that are made of them, so whoever asks
        #: meanwhile waits: the views show all that the table does.
        self._inserting: set[asyncio.Future[bytes]] = set()
        self.app = web.Application(client_max_size=_MAX_BODY_BYTES)
        self.app.router.add_get("/ping", self._ping)
        self.app.router.add_route("*", "/", self._query)

    def close(self) -> None:
        """Breaks off what is running, then lets go of the folder."""
        self._owner.query("KILL QUERY WHERE true")
        self._writer.shutdown()
        self._readers.shutdown()
        self._upkeep.shutdown()
        self._asked.shutdown()
        self._owner.close()

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _query(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        is_reader = hmac.compare_digest(given, self._reader_basic)
        user = None if is_reader or hmac.compare_digest(given, self._owner_basic) else self._user(request)
        if user == "":
            return _failure(
                403, _AUTHENTICATION_FAILED, f"Code: {_AUTHENTICATION_FAILED}. DB::Exception: Authentication failed"
            )
        asks = is_reader or user is not None
        params = dict(request.query)
        try:
            body = await (_statement(request, params) if asks else _body(request, params))
        except ValueError as error:
            return _failure(400, _NOT_IMPLEMENTED, f"Code: {_NOT_IMPLEMENTED}. DB::Exception: {error}")
        except web.HTTPRequestEntityTooLarge:
            return _failure(413, _QUERY_IS_TOO_LARGE, "the statement is too long")
        sql = b"\n".join(part for part in (params.get("query", "").encode(), body) if part)
        if asks and len(sql) > MAX_SQL_BYTES:
            return _failure(413, _QUERY_IS_TOO_LARGE, "the statement is too long")
        if user is not None:
            await self._inserted()
            return await self._answer_user(user, sql, params)
        threads = self._threads(sql)
        if is_reader or threads is self._readers:
            await self._inserted()
        if is_reader:
            return await self._answer_reader(sql, params)
        running = asyncio.get_running_loop().run_in_executor(threads, self._run, sql, params)
        if threads is self._writer:
            self._inserting.add(running)
            running.add_done_callback(self._inserting.discard)
        try:
            answer = await running
        except RuntimeError as error:
            code = re.search(r"Code: (\d+)", str(error))
            return _failure(500, code[1] if code else _UNKNOWN_EXCEPTION, str(error))
        # Without a format clients take it for a statement that has no result.
        return web.Response(body=answer, headers={"X-ClickHouse-Format": _format(sql, params)} if answer else {})

    async def _inserted(self) -> None:
        if self._inserting:
            await asyncio.wait(set(self._inserting), timeout=_PATIENCE_S)

    def _threads(self, sql: bytes) -> ThreadPoolExecutor:
        if _FROM_ROWS.match(sql):
            return self._upkeep
        return self._writer if sql.lstrip()[:6].upper() == b"INSERT" else self._readers

    # --- what people ask ---

    def _user(self, request: web.Request) -> str:
        """Who of ``users`` asks, by any of the ways that ClickHouse knows; "": nobody."""
        try:
            login = BasicAuth.decode(request.headers.get("Authorization", ""))
            name, password = login.login, login.password
        except ValueError:
            name = request.headers.get("X-ClickHouse-User", request.query.get("user", ""))
            password = request.headers.get("X-ClickHouse-Key", request.query.get("password", ""))
        return name if self._users.is_known(name, password) else ""

    async def _answer_user(self, user: str, sql: bytes, params: Mapping[str, str]) -> web.Response:
        """As a reader's, in the format that it asks for; what its tool looks up of its own accord is answered, too."""
        used = self._used_by(user)
        used.queries += 1
        if used.queries > _QUERIES_A_MINUTE or used.seconds >= _SECONDS_A_MINUTE:
            most = f"{_QUERIES_A_MINUTE} queries, or queries of {_SECONDS_A_MINUTE:g} s, a minute"
            return _failure(429, _QUOTA_EXCEEDED, f"{user} asks more than {most}: ask less often")
        try:
            text, format, is_own = as_asked(
                sql.decode("utf-8", "replace"), params.get("default_format", "TabSeparated")
            )
        except QueryRefused as refused:
            return _failure(403, _ACCESS_DENIED, str(refused))
        return await self._answer_reader(text.encode(), params, format, user, is_own=is_own)

    def _used_by(self, user: str) -> "_Used":
        minute = int(asyncio.get_running_loop().time() // 60)
        if user not in self._used or self._used[user].minute != minute:
            self._used[user] = _Used(minute)
        return self._used[user]

    async def _turn(self, user: str | None) -> Callable[[object], None]:
        """Waits for a query's turn; what is returned ends it, and counts how long it took. Raises TimeoutError."""
        turns = (self._asking,) if user is None else (self._users_asking, self._asking)
        with ExitStack() as held:
            async with asyncio.timeout(_PATIENCE_S):
                for turn in turns:
                    await turn.acquire()
                    held.callback(turn.release)
            release = held.pop_all().close
        clock = asyncio.get_running_loop().time
        began = clock()

        def end(_: object) -> None:
            release()
            if user is not None:
                self._used_by(user).seconds += clock() - began

        return end

    async def _answer_reader(
        self,
        sql: bytes,
        params: Mapping[str, str],
        format: str = "JSONCompact",
        user: str | None = None,
        *,
        is_own: bool = False,
    ) -> web.Response:
        """Judged (unless the statement is our own), limited, and broken off when its time is over."""
        try:
            limits, values = _reader_limits(params), values_in(params)
            end = await self._turn(user)
        except (ValueError, QueryRefused) as error:
            return _failure(400, _ACCESS_DENIED, str(error))
        except TimeoutError:
            return _failure(503, _TOO_MANY_QUERIES, "too many queries are running: try again later")
        mark = f"/* {secrets.token_hex(12)} */"
        running = asyncio.get_running_loop().run_in_executor(
            self._asked, self._run_checked, sql, limits, values, mark, format, is_own
        )
        running.add_done_callback(end)
        try:
            async with asyncio.timeout(float(limits["max_execution_time"]) + _GRACE_S):
                answer = await asyncio.shield(running)
        except TimeoutError:
            await asyncio.to_thread(self._break_off, mark)
            return _failure(500, _TIMEOUT_EXCEEDED, "the query took too long")
        except NotThere as missing:
            return _failure(503, _UNKNOWN_DATABASE, str(missing))
        except QueryRefused as refused:
            return _failure(403, _ACCESS_DENIED, str(refused))
        return web.Response(body=answer, headers={"X-ClickHouse-Format": format})

    def _run_checked(
        self, sql: bytes, limits: Mapping[str, str], values: dict[str, str], mark: str, format: str, is_own: bool
    ) -> bytes:
        """Raises QueryRefused, NotThere."""
        text = sql.decode("utf-8", "replace")
        connection = Connection(self._path)
        try:
            wanted = {**_DEFAULTS, **limits, "readonly": "1"}
            connection.query(f"USE {quoted(DATABASE, '`')}")
            connection.query("SET " + ", ".join(f"{quoted(k, '`')} = {quoted(v)}" for k, v in wanted.items()))
            formatted = connection.query(
                "SELECT formatQuerySingleLine({sql:String})", "RawBLOB", params={"sql": as_parameter(text)}
            ).bytes()
            formatted = formatted.decode()
            if not is_own:
                tree = b""
                if needs_tree(formatted):
                    check_places(formatted)
                    tree = connection.query(explain(formatted), "TabSeparatedRaw", params=values).bytes()
                check_statement(formatted, tree.decode("utf-8", "replace"))
            answer: bytes = connection.query(f"{mark} {formatted}", format, params=values).bytes()
            return answer
        except RuntimeError as error:
            if is_not_there_yet(str(error)):
                raise NotThere from None
            raise refusal(str(error), text) from None
        finally:
            connection.close()

    def _break_off(self, mark: str) -> None:
        connection = Connection(self._path)
        try:
            connection.query(f"KILL QUERY WHERE startsWith(query, {quoted(mark)}) ASYNC")
        finally:
            connection.close()

    def _run(self, sql: bytes, params: Mapping[str, str]) -> bytes:
        settings = {k: v for k, v in params.items() if k not in _NOT_SETTINGS and not k.startswith("param_")}
        bound = {k.removeprefix("param_"): v for k, v in params.items() if k.startswith("param_")}
        # In order: after readonly nothing more can be set.
        readonly = {"readonly": settings.pop("readonly")} if "readonly" in settings else {}
        connection = Connection(self._path)
        try:
            if database := params.get("database"):
                connection.query(f"USE {quoted(database, '`')}")
            wanted = {**_DEFAULTS, **settings, **readonly}
            connection.query("SET " + ", ".join(f"{quoted(k, '`')} = {quoted(v)}" for k, v in wanted.items()))
            if data := _WITH_DATA.match(sql):
                with connection.send_insert(data[1].decode(), data[2].decode()) as insert:
                    insert.append(sql[data.end() :])
                    insert.finish()
                return b""
            answer: bytes = connection.query(sql, params.get("default_format", "TabSeparated"), params=bound).bytes()
            return answer
        finally:
            connection.close()


async def _statement(request: web.Request, params: dict[str, str]) -> bytes:
    """The body of somebody who only asks: no more of it is read than a statement may be long, and nothing unpacked, as
    a little may unpack to a lot. Raises ValueError for what isn't served."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError("Content-Encoding is not served: send the statement as it is")
    if request.content_type == "multipart/form-data":
        raise ValueError("multipart forms are not served: send the statement as it is")
    return await _body(request.clone(client_max_size=MAX_SQL_BYTES), params)


async def _body(request: web.Request, params: dict[str, str]) -> bytes:
    """The request's body, unpacked; a form's fields go to ``params``. Raises ValueError for what isn't served."""
    if request.content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
        for name, value in (await request.post()).items():
            if not isinstance(value, str):
                raise ValueError("external data is not served")
            params[name] = value
        return b""
    body = await request.read()
    coding = request.headers.get("Content-Encoding", "identity")
    if coding not in ("identity", "lz4"):
        raise ValueError(f"Content-Encoding {coding} is not served: use lz4")
    return bytes(cramjam.lz4.decompress(body)) if coding == "lz4" else body


def _format(sql: bytes, params: Mapping[str, str]) -> str:
    return named_format(sql.decode("utf-8", "replace"))[1] or params.get("default_format", "TabSeparated")


def _failure(status: int, code: str, text: str) -> web.Response:
    return web.Response(status=status, text=text, headers={"X-ClickHouse-Exception-Code": code})
