"""What a recipient got, as a phone, a mail program and text messages show it.

Before anybody asks it is the template alone, in the version that was rendered: what a notification says of its
recipient is personal data. Whoever asks is in the audit log; then the sends are read back from the log, and rendered
with the recipient's profile as it is now.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import thread_time
from typing import Any, Final

import msgspec

from app.api.call import Deps
from app.api.console.pages import Page, text
from app.api.problems import Problem
from app.domain.catalog import Catalog
from app.domain.links import NO_LINKS
from app.domain.mail import Added, finished
from app.domain.rendering import RenderError, best_locale, compile_template, render, render_content, variables_of
from app.domain.sms import divided, is_gsm
from app.store.recorded_sends import Queued
from schemas.instants import parse_ms
from schemas.sends import Send

#: Rendering all of it: each is bounded by its work, and there are few.
_WITHIN_S: Final = 10.0
#: A mail's own policy, in its own document: nothing is fetched, run or sent from there.
_MAIL_HEAD = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src '
    "'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'\">"
    '<meta http-equiv="x-dns-prefetch-control" content="off"><meta name="referrer" content="no-referrer">'
    "<style>a { pointer-events: none }</style>"
)
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Picture:
    """What one send shows. ``parts``: by name; ``mail``: a whole document for a frame that runs no script and fetches
    nothing; ``texts``: what each SMS holds. ``problem``: why there is nothing to show."""

    channel: str
    parts: Mapping[str, str]
    label: str = ""
    state: str = ""
    #: It is a template as it is written: how long it gets isn't known.
    is_source: bool = False
    problem: str | None = None

    @property
    def mail(self) -> str | None:
        html = self.parts.get("html")
        return None if not html or self.channel != "email" else f"{_MAIL_HEAD}{html}"

    @property
    def texts(self) -> list[str]:
        return divided(self.parts.get("body") or "")

    @property
    def is_gsm(self) -> bool:
        return is_gsm(self.parts.get("body") or "")


@dataclass(frozen=True, slots=True)
class _Sent:
    """One send of a notification, as its events tell of it. ``version``, ``variant``: of the template."""

    queued: Queued
    device_id: str | None
    template_id: str | None
    version: int | None
    variant: str | None
    state: str


def with_styles(channel: str, parts: Mapping[str, str]) -> Mapping[str, str]:
    """Of a mail, as mail programs get it: its styles at each element."""
    if channel != "email" or not (html := parts.get("html")):
        return parts
    mail = finished(html, parts.get("text"), Added())
    return {**parts, "html": mail.html or html, "text": mail.text or ""}


def sent_by(events: Iterable[Mapping[str, Any]]) -> list[_Sent]:
    """``events``: of one recipient of one notification, oldest first. Each send that was queued, in that order."""
    found: dict[str, _Sent] = {}
    for event in events:
        name = event["send_id"]
        if name is None or (name not in found and event["status"] != "queued"):
            continue
        before = found.get(name)
        is_rendered = before is None or event["status"] == "sending"
        found[name] = _Sent(
            before.queued if before else Queued(name, event["channel"], parse_ms(event["occurred_at"])),
            before.device_id if before else (event["detail"] or {}).get("device_id"),
            event["template_id"],
            event["template_version"] if is_rendered or before is None else before.version,
            event["variant"] if is_rendered or before is None else before.variant,
            event["status"],
        )
    return list(found.values())


def masked(events: Sequence[Mapping[str, Any]], catalog: Catalog) -> list[Picture]:
    """The templates that its sends rendered, each once, without anything of the recipient."""
    pictures: dict[tuple[Any, ...], Picture] = {}
    for sent in sent_by(events):
        channel = sent.queued.channel
        key = (channel, sent.template_id, sent.version, sent.variant)
        if key not in pictures:
            problem = _lacks_source(sent, catalog)
            pictures[key] = Picture(channel, _source(sent, catalog), is_source=True, problem=problem)
    return list(pictures.values())


def _source(sent: _Sent, catalog: Catalog) -> Mapping[str, str]:
    if sent.template_id is None or sent.version is None:
        return {}
    version = catalog.template_at(sent.template_id, sent.version)
    if version is None:
        return {}
    variants = {each.name: each.channels for each in version.template.variants or ()}
    channels = variants.get(sent.variant or "", version.template.channels)
    locales = channels.get(sent.queued.channel) or version.template.channels.get(sent.queued.channel)
    return locales[best_locale(locales, None)] if locales else {}


def _lacks_source(sent: _Sent, catalog: Catalog) -> str | None:
    if sent.template_id is None:
        return text("shown.literal")
    return None if _source(sent, catalog) else text("shown.no_template")


async def recorded(page: Page, user_id: str, events: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """What each send brought. Raises Problem."""
    deps = page.api.deps
    if deps.sends is None:
        raise Problem(503, text("shown.no_log"))
    sent = sent_by(events)
    profile, devices, sends = await asyncio.gather(
        page.api.known("/v1/users/{id}/profile", id=user_id),
        page.api.known("/v1/users/{id}/devices", id=user_id),
        deps.sends.of(user_id, [each.queued for each in sent]),
    )
    user = {"id": user_id, **{name: profile.get(name) for name in _USER}}
    locales = {each["device_id"]: each.get("locale") for each in devices.get("devices", [])}

    def rendered() -> list[Picture]:
        return [
            _picture(each, sends.get(each.queued.send_id), user, locales.get(each.device_id) or user["locale"], deps)
            for each in sent
        ]

    try:
        async with asyncio.timeout(_WITHIN_S):
            return await asyncio.to_thread(rendered)
    except TimeoutError:
        raise Problem(422, text("shown.too_long")) from None


_USER: Final = ("name", "email", "phone", "locale", "timezone", "attributes")


def _picture(sent: _Sent, send: Send | None, user: Mapping[str, Any], locale: str | None, deps: Deps) -> Picture:
    channel = sent.queued.channel
    label = sent.device_id or ""
    if send is None:
        return Picture(channel, {}, label, sent.state, problem=text("shown.gone"))
    if send.verifies is not None:
        return Picture(channel, {}, label, sent.state, problem=text("shown.code"))
    parts = _rendered(sent, send, user, send.locale or locale, deps)
    if isinstance(parts, RenderError):
        return Picture(channel, {}, label, sent.state, problem=f"{parts.part}: {parts.message}")
    return Picture(channel, with_styles(channel, parts), label, sent.state)


def _rendered(
    sent: _Sent, send: Send, user: Mapping[str, Any], locale: str | None, deps: Deps
) -> dict[str, str] | RenderError:
    catalog = deps.config.catalog
    if send.content is not None:
        return render_content(send.content, send.channel)
    version = None
    if send.template_id is not None and sent.version is not None:
        version = catalog.template_at(send.template_id, sent.version)
    if version is None:
        return RenderError("template_id", text("shown.no_template"))
    try:
        data = _decode_object(send.data)
        items = [_decode_object(msgspec.json.encode(item)) for item in send.items] if send.items else None
    except msgspec.DecodeError:
        return RenderError("data", text("shown.unreadable"))
    links = NO_LINKS if deps.links is None else deps.links.samples()
    variables = {**NO_LINKS, **variables_of(data, user, items, len(items) if items else None), **links}
    compiled = compile_template(version)
    return render(compiled, send.channel, locale, variables, sent.variant, catalog.bounds.link_schemes, thread_time)
