"""What is in force in a world: a policy, the templates that were given, and plain ones for those that were not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from app.domain.catalog import Catalog, default_catalog
from app.domain.policy import parse_policy
from schemas.config import Parts, Template, TemplateVersion, check_template
from schemas.decode import invalid_from
from schemas.words import Channel

#: A policy: its file, its text (YAML or JSON), or its plain values.
PolicySource = Path | str | Mapping[str, Any]
#: Templates by id, each ``{"channels": {channel: {locale: parts}}}``.
Templates = Mapping[str, Mapping[str, Any]]

_AT = "1970-01-01T00:00:00Z"


def catalog_of(policy: PolicySource | None, templates: Templates | None, version: int) -> Catalog:
    """None: the default policy, with the default templates. Raises PolicyError, Invalid for a template."""
    given = {name: _template(name, said) for name, said in (templates or {}).items()}
    if policy is None:
        default = default_catalog()
        return Catalog(default.policy, version, {**default.templates, **_versions(given)})
    parsed = parse_policy(policy.read_text() if isinstance(policy, Path) else policy)
    plain = {name: _stand_in(name) for name in sorted(parsed.templates)}
    return Catalog(parsed, version, _versions({**plain, **given}))


def _versions(templates: Mapping[str, Template]) -> dict[str, TemplateVersion]:
    return {name: TemplateVersion(version=1, template=template, at=_AT) for name, template in templates.items()}


def _template(name: str, said: Mapping[str, Any]) -> Template:
    try:
        template = msgspec.convert({"id": name, **said}, Template)
    except msgspec.ValidationError as error:
        raise invalid_from(error) from error
    check_template(template)
    return template


def _stand_in(name: str) -> Template:
    """Shows its name on every channel, and of a digest how much was gathered."""
    text = name + "{% if count is defined %} ({{ count }}){% endif %}"
    parts: dict[Channel, Parts] = {
        "push": {"title": text, "body": text},
        "email": {"subject": text, "text": text},
        "sms": {"body": text},
        "in_app": {"title": text, "body": text},
    }
    return Template(id=name, channels={channel: {"en": said} for channel, said in parts.items()})
