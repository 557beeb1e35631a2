"""Versions of the policy and of templates as they lie on notify_config: ``policy``, ``template:ID``."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.decode import Invalid, Reader, TemplateId
from schemas.words import Channel

POLICY_KEY = "policy"
_TEMPLATE_PREFIX = "template:"


def policy_key(version: int | None = None) -> str:
    """``policy`` holds the current version, ``policy@N`` each one that was."""
    return POLICY_KEY + (f"@{version}" if version is not None else "")


def template_key(template_id: str, version: int | None = None) -> str:
    """``template:ID`` holds the current version, ``template:ID@N`` each one that was."""
    return f"{_TEMPLATE_PREFIX}{template_id}" + (f"@{version}" if version is not None else "")


def template_of_key(key: str) -> str | None:
    """The template id of a key that holds a current version, else None."""
    return key.removeprefix(_TEMPLATE_PREFIX) if key.startswith(_TEMPLATE_PREFIX) and "@" not in key else None


#: As ClickHouse and every event can hold it.
VersionNumber = Annotated[int, Meta(ge=0, lt=2**32)]


class PolicyVersion(Struct, frozen=True, kw_only=True, tag="policy", tag_field="kind"):
    version: VersionNumber
    #: The document as its author wrote it, in YAML or JSON.
    text: str
    #: RFC 3339, UTC.
    at: str


#: Of one channel in one locale: title, body, subject, html, text, preheader, reply_to, url, image, as Jinja2 sources.
Parts = dict[str, str]


class Variant(Struct, frozen=True, kw_only=True):
    name: str
    weight: int
    channels: dict[Channel, dict[str, Parts]]


class Template(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: TemplateId
    channels: dict[Channel, dict[str, Parts]]
    variants: list[Variant] | None = None


class TemplateVersion(Struct, frozen=True, kw_only=True, tag="template", tag_field="kind"):
    version: VersionNumber
    template: Template
    at: str
    deleted: bool = False


ConfigRecord = PolicyVersion | TemplateVersion
read_config: Reader[PolicyVersion | TemplateVersion] = Reader(ConfigRecord, own=True)
encode_config = msgspec.json.Encoder().encode

_PARTS: dict[Channel, tuple[frozenset[str], frozenset[str]]] = {
    "push": (frozenset(("title", "body")), frozenset(("url", "image"))),
    "email": (frozenset(("subject",)), frozenset(("html", "text", "preheader", "reply_to"))),
    "sms": (frozenset(("body",)), frozenset()),
    "in_app": (frozenset(("title", "body")), frozenset(("url", "image"))),
}

read_template: Reader[Template] = Reader(Template)


def check_template(template: Template) -> None:
    """Refuses a template without channels, or a channel with missing or unknown parts. Raises Invalid."""
    _check_channels(template.channels, "channels")
    for index, variant in enumerate(template.variants or []):
        if variant.weight < 0:
            raise Invalid("is negative", f"variants[{index}].weight")
        _check_channels(variant.channels, f"variants[{index}].channels")


def _check_channels(channels: dict[Channel, dict[str, Parts]], field: str) -> None:
    if not channels:
        raise Invalid("names no channel", field)
    for channel, locales in channels.items():
        if not locales:
            raise Invalid("names no locale", f"{field}.{channel}")
        required, optional = _PARTS[channel]
        for locale, parts in locales.items():
            where = f"{field}.{channel}.{locale}"
            if missing := required - parts.keys():
                raise Invalid("is required", f"{where}.{min(missing)}")
            if "attachments" in parts:
                raise Invalid("is not supported: put the file where a link can lead to it", f"{where}.attachments")
            if unknown := parts.keys() - required - optional:
                raise Invalid("is not a part of this channel", f"{where}.{min(unknown)}")
            if channel == "email" and not parts.keys() & {"html", "text"}:
                raise Invalid("needs html or text", where)
