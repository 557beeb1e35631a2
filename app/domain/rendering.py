"""Rendering: a template's or literal content's parts for one channel, within limits of size and work."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.config import Template, TemplateVersion
from schemas.requests import Content
from schemas.words import Channel


@dataclass(frozen=True, slots=True)
class RenderError:
    """Why a template can't be shown (``failed``, ``bad_template``): ``part`` is its dotted name."""

    part: str
    message: str


class Compiled:
    """A template version, compiled."""


def compile_template(version: TemplateVersion) -> Compiled:
    """Compiled once for each id and version. A part with a syntax error gives RenderError when rendered."""
    raise NotImplementedError


def check_syntax(template: Template) -> list[RenderError]:
    """Every part that can't be compiled."""
    raise NotImplementedError


def render(
    compiled: Compiled, channel: Channel, locale: str | None, variables: Mapping[str, Any], variant: str | None = None
) -> dict[str, str] | RenderError:
    """The channel's parts (title, body, subject, html, text, url, image) in the best locale there is."""
    raise NotImplementedError


def variables_of(
    data: Mapping[str, Any], user: Mapping[str, Any], items: list[Any] | None = None, count: int | None = None
) -> dict[str, Any]:
    """What a template sees: data's members at the top, ``user``, and of a digest ``items`` and ``count``."""
    raise NotImplementedError


def render_content(content: Content, channel: Channel) -> dict[str, str]:
    """Literal content's parts for a channel: shown as they are."""
    raise NotImplementedError


def choose_variant(template: Template, user_id: str) -> str | None:
    """The variant for a user, the same each time, by weight; None where there are none."""
    raise NotImplementedError
