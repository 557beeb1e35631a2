"""Templates: what is said on each channel in each language, in versions that can be gone back to."""

import asyncio
from collections.abc import Set
from time import thread_time
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from app.api.audit_log import audited
from app.api.call import Call, answer, no_content
from app.api.callers import ADMIN, ADMIN_READ
from app.api.commands import check_in_path
from app.api.problems import Problem, problem_of, unknown
from app.api.routes import Route
from app.domain.links import NO_LINKS, Links
from app.domain.rendering import RenderError, check_syntax, choose_variant, compile_template, render, variables_of
from app.domain.sms import segments
from schemas.config import Parts, Template, TemplateVersion, Variant, check_template, read_template
from schemas.decode import Invalid, Reader
from schemas.words import Channel

_PATH = "/v1/templates"
#: Seconds for all channels of a preview, each of which is bounded by its work.
_PREVIEW_S = 10.0


class TemplateDocument(Struct, frozen=True, kw_only=True):
    """A version of a template."""

    id: str
    version: int
    at: str
    channels: dict[Channel, dict[str, Parts]]
    variants: list[Variant] | None = None
    deleted: bool = False


class Templates(Struct, frozen=True):
    templates: list[TemplateDocument]


class Versions(Struct, frozen=True):
    """Oldest first."""

    versions: list[TemplateDocument]


class Rollback(Struct, frozen=True):
    """``version``: the one to go back to; it becomes a new one."""

    version: int


class PreviewBody(Struct, frozen=True, kw_only=True):
    """What a send would bring: ``data``, and of a digest ``items``; ``user`` stands for the user's profile."""

    data: dict[str, Any] = {}
    user: dict[str, Any] = {}
    items: list[dict[str, Any]] | None = None
    locale: str | None = None
    variant: str | None = None
    #: Another text than the current version's.
    channels: dict[Channel, dict[str, Parts]] | None = None


class Preview(Struct, frozen=True, omit_defaults=True):
    """The rendered parts by channel. ``segments``: how many SMS the text takes."""

    version: int
    channels: dict[Channel, dict[str, str]]
    segments: int | None = None


_read_preview: Reader[PreviewBody] = Reader(PreviewBody)
_read_rollback: Reader[Rollback] = Reader(Rollback)


async def get_all(call: Call) -> web.Response:
    catalog = call.deps.config.catalog
    found = (catalog.template(template_id) for template_id in sorted(catalog.templates))
    return answer(Templates([_document(version) for version in found if version is not None]))


async def post(call: Call) -> web.Response:
    template = await asyncio.to_thread(_checked, await call.fields())
    check_in_path(template.id, "id")
    if call.deps.config.catalog.template(template.id) is not None:
        raise Problem(409, f"there is a template {template.id} already: change it by PUT", "id")
    return answer(await _written(call, template), 201)


async def get(call: Call) -> web.Response:
    return answer(_document(_current(call)))


async def put(call: Call) -> web.Response:
    template_id, fields = call.path("id"), await call.fields()
    if fields.get("id", template_id) != template_id:
        raise Problem(400, "differs from the path's", "id")
    template = await asyncio.to_thread(_checked, {**fields, "id": template_id})
    is_new = call.deps.config.catalog.template(template_id) is None
    return answer(await _written(call, template), 201 if is_new else 200)


async def delete(call: Call) -> web.Response:
    current = _current(call)
    if current.template.id in call.deps.config.catalog.policy.templates:
        raise Problem(422, "the policy names this template", "id")
    await _written(call, current.template, deleted=True)
    return no_content()


async def post_preview(call: Call) -> web.Response:
    current, body = _current(call), await call.read(_read_preview)
    schemes = call.deps.config.catalog.bounds.link_schemes
    try:
        async with asyncio.timeout(_PREVIEW_S):
            return answer(await asyncio.to_thread(_preview, current, body, schemes, call.deps.links))
    except TimeoutError:
        raise Problem(422, "takes too long", "channels") from None


