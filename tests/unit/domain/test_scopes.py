"""Which scopes there are, and for which event types a key may send."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.scopes import check_scope, covers, event_types_of, plain_scopes, scope_for

EVENT_TYPES = st.text("abz.-_", min_size=1, max_size=6)
PATTERNS = st.one_of(EVENT_TYPES, EVENT_TYPES.map(lambda text: f"{text}*"), st.just("*"))
PLAIN = st.sampled_from(["send", "campaign", "read", "admin", "admin:read"])
SCOPES = st.lists(st.one_of(PLAIN, PATTERNS.map(lambda pattern: f"send:{pattern}")), min_size=1, max_size=6)


@given(SCOPES, EVENT_TYPES)
def test_a_key_sends_for_what_one_of_its_scopes_names_and_nothing_else(scopes: list[str], event_type: str) -> None:
    limited = [scope.removeprefix("send:") for scope in scopes if scope.startswith("send:")]
    as_expressions = [re.escape(each).replace(re.escape("*"), ".*") for each in limited]
    named = any(re.fullmatch(each, event_type) for each in as_expressions)

    assert covers(event_types_of(scopes), event_type) is ("send" in scopes or not limited or named)


@given(SCOPES, EVENT_TYPES)
def test_the_scope_that_is_asked_for_is_enough(scopes: list[str], event_type: str) -> None:
    assert covers(event_types_of([*scopes, scope_for(event_type)]), event_type)


@given(SCOPES)
def test_event_types_limit_what_is_sent_and_open_no_other_door(scopes: list[str]) -> None:
    allowed = {scope for scope in scopes if not scope.startswith("send:")}
    limited = any(scope.startswith("send:") for scope in scopes)

    assert plain_scopes(scopes) == allowed | ({"send"} if limited else set())


@given(SCOPES)
def test_whatever_is_built_by_the_grammar_is_a_scope(scopes: list[str]) -> None:
    assert [check_scope(scope) for scope in scopes] == scopes


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "Send",
        "send ",
        "send\n",
        "send:",
        "send:a b",
        "send:a*b",
        "send:**",
        "send:.*)",
        "send:a\n",
        "send:é",
        "send:" + "a" * 101,
        "send:" + "a" * 100 + "*",
        "send:" + "*" * 1000,
        "read:a",
        "admin:write",
        "campaign:a.*",
        "send,read",
        "send:a;admin",
    ],
)
def test_anything_else_is_no_scope(scope: str) -> None:
    with pytest.raises(ValueError, match="is not a scope"):
        check_scope(scope)
