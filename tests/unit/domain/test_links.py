"""Tokens of links: what they name comes back, and nothing else is one."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.links import Click, Links, OfSend, Preferences, Tokens
from app.domain.links.tokens import Use

KEYS = ("the first key", "an older key")
TOKENS = Tokens(KEYS)
USES: tuple[Use, ...] = ("open", "click", "unsubscribe", "preferences")

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=128)
sends = st.builds(
    OfSend, texts, st.sampled_from(("push", "email", "sms", "in_app")), texts, st.binary(min_size=16, max_size=16)
)
named = sends | st.builds(Click, sends, texts) | st.builds(Preferences, texts, st.integers(0, 2**40))


@given(named, st.sampled_from(USES))
def test_what_was_named_comes_back_for_the_same_use_only(what: Any, use: Use) -> None:
    token = TOKENS.make(use, what)

    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert TOKENS.read(use, token, type(what)) == what
    assert all(TOKENS.read(other, token, type(what)) is None for other in USES if other != use)
    assert Tokens(["another key"]).read(use, token, type(what)) is None


@given(named)
def test_the_same_words_are_the_same_token_by_the_key_that_is_named(what: Any) -> None:
    older = Tokens(KEYS[1:])
    token = older.make("open", what)

    assert TOKENS.make("open", what, older.current) == token
    assert TOKENS.make("open", what) != token
    assert TOKENS.read("open", token, type(what)) == what


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda raw: raw.decode("latin-1")))
def test_whatever_else_comes_names_nothing(token: str) -> None:
    kinds: list[Any] = [OfSend, Click, Preferences]
    assert all(TOKENS.read(use, token, kind) is None for use in USES for kind in kinds)


@given(sends, st.integers(0, 10_000), st.integers(1, 63))
def test_a_changed_token_names_nothing(what: OfSend, at: int, by: int) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = TOKENS.make("unsubscribe", what)
    at %= len(token) - 1  # (of the last letter some bits don't count)
    changed = alphabet[(alphabet.index(token[at]) + by) % 64]

    assert TOKENS.read("unsubscribe", token[:at] + changed + token[at + 1 :], OfSend) is None


def test_a_token_of_a_revision_that_named_something_else_names_nothing() -> None:
    assert TOKENS.read("click", TOKENS.make("click", Preferences("u1", 1)), Click) is None


def test_a_token_shows_neither_the_user_nor_the_key() -> None:
    token = TOKENS.make("unsubscribe", OfSend("ada-lovelace", "email", "marketing", b"s" * 16))

    assert "ada" not in token
    assert TOKENS.current not in KEYS


def test_tokens_need_a_key() -> None:
    with pytest.raises(ValueError):
        Tokens([])


@pytest.mark.parametrize(
    ("url", "own"),
    [("https://n.example/x", True), ("https://n.example", True), ("https://n.example.evil/x", False)],
)
def test_own_links_are_those_below_the_public_address(url: str, own: bool) -> None:
    assert Links("https://n.example/", TOKENS).is_own(url) is own
