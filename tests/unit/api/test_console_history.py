"""The viewer's latest queries: whose they are, how many, how long, and what goes when a user is erased."""

from random import Random
from string import ascii_letters

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.console.history import COOKIE, MOST, MOST_CHARACTERS, Query, kept, with_latest, without_erased
from app.api.console.sessions import LASTS_S, Session, Sessions
from tests.unit.api.test_console_pages import Behind, reading

_OURS = Session("eyes", "a" * 16, "csrf")
_SQL = "SELECT status, count() FROM lifecycle WHERE user_id = '{}' GROUP BY 1"


class _Clock:
    now = 1_000_000

    def __call__(self) -> int:
        return self.now


def _after(sessions: Sessions, *statements: str, session: Session = _OURS) -> str:
    """The cookie, after these ran in this order."""
    queries, cookie = list[Query](), ""
    for sql in statements:
        queries, cookie = with_latest(sessions, session, queries, sql)
        assert kept(sessions, session, cookie) == queries
    return cookie


def _noise(characters: int, seed: int = 0) -> str:
    return "".join(Random(seed).choices(ascii_letters, k=characters))


@settings(max_examples=30)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=300), min_size=1, max_size=30))
def test_the_latest_come_first_each_once_and_fit_a_cookie(statements: list[str]) -> None:
    sessions = Sessions(b"s", _Clock())
    cookie = _after(sessions, *statements)

    shown = [query.sql for query in kept(sessions, _OURS, cookie)]
    expected = list(dict.fromkeys(reversed(statements)))
    assert len(cookie) <= MOST_CHARACTERS
    assert shown == expected[: len(shown)]
    assert shown[0] == statements[-1]


def test_twenty_usual_queries_are_kept() -> None:
    sessions = Sessions(b"s", _Clock())
    cookie = _after(sessions, *(_SQL.format(f"pax-{number:05}") for number in range(MOST + 5)))

    assert len(kept(sessions, _OURS, cookie)) == MOST


def test_a_statement_too_long_for_a_cookie_isnt_kept_and_pushes_none_out() -> None:
    sessions = Sessions(b"s", _Clock())
    cookie = _after(sessions, "SELECT 1", _noise(20_000))

    assert [query.sql for query in kept(sessions, _OURS, cookie)] == ["SELECT 1"]


@pytest.mark.parametrize(
    "other",
    [Session("other", "a" * 16, "csrf"), Session("eyes", "b" * 16, "csrf")],
    ids=["another key", "the key made anew"],
)
def test_no_other_key_reads_them(other: Session) -> None:
    sessions = Sessions(b"s", _Clock())
    cookie = _after(sessions, "SELECT 1")

    assert kept(sessions, other, cookie) == []
    assert kept(Sessions(b"another installation", _Clock()), _OURS, cookie) == []
    assert "SELECT" not in cookie


def test_any_gateway_of_the_installation_shows_them_until_they_are_old() -> None:
    clock = _Clock()
    cookie = _after(Sessions(b"s", clock), "SELECT 1")
    other = Sessions(b"s", clock)
    assert [query.sql for query in kept(other, _OURS, cookie)] == ["SELECT 1"]

    clock.now += LASTS_S - 1
    queries, cookie = with_latest(other, _OURS, kept(other, _OURS, cookie), "SELECT 2")
    assert len(queries) == 2
    clock.now += 1
    assert [query.sql for query in kept(other, _OURS, cookie)] == ["SELECT 2"]


@given(st.text(max_size=5000))
def test_whatever_the_cookie_holds_nothing_fails(cookie: str) -> None:
    sessions = Sessions(b"s", _Clock())

    assert kept(sessions, _OURS, cookie) == []
    assert kept(sessions, _OURS, sessions.sealed("queries", cookie.encode(errors="replace"))[:MOST_CHARACTERS]) == []


@pytest.mark.parametrize(
    ("literal", "user_id"), [("ada", "ada"), ("o''brien", "o'brien"), (r"o\'brien", "o'brien"), ("a\nb", "a\nb")]
)
def test_a_query_that_names_an_erased_user_is_gone(literal: str, user_id: str) -> None:
    queries = [Query(2, _SQL.format(literal)), Query(1, "SELECT 1")]

    left = without_erased(queries, lambda name, at_ms: name == user_id and at_ms <= 5000)
    assert left == queries[1:]
    assert without_erased(queries, lambda name, at_ms: name == user_id and at_ms < 2000) == queries


async def test_the_page_lists_what_ran_puts_one_back_and_forgets_at_sign_out() -> None:
    behind = Behind()
    async with reading(behind) as reader:
        _, page = await reader.open("/query?sql=SELECT+'<b>'")
        assert "?draft=SELECT+%27%3Cb%3E%27" in page
        ran = list(behind.queries)
        _, page = await reader.open("/query?draft=SELECT+'<b>'")
        assert "\nSELECT &#39;&lt;b&gt;&#39;</textarea>" in page
        assert behind.queries == ran  # (it is put back, and not run)

        jar = reader.client.session.cookie_jar
        assert COOKIE in {cookie.key for cookie in jar}
        async with reader.client.post("/console/sign-out", data={}, allow_redirects=False) as response:
            assert response.status == 303
        assert COOKIE not in {cookie.key for cookie in jar}


async def test_what_was_refused_is_not_kept() -> None:
    async with reading(Behind(is_away=True)) as reader:
        status, page = await reader.open("/query?sql=SELECT+1")

    assert (status, "draft=" in page) == (503, False)
