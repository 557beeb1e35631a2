"""Renders the console's pages: templates of this package, every value escaped, texts from one place."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web
from jinja2 import ChainableUndefined, Environment, PackageLoader
from markupsafe import Markup

from app.api.console.texts import TEXTS
from schemas.instants import parse_ms

#: No inline script or style, nothing from elsewhere, and nobody frames it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
#: A frame's document is under the policy of the page that has it, and under its own beside that.
POLICY_WITH_MAIL = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace(
    "img-src 'self'", "img-src 'self' data:"
)
_TYPES = {".css": "text/css", ".js": "text/javascript", ".txt": "text/plain", ".svg": "image/svg+xml"}


def text(name: str, /, **values: Any) -> str:
    return TEXTS[name].format(**values)


def _time(instant: str | int | None) -> Markup:
    """An instant (RFC 3339, as ClickHouse writes it, or Unix ms) that the browser shows in its own
    zone; without a script it is UTC."""
    if not instant:
        return Markup("–")
    if isinstance(instant, str) and " " in instant:
        instant = f"{instant.replace(' ', 'T')}Z"
    ms = parse_ms(instant) if isinstance(instant, str) else instant
    at = datetime.fromtimestamp(ms / 1000, UTC)
    shown = at.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(at.isoformat(), shown, shown)


def _segment(value: object) -> str:
    """One step of a path, whatever an id holds."""
    return quote(str(value), safe="")


def link(path: str, /, **query: Any) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


_environment = Environment(
    loader=PackageLoader("app.api.console"),
    autoescape=True,
    undefined=ChainableUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals |= dict[str, Any]({"t": text, "link": link})
_environment.filters |= {"time": _time, "segment": _segment}


def page(template: str, status: int = 200, /, **values: Any) -> web.Response:
    """``template``: without its suffix. ``shows_mail``: it frames mails, whose own styles count."""
    body = _environment.get_template(f"{template}.html").render(values)
    policy = POLICY_WITH_MAIL if values.get("shows_mail") else POLICY
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",  # whoever has to sign in again comes back to the page of the form
        "X-DNS-Prefetch-Control": "off",
    }
    return web.Response(text=body, status=status, content_type="text/html", headers=headers)


def static_files() -> Mapping[str, Callable[[], web.Response]]:
    """By name. They are small, and read once."""
    folder = files(__package__).joinpath("static")
    found = {}
    for file in folder.iterdir():
        suffix = file.name[file.name.rindex(".") :]
        found[file.name] = (file.read_bytes(), _TYPES[suffix])
    return {name: _static(body, kind) for name, (body, kind) in found.items()}


def _static(body: bytes, kind: str) -> Callable[[], web.Response]:
    def made() -> web.Response:
        return web.Response(
            body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": "public, max-age=3600"}
        )

    return made
