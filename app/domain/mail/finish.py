"""The last steps of a mail: its styles inlined, what the policy adds, its links and its pixel, and its text part.

A mail to which nothing is to be done stays as it was rendered, byte for byte. So does the HTML of one that would be too
much work to read (``effort.py``), but for its footer.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from html import escape
from urllib.parse import quote, urlsplit

import css_inline
from babel import Locale, UnknownLocaleError
from selectolax.lexbor import LexborHTMLParser, LexborNode

from app.domain.mail.effort import can_be_styled, is_within_reach
from app.domain.mail.text import text_of
from app.domain.texts import texts_for
from schemas.links import is_link

_WEB = frozenset(("http", "https"))
#: As a token and a request's line have room for.
_MAX_URL_BYTES = 2048
#: All of printable ASCII: what needs no escape stays as it was signed.
_ASCII = "".join(map(chr, range(0x21, 0x7F)))

_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
#: As a parser writes ``<![if !mso]>`` and ``<![endif]>``.
_REVEALED = re.compile(r"<!--\[(if [^\]<>-]*|endif)\]-->")

#: Keeps a preview from going on with the mail's own text.
_PAD = "&#847;&zwnj;&nbsp;" * 40


@dataclass(frozen=True, slots=True)
class Footer:
    """``unsubscribe``: where the recipient opts out; None: they can't. ``address``: the sender's, in lines."""

    unsubscribe: str | None
    address: str


@dataclass(frozen=True, slots=True)
class Added:
    """What a mail gets besides what was rendered.

    ``locale``: of its template. ``preheader``: what a list of mails shows beside the subject. ``pixel``: the picture
    that reports an open. ``clicked``: makes the link in place of another one. ``is_own``: whether a link leads to the
    gateway, so that it stays.
    """

    locale: str | None = None
    preheader: str | None = None
    pixel: str | None = None
    clicked: Callable[[str], str] | None = None
    is_own: Callable[[str], bool] = lambda url: False
    footer: Footer | None = None

    @property
    def is_right_to_left(self) -> bool:
        return self.locale is not None and _is_right_to_left(self.locale)

    @property
    def changes_html(self) -> bool:
        return bool(self.preheader or self.pixel or self.clicked or self.footer or self.is_right_to_left)


@dataclass(frozen=True, slots=True)
class Mail:
    html: str | None
    text: str | None


def finished(html: str | None, text: str | None, added: Added) -> Mail:
    """The mail as it goes out; the same for the same arguments."""
    footer = _footer_text(added) if added.footer is not None else ""
    if html is None:
        return Mail(None, None if text is None else text + footer)
    if not is_within_reach(html):
        shown = html + (_footer_html(added) if added.footer is not None else "")
        return Mail(shown, None if text is None else text + footer)
    text = text_of(html) if text is None else text
    styles = styled(html)
    shown = _with_added(styles, added) if added.changes_html else styles
    return Mail(shown if shown is html else _as_written(html, shown), text + footer)


def _as_written(html: str, shown: str) -> str:
    """With what parsers read otherwise than mail programs: the document type, which says how tables with pictures are
    laid out, and what Outlook leaves out (``<![if !mso]>``), which HTML takes for a comment."""
    declared, read = _DOCTYPE.match(html), _DOCTYPE.match(shown)
    if declared is not None and read is not None:
        shown = declared[0].strip() + shown[read.end() :]
    return _REVEALED.sub(r"<![\1]>", shown) if "<![" in html else shown


def styled(html: str) -> str:
    """With the rules of its style sheets written out at each element, where mail programs read them. The sheets stay,
    for those that can do more (widths, dark mode)."""
    if not can_be_styled(html):
        return html
    try:
        return _inliner().inline(html)
    except css_inline.InlineError:
        return html


@lru_cache(maxsize=1)
def _inliner() -> css_inline.CSSInliner:
    """Reads nothing but the mail: no files, no network."""
    return css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True, keep_link_tags=True)


def _with_added(html: str, added: Added) -> str:
    document = LexborHTMLParser(html)
    if added.clicked is not None:
        for link in document.css("a[href], area[href]"):
            _track(link, added.clicked, added.is_own)
    if added.is_right_to_left:
        for element in document.css("html, body"):
            _direct(element, str(added.locale))
    body = document.body
    if body is None:  # a frameset
        return document.html or html
    first, last = _places(html)
    if body.first_child is not None:
        body.first_child.insert_before(first)
    else:
        body.insert_child(first)
    body.insert_child(last)
    shown = document.html or html
    before = _preheader(added.preheader) if added.preheader else ""
    after = (_footer_html(added) if added.footer is not None else "") + _pixel(added.pixel)
    return shown.replace(first, before, 1).replace(last, after, 1)


def _places(html: str) -> tuple[str, str]:
    """Two texts that the mail can't hold, for where something is to stand."""
    name = sha256(html.encode("utf-8", "surrogatepass")).hexdigest()
    return f"first-{name}", f"last-{name}"


def _track(link: LexborNode, clicked: Callable[[str], str], is_own: Callable[[str], bool]) -> None:
    attributes = link.attributes
    if "data-no-track" in attributes:
        del link.attrs["data-no-track"]
        return
    if attributes.get("clicktracking") == "off":
        del link.attrs["clicktracking"]
        return
    url = target_of(attributes["href"] or "")
    if url is not None and not is_own(url):
        link.attrs["href"] = clicked(url)


def target_of(written: str) -> str | None:
    """The address on the web that a link leads to, in ASCII; None: to none, or to one that can't be written so."""
    url = written.strip(" \t\r\n\f")
    if not is_link(url, _WEB) or url.startswith("/"):
        return None
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    target = quote(url, safe=_ASCII, errors="replace")
    return target if host and host.isascii() and len(target) <= _MAX_URL_BYTES else None


def _direct(element: LexborNode, locale: str) -> None:
    for name, value in (("dir", "rtl"), ("lang", locale)):
        if name not in element.attributes:
            element.attrs[name] = value


@lru_cache(maxsize=1024)
def _is_right_to_left(locale: str) -> bool:
    try:
        return bool(Locale.parse(locale.replace("_", "-"), sep="-").text_direction == "rtl")
    except (UnknownLocaleError, ValueError):
        return False


def _preheader(text: str) -> str:
    style = "display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;mso-hide:all"
    return f'<div style="{style}">{escape(text)}{_PAD}</div>'


def _pixel(url: str | None) -> str:
    if url is None:
        return ""
    return f'<img src="{escape(url)}" width="1" height="1" alt="" style="border:0;width:1px;height:1px">'


def _footer_html(added: Added) -> str:
    assert added.footer is not None
    # In the mail's own colour, as no grey can be read on white and on black.
    style = "margin:24px 0 0;font:12px/1.5 sans-serif;color:inherit;text-align:center"
    parts = [escape(line) for line in added.footer.address.splitlines() if line.strip()]
    if added.footer.unsubscribe is not None:
        words = escape(texts_for(added.locale)["footer.unsubscribe"])
        parts.append(f'<a href="{escape(added.footer.unsubscribe)}" style="color:inherit">{words}</a>')
    direction = ' dir="rtl"' if added.is_right_to_left else ""
    return f'<div{direction} style="{style}">{"<br>".join(parts)}</div>' if parts else ""


def _footer_text(added: Added) -> str:
    assert added.footer is not None
    lines = [line for line in added.footer.address.splitlines() if line.strip()]
    if added.footer.unsubscribe is not None:
        lines.append(f"{texts_for(added.locale)['footer.unsubscribe']}: {added.footer.unsubscribe}")
    return "\n\n-- \n" + "\n".join(lines) if lines else ""
