"""The policy in force: shown, changed with its difference, and who changed it."""

import asyncio
from difflib import unified_diff

import yaml
from aiohttp import web

from app.api.console.pages import Page, View, go_to, text

_HISTORY = 20


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
    return page.render("policy_change", lines=lines, changed=changed, will=will)


def _yaml(policy: object) -> str:
    shown: str = yaml.dump(policy, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100)
    return shown


VIEWS = (View("GET", "/policy", get), View("POST", "/policy", check))
