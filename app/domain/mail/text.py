"""A mail's text part, made of its HTML: what a reader without HTML is shown."""

import re
from collections.abc import Iterator
from itertools import islice

from selectolax.lexbor import LexborHTMLParser, LexborNode

_HIDDEN = frozenset(("head", "style", "script", "title", "template", "noscript", "svg", "object", "iframe"))
_PARAGRAPHS = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre"))
_LINES = frozenset(
    ("address", "article", "aside", "div", "dd", "dt", "figure", "figcaption", "footer", "form", "header", "hr", "li")
) | frozenset(("main", "nav", "section", "tr"))
_CELLS = frozenset(("td", "th"))
_SPACE = re.compile(r"[ \t\r\n\f\xa0\u200b\u200c\u2007\ufeff\xad\u034f]+")
_NOT_SHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all", re.IGNORECASE)

#: Of a longer mail, the text part has the beginning.
_MOST_NODES = 20_000


def text_of(html: str) -> str:
    """The text of an HTML document or part of one: its paragraphs, lists and tables by line, and where links lead."""
    made = _Lines()
    for node, begins in islice(_walk(LexborHTMLParser(html).root), _MOST_NODES):
        if node.is_text_node:
            made.write(node.text_content or "")
        elif begins:
            _begin(node, made)
        else:
            _end(node, made)
    return made.text()


class _Lines:
    def __init__(self) -> None:
        self._parts: list[str] = []
        self._links: list[int] = []
        #: Line breaks that are due before the next word, and whether a space is.
        self._breaks = 0
        self._space = False

    def write(self, text: str) -> None:
        words = _SPACE.sub(" ", text)
        if not words.strip():
            self._space = self._space or bool(words)
            return
        if words[0] == " ":
            self._space = True
        self._put(words.strip())
        self._space = words[-1] == " "

    def _put(self, words: str) -> None:
        if self._parts and self._breaks:
            self._parts.append("\n" * self._breaks)
        elif self._parts and self._space:
            self._parts.append(" ")
        self._breaks, self._space = 0, False
        self._parts.append(words)

    def breaks(self, number: int) -> None:
        self._breaks = max(self._breaks, number)
        self._space = False

    def line(self) -> None:
        """One more line break, as an empty line may be wanted."""
        self._breaks = min(self._breaks + 1, 2)
        self._space = False

    def space(self) -> None:
        self._space = True

    def begin_link(self) -> None:
        self._links.append(len(self._parts))

    def end_link(self, url: str) -> None:
        shown = "".join(self._parts[self._links.pop() :]).strip() if self._links else ""
        if url.lower().startswith(("http://", "https://")) and shown not in (url, url.partition("://")[2]):
            self._space = self._space or bool(shown)
            self._put(f"({url})" if shown else url)

    def text(self) -> str:
        return "".join(self._parts)


def _walk(root: LexborNode | None) -> Iterator[tuple[LexborNode, bool]]:
    """Each node that is shown, at its begin and, of elements, at its end; without recursion."""
    node, top = root, root.mem_id if root is not None else 0  # (nodes compare by all that is in them)
    while node is not None:
        if not _is_hidden(node):
            yield node, True
            if node.first_child is not None:
                node = node.first_child
                continue
            if node.is_element_node:
                yield node, False
        while node is not None and node.mem_id != top and node.next is None:
            node = node.parent
            if node is not None:
                yield node, False
        if node is None or node.mem_id == top:
            return
        node = node.next


def _is_hidden(node: LexborNode) -> bool:
    if not node.is_element_node:
        return not node.is_text_node and not node.is_document_node
    if node.tag in _HIDDEN:
        return True
    attributes = node.attributes
    return "hidden" in attributes or _NOT_SHOWN.search(attributes.get("style") or "") is not None


def _begin(node: LexborNode, made: _Lines) -> None:
    tag = node.tag or ""
    if tag == "br":
        made.line()
    elif tag in _PARAGRAPHS:
        made.breaks(2)
    elif tag in _LINES:
        made.breaks(1)
    elif tag in _CELLS:
        made.space()
    if tag == "li":
        made.write("- ")
    elif tag == "img" and (alt := node.attributes.get("alt")):
        made.write(alt)
    elif tag == "a":
        made.begin_link()


def _end(node: LexborNode, made: _Lines) -> None:
    tag = node.tag or ""
    if tag == "a":
        made.end_link((node.attributes.get("href") or "").strip())
    elif tag in _PARAGRAPHS:
        made.breaks(2)
    elif tag in _LINES:
        made.breaks(1)