def _preview(current: TemplateVersion, body: PreviewBody, schemes: Set[str], links: Links | None) -> Preview:
    """Beside the loop: what is shown may take all the work that a rendering may do, on each channel."""
    template = current.template
    if body.channels is not None:
        template = _checked({"id": template.id, "channels": msgspec.to_builtins(body.channels)})
    variant = body.variant or choose_variant(template, str(body.user.get("id", "")))
    count = None if body.items is None else len(body.items)
    shown_links = links.samples() if links is not None else NO_LINKS
    variables = {**NO_LINKS, **variables_of(body.data, body.user, body.items, count), **shown_links}
    compiled = compile_template(msgspec.structs.replace(current, template=template))
    shown: dict[Channel, dict[str, str]] = {}
    for channel in template.channels:
        parts = render(compiled, channel, body.locale, variables, variant, schemes, thread_time)
        if isinstance(parts, RenderError):
            raise _of_part(parts)
        shown[channel] = parts
    text = shown["sms"].get("body") if "sms" in shown else None
    return Preview(current.version, shown, None if text is None else segments(text))


async def get_versions(call: Call) -> web.Response:
    return answer(Versions([_document(version) for version in _versions(call)]))


async def post_rollback(call: Call) -> web.Response:
    wanted = (await call.read(_read_rollback)).version
    version = next((v for v in _versions(call) if v.version == wanted and not v.deleted), None)
    if version is None:
        raise Problem(422, "is not a version of this template", "version")
    return answer(await _written(call, version.template, f" to version {wanted}"))


async def _written(call: Call, template: Template, to: str = "", *, deleted: bool = False) -> TemplateDocument:
    """The new version. ``to``: words for the audit log."""
    newest = max((version.version for version in call.deps.config.versions(template.id)), default=0)
    await audited(call, f"template {template.id}{to}, after version {newest}")
    return _document(await call.deps.writer.write_template(template, deleted=deleted))


def _checked(fields: dict[str, Any]) -> Template:
    try:
        template = read_template(msgspec.json.encode(fields))
        check_template(template)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    if errors := check_syntax(template):
        raise _of_part(errors[0])
    return template


def _of_part(error: RenderError) -> Problem:
    field = error.part if error.part.startswith("variants.") else f"channels.{error.part}"
    return Problem(422, error.message, field)


def _current(call: Call) -> TemplateVersion:
    version = call.deps.config.catalog.template(call.path("id"))
    if version is None:
        raise unknown("the template")
    return version


def _versions(call: Call) -> list[TemplateVersion]:
    versions = call.deps.config.versions(call.path("id"))
    return versions or [_current(call)]


def _document(version: TemplateVersion) -> TemplateDocument:
    template = version.template
    return TemplateDocument(
        id=template.id,
        version=version.version,
        at=version.at,
        channels=template.channels,
        variants=template.variants,
        deleted=version.deleted,
    )


ROUTES = (
    Route("GET", _PATH, get_all, ADMIN_READ, "All templates", {200: Templates}),
    Route("POST", _PATH, post, ADMIN, "Make a template", {201: TemplateDocument}, body=Template, action="template.put"),
    Route("GET", f"{_PATH}/{{id}}", get, ADMIN_READ, "A template's current version", {200: TemplateDocument}),
    Route(
        "PUT",
        f"{_PATH}/{{id}}",
        put,
        ADMIN,
        "Write a new version of a template, or its first",
        {200: TemplateDocument, 201: TemplateDocument},
        body=Template,
        action="template.put",
    ),
    Route(
        "DELETE",
        f"{_PATH}/{{id}}",
        delete,
        ADMIN,
        "Delete a template that the policy doesn't name",
        {204: None},
        action="template.delete",
    ),
    Route(
        "POST",
        f"{_PATH}/{{id}}/preview",
        post_preview,
        ADMIN,
        "Show a template with some data, on every channel that it has",
        {200: Preview},
        body=PreviewBody,
    ),
    Route("GET", f"{_PATH}/{{id}}/versions", get_versions, ADMIN_READ, "Every version of a template", {200: Versions}),
    Route(
        "POST",
        f"{_PATH}/{{id}}/rollback",
        post_rollback,
        ADMIN,
        "Make an earlier version the current one again",
        {200: TemplateDocument},
        body=Rollback,
        action="template.rollback",
    ),
)
