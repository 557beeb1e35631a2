"""The viewer's own latest queries: in their browser, in a cookie that only a gateway reads, while the session lasts.

No gateway keeps them, so any gateway shows them, and nobody else's key gets at them. A query may name a user: it goes
when the user is erased, and after some hours in any case.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from app.api.console.pages import ROOT, Page
from app.api.console.sessions import LASTS_S, Session, Sessions

COOKIE: Final = "tocsin_queries"
#: Only the page of queries is sent it.
PATH: Final = f"{ROOT}/query"
MOST: Final = 20
#: Of the cookie: browsers drop one of more than 4,096 with its name. Longer statements push older ones out.
MOST_CHARACTERS: Final = 3800
_MOST_BYTES = 256 * 1024
_KIND = "queries"
_LITERAL = re.compile(r"'((?:[^'\\]|\\.|'')*)'", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)|''", re.DOTALL)


class Query(Struct, frozen=True, array_like=True):
    """``at``: Unix seconds."""

    at: int
    sql: str


class _Kept(Struct, frozen=True, array_like=True):
    key_id: str
    fingerprint: str
    queries: list[Query]


def kept(sessions: Sessions, session: Session, cookie: str) -> list[Query]:
    """The latest first; none of another key, or of the same one before it was made anew."""
    content = sessions.unsealed(_KIND, cookie, LASTS_S) if len(cookie) <= MOST_CHARACTERS else None
    if content is None:
        return []
    try:
        found = msgspec.json.decode(zlib.decompressobj().decompress(content, _MOST_BYTES), type=_Kept)
    except (zlib.error, msgspec.MsgspecError):
        return []
    if (found.key_id, found.fingerprint) != (session.key_id, session.fingerprint):
        return []
    return [query for query in found.queries if query.at > sessions.clock() - LASTS_S]


def with_latest(sessions: Sessions, session: Session, before: Sequence[Query], sql: str) -> tuple[list[Query], str]:
    """With what was just run, as far as there is room, and the cookie. What has no room by itself isn't kept."""
    others = [query for query in before if query.sql != sql]
    queries = [Query(sessions.clock(), sql), *others][:MOST]
    for number in range(len(queries), 0, -1):
        cookie = _sealed(sessions, session, queries[:number])
        if len(cookie) <= MOST_CHARACTERS:
            return queries[:number], cookie
    return others, _sealed(sessions, session, others)


def without_erased(queries: Sequence[Query], is_erased: Callable[[str, int], bool]) -> list[Query]:
    """``is_erased``: whether a user was, at that moment (Unix ms) or since. A literal may be a user's id."""
    return [
        query for query in queries if not any(is_erased(literal, query.at * 1000) for literal in _literals(query.sql))
    ]


def _literals(sql: str) -> list[str]:
    return [_ESCAPED.sub(lambda found: found[1] or "'", literal) for literal in _LITERAL.findall(sql)]


def _sealed(sessions: Sessions, session: Session, queries: list[Query]) -> str:
    content = msgspec.json.encode(_Kept(session.key_id, session.fingerprint, queries))
    return sessions.sealed(_KIND, zlib.compress(content, 9))


def of(page: Page) -> list[Query]:
    deps = page.api.deps
    found = kept(deps.sessions, page.session, page.request.cookies.get(COOKIE, ""))
    return without_erased(found, deps.erased.since)


def keep(page: Page, response: web.StreamResponse, cookie: str) -> None:
    response.set_cookie(
        COOKIE, cookie, max_age=LASTS_S, path=PATH, httponly=True, samesite="Strict", secure=page.secure
    )


def forget(response: web.StreamResponse, *, secure: bool) -> None:
    response.del_cookie(COOKIE, path=PATH, httponly=True, samesite="Strict", secure=secure)
