"""What a page of the console is, and what it has in its hands."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from app.api.callers import Service
from app.api.console.inner import Api
from app.api.console.rendering import link, page, text
from app.api.console.sessions import Session
from app.api.console.texts import TEXTS

ROOT: Final = "/console"

#: Names of the pages in the order of the menu, each with its path.
MENU: Final = (
    ("overview", ""),
    ("find", "/find"),
    ("providers", "/providers"),
    ("replays", "/replays"),
    ("campaigns", "/campaigns"),
    ("dead", "/dead"),
    ("policy", "/policy"),
    ("templates", "/templates"),
    ("dashboards", "/dashboards"),
    ("query", "/query"),
    ("audit", "/audit-log"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """One call of a page by somebody who is signed in. ``form``: what was sent, of a POST. ``secure``: cookies go over
    TLS only."""

    api: Api
    session: Session
    service: Service
    request: web.Request
    form: Mapping[str, str]
    secure: bool = False

    @property
    def may_act(self) -> bool:
        return "admin" in self.service.scopes

    @property
    def is_part(self) -> bool:
        """A part of a page is asked for, by one that shows the rest."""
        return "HX-Request" in self.request.headers

    def query(self, name: str) -> str:
        return self.request.query.get(name, "").strip()

    def path(self, name: str) -> str:
        return self.request.match_info[name]

    def render(self, template: str, status: int = 200, /, **values: Any) -> web.Response:
        frame = {
            "root": ROOT,
            "menu": MENU,
            "here": "/".join(self.request.path.removeprefix(ROOT).split("/")[:2]),
            "key": self.service.key_id,
            "may_act": self.may_act,
            "csrf": self.session.csrf,
            "done": self._done(),
        }
        return page(template, status, **(frame | values))

    def _done(self) -> str | None:
        """What was just done, in words; the address names them and their values."""
        name = self.query("done")
        if name not in TEXTS:
            return None
        try:
            return text(name, **{key: value[:100] for key, value in self.request.query.items() if key != "done"})
        except KeyError:
            return None

    def confirm(self, title: str, will: str, action: str, back: str, /, **fields: Any) -> web.Response:
        """Asks once: what ``action`` would do, with a button that does it."""
        return self.render(
            "confirm", title=title, will=will, action=f"{ROOT}{action}", back=f"{ROOT}{back}", fields=fields
        )

    @property
    def is_confirmed(self) -> bool:
        return self.form.get("confirmed") == "yes"


@dataclass(frozen=True, slots=True)
class View:
    """``path``: below ``ROOT``. ``acts``: whether a POST changes something, or shows what others don't see."""

    method: str
    path: str
    handler: Callable[[Page], Awaitable[web.StreamResponse]]
    acts: bool = True


def go_to(path: str) -> web.Response:
    """After something was done: the page that shows it."""
    return web.Response(status=303, headers={"Location": f"{ROOT}{path}"})


__all__ = ["MENU", "ROOT", "Page", "View", "go_to", "link", "text"]
