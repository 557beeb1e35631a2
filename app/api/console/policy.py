"""The policy in force: shown, changed with its difference; and its versions, who wrote them and what each changed."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any

import msgspec
import yaml
from aiohttp import web

from app.api.console.comparing import RANGES, Comparison, Name, bars
from app.api.console.pages import Page, View, go_to, text
from app.api.console.sessions import LASTS_S
from app.api.problems import Problem

_HISTORY = 20
#: Of the audit log: who wrote a version is found among so many of the latest changes.
_CHANGES = 500
#: What an entry has to say of a policy (app/api/policy.py).
_CHANGE = re.compile("policy after version (?P<after>[0-9]{1,18}), sha256 (?P<sha256>[0-9a-f]{64})")
#: A day is soon compared, and has every hour of quiet.
_NOT_COMPARED = {"comparison": None, "since": "24h", "ranges": RANGES}
_KIND = "comparison"


async def get(page: Page) -> web.StreamResponse:
    document, listed, log = await asyncio.gather(page.api.get("/v1/policy"), _versions(page), _log(page))
    return page.render("policy", document=document, text_of=_yaml(document["policy"]), **_history(listed, log))


async def get_versions(page: Page) -> web.StreamResponse:
    listed, log = await asyncio.gather(_versions(page), _log(page))
    return page.render("policy_versions", **_history(listed, log))


async def get_version(page: Page) -> web.StreamResponse:
    """A version, what it changed of the one before it, and what has changed since."""
    number = page.path("number")
    version, document, log = await asyncio.gather(
        page.api.get("/v1/policy/versions/{number}", number=number), page.api.get("/v1/policy"), _log(page)
    )
    earlier = await page.api.get("/v1/policy/versions", {"limit": 1, "cursor": str(version["version"])})
    before = next((str(each["version"]) for each in earlier["versions"]), None)
    shown = _yaml(version["policy"])
    changed = [] if before is None else _difference(await _text_at(page, before), shown)
    since = _difference(shown, _yaml(document["policy"]))
    return page.render(
        "policy_version",
        version=version,
        before=before,
        text_of=shown,
        changed=changed,
        since=since,
        in_force=document["version"],
        entry=entry_of(version, log),
    )


async def _text_at(page: Page, number: str) -> str:
    return _yaml((await page.api.get("/v1/policy/versions/{number}", number=number))["policy"])


async def _versions(page: Page) -> Mapping[str, Any]:
    asked = {"limit": _HISTORY, "cursor": page.query("cursor")}
    listed: Mapping[str, Any] = await page.api.get("/v1/policy/versions", asked)
    return listed


async def _log(page: Page) -> Sequence[Mapping[str, Any]]:
    entries: Sequence[Mapping[str, Any]] = (
        await page.api.get("/v1/audit-log", {"action": "policy", "limit": _CHANGES})
    )["entries"]
    return entries


def _history(listed: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    versions = [{**each, "entry": entry_of(each, log)} for each in listed["versions"]]
    return {**listed, "versions": versions}


def entry_of(version: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The entry of the audit log by which the version was applied. The same text may have been applied before and
    since: it is the one that was written closest behind an earlier version. ``log``: newest first."""
    found, nearest = None, -1
    for entry in log:
        change = _CHANGE.fullmatch(entry["what"])
        if change is None or change["sha256"] != version["sha256"]:
            continue
        if nearest < int(change["after"]) < version["version"]:
            found, nearest = entry, int(change["after"])
    return found


async def check(page: Page) -> web.StreamResponse:
    """What is wrong with a changed policy, or what would change; and, when that was confirmed, the change."""
    changed = page.form.get("policy", "").replace("\r\n", "\n")
    await page.api.call("POST", "/v1/policy/validate", body=changed.encode())
    if page.is_confirmed:
        document = await page.api.call("PUT", "/v1/policy", body=changed.encode())
        return go_to(f"/policy?done=policy.applied&version={document['version']}")
    document = await page.api.get("/v1/policy")
    lines = _difference(_yaml(document["policy"]), _yaml(yaml.safe_load(changed)))
    will = text("policy.apply.will", next=document["version"] + 1)
    return page.render("policy_change", lines=lines, changed=changed, will=will, **_NOT_COMPARED)


async def compare(page: Page) -> web.StreamResponse:
    """Begins to find out what the changed policy would have made of what is recorded. Nothing is changed by it."""
    changed, since = page.form.get("policy", ""), page.form.get("since", "")
    await page.api.call("POST", "/v1/policy/validate", body=changed.encode())
    name = await page.api.deps.comparing.begin(page.service.key_id, changed, since)
    sealed = page.api.deps.sessions.sealed(_KIND, msgspec.json.encode(name))
    if page.is_part:
        return page.render("policy_compared", **_compared(page, name, sealed))
    return go_to(f"/policy/comparisons/{sealed}")


async def comparison(page: Page) -> web.StreamResponse:
    """How far it is, its result, or what became of it: another gateway may have begun it, or an earlier run of this."""
    sealed = page.path("name")
    content = page.api.deps.sessions.unsealed(_KIND, sealed, LASTS_S)
    if content is None:
        raise Problem(404, text("gone"))
    values = _compared(page, msgspec.json.decode(content, type=Name), sealed)
    if not page.is_part:
        return page.render("policy_compare", ranges=RANGES, **values)
    if values["absence"] == "elsewhere":
        return web.Response(status=204)  # what another gateway said of it stays, until that is asked again
    return page.render("policy_compared", **values)


def _compared(page: Page, name: Name, sealed: str) -> Mapping[str, Any]:
    known = page.api.deps.comparing.find(name)
    is_known = isinstance(known, Comparison)
    values: dict[str, Any] = {
        "comparison": known if is_known else None,
        "absence": None if is_known else known,
        "name": name,
        "sealed": sealed,
        "since": name.since,
        "changed": known.policy if isinstance(known, Comparison) else None,
    }
    if isinstance(known, Comparison) and known.found is not None:
        shown, more = bars(known.found["outcomes"])
        was_erased = page.api.deps.erased.since
        users = known.found["users"]
        examples = [each for each in users["examples"] if not was_erased(each["user_id"], name.at)]
        values |= {"bars": shown, "more": more, "users": {**users, "examples": examples}}
    return values


def _difference(before: str, after: str) -> list[str]:
    return list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))[2:]


def _yaml(policy: object) -> str:
    shown: str = yaml.dump(policy, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100)
    return shown


VIEWS = (
    View("GET", "/policy", get),
    View("GET", "/policy/versions", get_versions),
    View("GET", "/policy/versions/{number}", get_version),
    View("POST", "/policy", check),
    View("POST", "/policy/compare", compare),
    View("GET", "/policy/comparisons/{name}", comparison),
)
