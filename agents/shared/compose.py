"""Renders a send for its recipient: from the template, or from literal content."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from time import thread_time
from typing import Any

import msgspec
from msgspec.structs import replace

from agents.shared.mail import mail_of, unsubscribe_url
from app.domain.catalog import Catalog
from app.domain.links import NO_LINKS, Links
from app.domain.rendering import (
    Compiled,
    RenderError,
    compile_template,
    locale_shown,
    names,
    render,
    render_content,
    variables_of,
)
from app.domain.verification import CODE_MS
from app.ports import Message
from schemas.config import TemplateVersion
from schemas.requests import Content
from schemas.sends import Send
from tables.attempts import NOTHING_MAILED, Mailed

_CODE_TITLE = "Your verification code"
_CODE_BODY = (
    "{code} is your verification code. It is valid for {minutes} minutes. "
    "If you did not ask for it, you can ignore this message."
)

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def with_code(send: Send, code: str) -> Send:
    """The send as it is rendered, and nothing that is kept or logged: with the code for the policy's template, else in
    plain words."""
    if send.template_id is not None:
        data = {"code": code, "minutes": CODE_MS // 60_000}
        return replace(send, data=msgspec.Raw(msgspec.json.encode(data)), content=None, items=None)
    return replace(send, content=Content(_CODE_TITLE, _CODE_BODY.format(code=code, minutes=CODE_MS // 60_000)))


def template_of(send: Send, catalog: Catalog, rendered: int | None = None) -> TemplateVersion | None:
    """The template to render: version ``rendered``, where a call has rendered one, else the one in force."""
    if send.template_id is None or send.content is not None:
        return None
    if rendered is not None:
        return catalog.template_at(send.template_id, rendered)
    return catalog.template(send.template_id)


@dataclass(frozen=True, slots=True)
class Around:
    """What goes with what is rendered. ``links``: None where none can be made. ``mailed``: what a mail carries.
    ``postal_address``: for its footer. ``at``: when the first call began (Unix ms), from which links count their time.
    """

    links: Links | None = None
    mailed: Mailed = NOTHING_MAILED
    postal_address: str = ""
    at: int = 0


def compose(
    send: Send,
    template: TemplateVersion | None,
    catalog: Catalog,
    user: Mapping[str, Any],
    locale: str | None,
    around: Around,
) -> Message | RenderError:
    """``template``: see ``template_of``. ``locale``: the user's (or their device's), where the request named none."""
    locale = send.locale or locale
    if send.content is not None:
        parts: dict[str, str] | RenderError = render_content(send.content, send.channel)
    elif template is None:
        return RenderError("template_id", "there is no such template, or its version isn't kept")
    else:
        parts = _rendered(send, compile_template(template), catalog, user, locale, around)
    if isinstance(parts, RenderError):
        return parts
    if send.channel == "email":
        shown_in = _language_of(send, template, locale)
        return mail_of(send, parts, shown_in, around.links, around.mailed, around.postal_address)
    shown = Message(title=parts.get("title"), body=parts.get("body"), url=parts.get("url"), image=parts.get("image"))
    if send.push is None or send.channel != "push":
        return shown
    return replaced(shown, data=send.push.data or {}, push=send.push)


def _language_of(send: Send, template: TemplateVersion | None, locale: str | None) -> str | None:
    if template is None or send.content is not None:
        return send.locale
    return locale_shown(compile_template(template), send.channel, locale, send.variant)


def _rendered(
    send: Send,
    template: Compiled,
    catalog: Catalog,
    user: Mapping[str, Any],
    locale: str | None,
    around: Around,
) -> dict[str, str] | RenderError:
    try:
        data = _decode_object(send.data)
        items = [_decode_object(msgspec.json.encode(item)) for item in send.items] if send.items else None
    except msgspec.DecodeError:  # an earlier version took numbers that nobody can read
        return RenderError("data", "can't be read")
    variables = {**NO_LINKS, **variables_of(data, user, items, len(items) if items else None)}
    if around.links is not None and send.verifies is None:
        variables |= _links_named(send, template, locale, catalog, around.links, around)
    return render(template, send.channel, locale, variables, send.variant, catalog.bounds.link_schemes, thread_time)


def _links_named(
    send: Send, template: Compiled, locale: str | None, catalog: Catalog, links: Links, around: Around
) -> Mapping[str, str | None]:
    """Those links that the template shows; there is none to unsubscribe from what can't be turned off."""
    made: dict[str, str | None] = {}
    if names(template, send.channel, locale, send.variant, "unsubscribe_url"):
        made["unsubscribe_url"] = unsubscribe_url(send, catalog.policy, links, around.mailed.key)
    if names(template, send.channel, locale, send.variant, "preferences_url"):
        made["preferences_url"] = links.preferences(send.user_id, around.at, around.mailed.key)
    return made
