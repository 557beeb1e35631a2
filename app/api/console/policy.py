"""The policy in force: shown, changed with its difference, and who changed it."""

import asyncio
from difflib import unified_diff

import yaml
from aiohttp import web

from app.api.console.comparing import RANGES, bars
from app.api.console.pages import Page, View, go_to, text

_HISTORY = 20
#: A day is soon compared, and has every hour of quiet.
_NOT_COMPARED = {"found": None, "since": "24h", "ranges": RANGES}


async def get(page: Page) -> web.StreamResponse:
    document, log = await asyncio.gather(
        page.api.get("/v1/policy"), page.api.get("/v1/audit-log", {"action": "policy", "limit": _HISTORY})
    )
    return page.render("policy", document=document, text_of=_yaml(document["policy"]), entries=log["entries"])


async def check(page: Page) -> web.StreamResponse:
    """What is wrong with a changed policy, or what would change; and, when that was confirmed, the change."""
    changed = page.form.get("policy", "").replace("\r\n", "\n")
    await page.api.call("POST", "/v1/policy/validate", body=changed.encode())
    if page.is_confirmed:
        document = await page.api.call("PUT", "/v1/policy", body=changed.encode())
        return go_to(f"/policy?done=policy.applied&version={document['version']}")
    document = await page.api.get("/v1/policy")
    before = _yaml(document["policy"]).splitlines()
    lines = list(unified_diff(before, _yaml(yaml.safe_load(changed)).splitlines(), lineterm="", n=2))[2:]
    will = text("policy.apply.will", next=document["version"] + 1)
    return page.render("policy_change", lines=lines, changed=changed, will=will, **_NOT_COMPARED)


async def compare(page: Page) -> web.StreamResponse:
    """What the changed policy would have made of what is recorded. Nothing is changed by it."""
    changed, since = page.form.get("policy", ""), page.form.get("since", "")
    await page.api.call("POST", "/v1/policy/validate", body=changed.encode())
    found = await page.api.deps.comparing.compare(changed, since)
    shown, more = bars(found["outcomes"])
    values = {"found": found, "bars": shown, "more": more, "since": since, "ranges": RANGES, "changed": changed}
    is_part = "HX-Request" in page.request.headers
    return page.render("policy_compared" if is_part else "policy_compare", **values)


def _yaml(policy: object) -> str:
    shown: str = yaml.dump(policy, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100)
    return shown


VIEWS = (View("GET", "/policy", get), View("POST", "/policy", check), View("POST", "/policy/compare", compare))
