"""Links: where a tap, a click or an image may lead. Whoever shows them opens them, with the reader's rights."""

import re
from collections.abc import Set

from schemas.decode import Invalid

MAX_LINK_CHARS = 2048

SCHEMES: frozenset[str] = frozenset(("https", "http", "mailto", "tel"))

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
#: What a browser takes out of a link before it reads it, so that another one is left.
_TAKEN_OUT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_link(text: str, schemes: Set[str] = SCHEMES) -> bool:
    """Whether it has one of the schemes (in lower case), or is a path of the app's own: a single ``/`` first."""
    if len(text) > MAX_LINK_CHARS or text != text.strip() or _TAKEN_OUT.search(text):
        return False
    if text.startswith("/"):
        return text[1:2] not in ("/", "\\")
    scheme = _SCHEME.match(text)
    return scheme is not None and scheme[1].lower() in schemes


def check_link(text: str | None, field: str, schemes: Set[str] = SCHEMES) -> None:
    """Raises Invalid with the field; none, or an empty one, leads nowhere."""
    if text and not is_link(text, schemes):
        raise Invalid(refusal(text), field)


def refusal(text: str) -> str:
    """Why it is not a link, for people."""
    if len(text) > MAX_LINK_CHARS:
        return f"is longer than {MAX_LINK_CHARS} characters"
    return (
        "is not a link: use https, http, mailto, tel, a scheme of gateway.link_schemes,"
        " or a path that begins with one /"
    )
