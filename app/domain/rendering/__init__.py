"""Rendering: a template's or literal content's parts for one channel, within limits of size and work."""

from app.domain.rendering.parts import (
    Compiled,
    RenderError,
    best_locale,
    check_syntax,
    choose_variant,
    compile_template,
    locale_shown,
    names,
    render,
    render_content,
    variables_of,
)

__all__ = [
    "Compiled",
    "RenderError",
    "best_locale",
    "check_syntax",
    "choose_variant",
    "compile_template",
    "locale_shown",
    "names",
    "render",
    "render_content",
    "variables_of",
]
