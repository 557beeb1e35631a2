"""Dead letters: grouped, shown decoded, corrected, put back."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections import Counter
from typing import Any

from aiohttp import web

from app.api.console.helping import help_with
from app.api.console.pages import Page, View, go_to, text

_GROUPED, _SHOWN = 500, 50


async def get(page: Page) -> web.StreamResponse:
    chosen = {name: page.query(name) for name in ("reason", "field", "topic", "code")}
    query = {**chosen, "cursor": page.query("cursor"), "limit": _SHOWN}
    grouped, found = await asyncio.gather(
        page.api.get("/v1/dead", {"limit": _GROUPED}), page.api.get("/v1/dead", query)
    )
    latest = grouped["letters"]
    groups = Counter((each["topic"], each.get("code") or "", each["reason"], each["field"] or "") for each in latest)
    return page.render(
        "dead",
        groups=groups.most_common(),
        count=len(latest),
        letters=found["letters"],
        next_cursor=found["next_cursor"],
        chosen=chosen,
        is_filtered=any(chosen.values()),
    )


async def show(page: Page) -> web.StreamResponse:
    letter = await page.api.get("/v1/dead/{letter_id}", letter_id=page.path("id"))
    value = _text(letter["value"])
    help_ = help_with(letter["topic"], letter["field"], value)
    return page.render("letter", letter=letter, value=value, key_text=_text(letter["key"]), help=help_)


def _text(base64: str | None) -> str | None:
    """What a person can read; None: it isn't text. JSON is laid out."""
    if base64 is None:
        return ""
    try:
        plain = b64decode(base64).decode()
    except ValueError:
        return None
    try:
        return json.dumps(json.loads(plain), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return plain


async def redrive(page: Page) -> web.StreamResponse:
    """``value``: the corrected record, if it was."""
    name, value = page.path("id"), page.form.get("value")
    body: dict[str, Any] = {"ids": [name]}
    letter = await page.api.get("/v1/dead/{letter_id}", letter_id=name)
    if value is not None:
        body["edited"] = {"value": b64encode(value.encode()).decode(), "key": letter["key"]}
    if not page.is_confirmed:
        dry = await page.api.call("POST", "/v1/dead/redrive", body={**body, "dry_run": True})
        would = ", ".join(f"{count} {what}" for what, count in (dry.get("would") or {}).items() if count)
        refused = "; ".join(each["why"] for each in dry["refused"])
        will = text("dead.redrive.will", id=name, topic=letter["topic"], would=refused or would or text("none"))
        fields = {} if value is None else {"value": value}
        return page.confirm("dead.redrive", will, f"/dead/{name}/redrive", f"/dead/{name}", **fields)
    done = await page.api.call("POST", "/v1/dead/redrive", body=body)
    if done["refused"]:
        return page.render("letter_refused", refused=done["refused"], id=name)
    return go_to(f"/dead/{name}?done=dead.redriven&redriven={done['redriven']}&matched={done['matched']}")


VIEWS = (
    View("GET", "/dead", get),
    View("GET", "/dead/{id}", show),
    View("POST", "/dead/{id}/redrive", redrive),
)
