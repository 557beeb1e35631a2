"""The pages that recipients see: HTML without scripts, in the reader's language and the sender's colours."""

import base64
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from jinja2 import DictLoader, Environment, StrictUndefined

from app.api.problems import Problem
from app.config import Branding
from app.domain.texts import accepted, texts_for

_FILES = ("layout.html", "unsubscribe.html", "preferences.html", "problem.html")
_RIGHT_TO_LEFT = frozenset(("ar",))


class Pages:
    """Every value that a page shows is escaped; its style is the only one that a browser takes."""

    def __init__(self, branding: Branding) -> None:
        sources = {name: _source(name) for name in _FILES}
        self._environment = Environment(loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined)
        self._branding = branding
        self._style = _source("style.css").replace("#123456", branding.color)
        self._headers = {
            "Content-Security-Policy": self._policy(),
            "X-Robots-Tag": "noindex",
            "X-Frame-Options": "DENY",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        }

    def answer(self, request: web.Request, name: str, status: int = 200, **values: Any) -> web.Response:
        """A page as an answer. ``values``: what its file shows besides texts."""
        language = language_of(request)
        page = self._environment.get_template(f"{name}.html").render(
            lang=language,
            dir="rtl" if language in _RIGHT_TO_LEFT else "ltr",
            texts=texts_for(language),
            brand=self._branding,
            style=self._style,
            **values,
        )
        headers = {**self._headers, "Content-Language": language, "Vary": "Accept-Language"}
        return web.Response(text=page, status=status, content_type="text/html", charset="utf-8", headers=headers)

    def problem(self, request: web.Request, problem: Problem) -> web.Response | None:
        """For people who can't be shown what they came for; None where only a program gets there."""
        if not wants_page(request) or not (problem.status in (404, 429) or problem.status >= 500):
            return None
        page = self.answer(request, "problem", problem.status, which="gone" if problem.status == 404 else "later")
        page.headers.update(problem.headers)
        return page

    def _policy(self) -> str:
        digest = base64.b64encode(sha256(self._style.encode()).digest()).decode()
        logo = urlsplit(self._branding.logo_url) if self._branding.logo_url else None
        images = f"; img-src {logo.scheme}://{logo.netloc}" if logo else ""
        return (
            f"default-src 'none'; style-src 'sha256-{digest}'{images}; form-action 'self'; "
            "frame-ancestors 'none'; base-uri 'none'"
        )


def language_of(request: web.Request) -> str:
    return accepted(request.headers.get("Accept-Language")) or "en"


def texts_of(request: web.Request) -> Mapping[str, str]:
    return texts_for(language_of(request))


def wants_page(request: web.Request) -> bool:
    """Whether a person's browser asks, not a program."""
    return "text/html" in request.headers.get("Accept", "")


def _source(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
