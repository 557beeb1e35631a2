"""How much work a mail's HTML may be. Parsers take nesting and misnesting literally: what would take them seconds, or
more memory than there is, is left as it came.

What is counted here is no less than what a parser makes of it (HTML Standard, 13.2.6): an element is open until its end
tag, and each new paragraph may open all of them again.
"""

import re
from collections import Counter

#: So few tags can't be much work, however they are nested.
_FEW_TAGS = 500
_MOST_OPEN = 200
_MOST_NODES = 400_000
#: Characters of style sheets times tags.
_MOST_STYLING = 50_000_000

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
#: What never has a content, or is closed by the next of its kind and so never lies in itself.
_NEVER_NESTED = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "source",
        "track",
        "wbr",
        "p",
        "li",
        "dt",
        "dd",
        "option",
        "optgroup",
        "tr",
        "td",
        "th",
        "tbody",
        "thead",
        "tfoot",
        "colgroup",
        "caption",
        "html",
        "head",
        "body",
        "title",
        "style",
    ]
)
_STYLE = re.compile(r"<style\b.*?(?:</style|\Z)", re.IGNORECASE | re.DOTALL)


def is_within_reach(html: str) -> bool:
    """Whether the HTML can be read in a moment."""
    tags = html.count("<")
    if tags <= _FEW_TAGS:
        return True
    opened: Counter[str] = Counter()
    at_once = most = 0
    for ends, written in _TAG.findall(html):
        name = written.lower()
        if name in _NEVER_NESTED:
            continue
        if not ends:
            opened[name] += 1
            at_once += 1
            most = max(most, at_once)
            if most > _MOST_OPEN:
                return False
        elif opened[name]:
            opened[name] -= 1
            at_once -= 1
    return most * tags <= _MOST_NODES


def can_be_styled(html: str) -> bool:
    """Whether its style sheets, if it has any, can be applied to its elements in a moment."""
    styles = sum(len(style) for style in _STYLE.findall(html))
    return styles > 0 and styles * html.count("<") <= _MOST_STYLING
