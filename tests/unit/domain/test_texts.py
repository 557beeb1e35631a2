"""The texts that recipients read: the same in every language, and in the one that a browser asks for."""

import re

import pytest

from app.domain.texts import LANGUAGES, accepted, language_of, texts_for

FIELD = re.compile(r"\{\w+\}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_with_the_same_fields(language: str) -> None:
    english, texts = texts_for("en"), texts_for(language)

    assert texts.keys() == english.keys()
    assert all(sorted(FIELD.findall(texts[name])) == sorted(FIELD.findall(english[name])) for name in english)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("pt, fr;q=0.5, es;q=0.9", "es"),
        ("pt-BR", None),
        ("fr;q=0", None),
        ("", None),
        (None, None),
        ("," * 10_000, None),
        ("de;q=x", None),
    ],
)
def test_the_language_is_the_one_that_is_wanted_most(header: str | None, language: str | None) -> None:
    assert accepted(header) == language


@pytest.mark.parametrize(("locale", "language"), [("ar-EG", "ar"), ("de_DE", "de"), ("xx", "en"), (None, "en")])
def test_a_locale_without_texts_reads_english(locale: str | None, language: str) -> None:
    assert language_of(locale) == language
