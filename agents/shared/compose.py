"""Renders a send for its recipient: from the template, or from literal content."""

from collections.abc import Mapping
from time import thread_time
from typing import Any

import msgspec
from msgspec.structs import replace

from app.domain.catalog import Catalog
from app.domain.rendering import RenderError, compile_template, render, render_content, variables_of
from app.domain.verification import CODE_MS
from app.ports import Message
from schemas.config import TemplateVersion
from schemas.requests import Content
from schemas.sends import Send

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


def compose(
    send: Send,
    template: TemplateVersion | None,
    catalog: Catalog,
    user: Mapping[str, Any],
    locale: str | None,
    headers: Mapping[str, str] | None = None,
) -> Message | RenderError:
    """``template``: see ``template_of``. ``locale``: the user's (or their device's), where the request named none.
    ``headers``: of mail."""
    parts = _parts(send, template, catalog, user, send.locale or locale)
    if isinstance(parts, RenderError):
        return parts
    return Message(
        title=parts.get("title"),
        body=parts.get("body"),
        subject=parts.get("subject"),
        html=parts.get("html"),
        text=parts.get("text"),
        url=parts.get("url"),
        image=parts.get("image"),
        headers=dict(headers or {}),
    )


def _parts(
    send: Send, template: TemplateVersion | None, catalog: Catalog, user: Mapping[str, Any], locale: str | None
) -> dict[str, str] | RenderError:
    if send.content is not None:
        return render_content(send.content, send.channel)
    if template is None:
        return RenderError("template_id", "there is no such template, or its version isn't kept")
    try:
        data = _decode_object(send.data)
        items = [_decode_object(msgspec.json.encode(item)) for item in send.items] if send.items else None
    except msgspec.DecodeError:  # an earlier version took numbers that nobody can read
        return RenderError("data", "can't be read")
    variables = variables_of(data, user, items, len(items) if items else None)
    return render(
        compile_template(template),
        send.channel,
        locale,
        variables,
        send.variant,
        catalog.bounds.link_schemes,
        thread_time,
    )
