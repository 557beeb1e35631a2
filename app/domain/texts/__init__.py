"""What recipients read of Tocsin's own: the footer of mail and the hosted pages. A file for each language, all with the
same names; where there is none for a reader, English."""

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

import msgspec

LANGUAGES = ("en", "de", "fr", "es", "ar")
_FALLBACK = "en"
_RANGE = re.compile(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")
#: Of what a browser accepts; real ones name a dozen.
_MAX_RANGES = 20


def language_of(locale: str | None) -> str:
    """The language there are texts in for a locale (BCP 47)."""
    language = (locale or "").replace("_", "-").partition("-")[0].lower()
    return language if language in LANGUAGES else _FALLBACK


def texts_for(locale: str | None) -> Mapping[str, str]:
    """The texts by name."""
    return _read(language_of(locale))


def accepted(accept_language: str | None) -> str | None:
    """The language that a browser wants most (RFC 9110, 12.5.4) of those that there are; None: none of them."""
    wanted = []
    for place, part in enumerate((accept_language or "").split(",")[:_MAX_RANGES]):
        found = _RANGE.fullmatch(part)
        if found is not None and (weight := float(found[2] or 1)) > 0:
            wanted.append((-weight, place, found[1].partition("-")[0].lower()))
    return next((language for _, _, language in sorted(wanted) if language in LANGUAGES), None)


@lru_cache(maxsize=len(LANGUAGES))
def _read(language: str) -> Mapping[str, str]:
    return msgspec.json.decode(files(__package__).joinpath(f"{language}.json").read_bytes(), type=dict[str, str])
