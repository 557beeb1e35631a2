"""From a template version to what one channel shows: which variant, which locale, which parts."""

import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from app.domain.rendering.budget import Stopwatch
from app.domain.rendering.environment import BadTemplate, compiled, rendered
from schemas.config import Parts, Template, TemplateVersion
from schemas.links import SCHEMES, is_link, refusal
from schemas.requests import Content
from schemas.words import Channel

#: All that some channel, mail client or phone takes for the end of a line (Unicode, "Newline Guidelines").
_BREAK = re.compile(r"\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")

#: Parts that are one line: a header, a heading, an address.
_ONE_LINE = frozenset(("title", "subject", "preheader", "reply_to", "url", "image"))


_LINKS = frozenset(("url", "image"))


@dataclass(frozen=True, slots=True)
class RenderError:
    """Why a template can't be shown (``failed``, ``bad_template``). ``part``: its dotted name, such as
    ``email.de.subject``; ``message`` holds no data."""

    part: str
    message: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template version whose sources are compiled when first shown, each once, whoever else has the same."""

    version: int
    template: Template


def compile_template(version: TemplateVersion) -> Compiled:
    """Costs nothing, and never fails: a source that can't be compiled matters when its part is rendered."""
    return Compiled(version.version, version.template)


def check_syntax(template: Template) -> list[RenderError]:
    """Every part that can't be compiled."""
    errors = []
    for part, source, html in _sources(template):
        try:
            compiled(source, html)
        except BadTemplate as error:
            errors.append(RenderError(part, str(error)))
    return errors


def render(
    compiled: Compiled,
    channel: Channel,
    locale: str | None,
    variables: Mapping[str, Any],
    variant: str | None = None,
    schemes: Set[str] = SCHEMES,
    seconds: Callable[[], float] | None = None,
) -> dict[str, str] | RenderError:
    """The channel's parts (title, body, subject, html, text, …) in the best locale there is. ``schemes``: what
    links may begin with; an empty link is none. ``seconds``: of computing, which end what takes too long."""
    locales = _locales_of(compiled, channel, variant)
    if not locales:
        return RenderError(channel, "the template lacks this channel")
    chosen = best_locale(locales, locale)
    shown: dict[str, str] = {}
    stopwatch = Stopwatch(seconds)
    for part, source in locales[chosen].items():
        try:
            text = rendered(source, variables, html=part == "html", stopwatch=stopwatch)
        except BadTemplate as error:
            return RenderError(f"{channel}.{chosen}.{part}", str(error))
        shown[part] = _cleaned(part, text)
        if part in _LINKS and shown[part] and not is_link(shown[part], schemes):
            return RenderError(f"{channel}.{chosen}.{part}", refusal(shown[part]))
    return shown


def variables_of(
    data: Mapping[str, Any],
    user: Mapping[str, Any],
    items: list[dict[str, Any]] | None = None,
    count: int | None = None,
) -> dict[str, Any]:
    """What a template sees: data's members at the top, ``user``, and of a digest ``items`` and ``count``. Of an item
    whose data had no room in the digest all data is null."""
    variables = {**data, "user": user}
    if items is not None:
        known = [{**item, "data": None} if item.get("truncated") else item for item in items]
        variables |= {"items": known, "count": len(items) if count is None else count}
    return variables


def render_content(content: Content, channel: Channel) -> dict[str, str]:
    """Literal content's parts for a channel: shown as they are."""
    parts: dict[str, str | None]
    match channel:
        case "sms":
            parts = {"body": content.body}
        case "email":
            parts = {"subject": content.subject or content.title, "html": content.html, "text": content.body}
        case _:
            parts = {"title": content.title, "body": content.body, "url": content.url, "image": content.image}
    return {part: _cleaned(part, text) for part, text in parts.items() if text is not None}


def choose_variant(template: Template, user_id: str) -> str | None:
    """The variant for a user, the same each time, by weight; None where there are none."""
    variants = template.variants or []
    total = sum(variant.weight for variant in variants)
    if total == 0:
        return None
    draw = int.from_bytes(blake2b(f"{template.id}\n{user_id}".encode(), digest_size=8).digest(), "big") % total
    for variant in variants:
        draw -= variant.weight
        if draw < 0:
            return variant.name
    raise AssertionError("weights add up to the total")


def locale_shown(compiled: Compiled, channel: Channel, locale: str | None, variant: str | None = None) -> str | None:
    """The locale in which the channel's parts are shown; None for those of every language (``default``)."""
    locales = _locales_of(compiled, channel, variant)
    shown = best_locale(locales, locale) if locales else None
    return None if shown == "default" else shown


def names(compiled: Compiled, channel: Channel, locale: str | None, variant: str | None, variable: str) -> bool:
    """Whether any part that ``render`` would show may use the variable."""
    locales = _locales_of(compiled, channel, variant)
    return bool(locales) and any(variable in source for source in locales[best_locale(locales, locale)].values())


def _locales_of(compiled: Compiled, channel: Channel, variant: str | None) -> Mapping[str, Parts]:
    """The channel's parts by locale, those of the variant where it has some."""
    return _channels(compiled.template, variant).get(channel) or compiled.template.channels.get(channel) or {}


def best_locale(locales: Mapping[str, Parts], wanted: str | None) -> str:
    """By lookup (RFC 4647, 3.4): the locale itself, else what is left of it without its last subtags, one by one, else
    ``default``, else the first."""
    by_tag = {_tag(name): name for name in reversed(list(locales))}
    subtags = _tag(wanted).split("-") if wanted else []
    while subtags:
        if (found := by_tag.get("-".join(subtags))) is not None:
            return found
        subtags.pop()
        if subtags and len(subtags[-1]) == 1:
            subtags.pop()  # what it introduces is gone
    return by_tag.get("default") or next(iter(locales))


def _tag(locale: str) -> str:
    return locale.replace("_", "-").lower()


def _channels(template: Template, variant: str | None) -> Mapping[Channel, dict[str, Parts]]:
    for candidate in template.variants or []:
        if candidate.name == variant:
            return candidate.channels
    return template.channels


def _sources(template: Template) -> Iterator[tuple[str, str, bool]]:
    """Each part's dotted name, its source and whether it is HTML."""
    places = [("", template.channels)]
    places += [(f"variants.{variant.name}.", variant.channels) for variant in template.variants or []]
    for place, channels in places:
        for channel, locales in channels.items():
            for locale, parts in locales.items():
                for part, source in parts.items():
                    yield f"{place}{channel}.{locale}.{part}", source, part == "html"


def _cleaned(part: str, text: str) -> str:
    """Without control characters, and with one kind of line break; what is one line is one line, whatever came with
    the data."""
    text = _BREAK.sub("\n", text)
    if part in _ONE_LINE:
        return " ".join(_CONTROLS.sub(" ", text).split())
    return _CONTROLS.sub("", text)
