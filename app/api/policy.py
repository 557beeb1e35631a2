"""The policy: read, checked, and replaced; in force once every running router has taken it over."""

import asyncio
import re
from hashlib import sha256
from typing import Any

import yaml
from aiohttp import web
from msgspec import Struct, to_builtins

from app.api.audit_log import audited
from app.api.call import Call, answer
from app.api.callers import ADMIN, ADMIN_READ
from app.api.problems import Problem, unknown
from app.api.routes import Route
from app.domain.policy import PolicyError, parse_policy
from app.domain.policy.document import NotYaml, read_document
from app.domain.policy.sizes import MAX_CHARACTERS

_PATH = "/v1/policy"
_MEDIA = ("application/json", "application/yaml")
_MOST = 500
_NUMBER = re.compile("[0-9]{1,18}")


class PolicyDocument(Struct, frozen=True):
    version: int
    in_force: bool
    #: The running routers that haven't taken it over.
    waiting_for: list[str]
    policy: dict[str, Any]


class PolicyVersion(Struct, frozen=True):
    """``at``: when it was written; ``sha256``: of its text, as in the audit log."""

    version: int
    at: str
    sha256: str


class PolicyVersions(Struct, frozen=True):
    """Newest first."""

    versions: list[PolicyVersion]
    next_cursor: str | None = None


class PolicyVersionDocument(Struct, frozen=True):
    version: int
    at: str
    sha256: str
    policy: dict[str, Any]


class Valid(Struct, frozen=True):
    valid: bool = True


async def get(call: Call) -> web.Response:
    return await _answer(call)


async def put(call: Call) -> web.Response:
    text = await _valid_text(call)
    newest = call.deps.config.newest_policy_version
    await audited(call, f"policy after version {newest}, sha256 {_digest(text)}")
    await call.deps.writer.write_policy(text)
    return await _answer(call)


async def get_versions(call: Call) -> web.Response:
    limit, before = call.integer("limit", 50, _MOST), call.query.get("cursor")
    if before is not None and not _NUMBER.fullmatch(before):
        raise Problem(400, "is not a cursor", "cursor")
    known = call.deps.config.policies()
    found = known if before is None else [each for each in known if each.version < int(before)]
    following = str(found[limit - 1].version) if len(found) > limit else None
    return answer(
        PolicyVersions([PolicyVersion(each.version, each.at, _digest(each.text)) for each in found[:limit]], following)
    )


async def get_version(call: Call) -> web.Response:
    number = call.path("number")
    known = {str(each.version): each for each in call.deps.config.policies()}
    if (found := known.get(number)) is None:
        raise unknown("this version of the policy")
    try:
        root = (await asyncio.to_thread(read_document, found.text)).root
    except PolicyError as error:  # whoever may produce to the topic can write anything
        raise Problem(422, f"this version can't be read: {error.problems[0]}", "policy") from error
    return await _in_form(call, PolicyVersionDocument(found.version, found.at, _digest(found.text), root))


async def validate(call: Call) -> web.Response:
    await _valid_text(call)
    return answer(Valid())


async def _valid_text(call: Call) -> str:
    """The body, if it is a policy that can be taken; raises Problem with all that is wrong with it."""
    raw = await call.body(4 * MAX_CHARACTERS)
    catalog = call.deps.config.catalog
    try:
        text = raw.decode()
        templates = {name for name in catalog.templates if catalog.template(name)}
        # Beside the loop, as whatever reads a policy: a large one takes most of a second.
        await asyncio.to_thread(parse_policy, text, templates=templates)
    except UnicodeDecodeError as error:
        raise Problem(400, "the policy is not UTF-8", "body") from error
    except PolicyError as error:
        first = error.problems[0]
        errors = [to_builtins(problem) for problem in error.problems]
        status = 400 if isinstance(error, NotYaml) else 422
        raise Problem(status, str(first), first.path or "body", more={"errors": errors}) from error
    return text


async def _answer(call: Call) -> web.Response:
    config = call.deps.config
    version, text = config.catalog.policy_version, config.policy_text
    behind = call.deps.owners.behind(version)
    root = (await asyncio.to_thread(read_document, text)).root
    return await _in_form(call, PolicyDocument(version, not behind, behind, root))


async def _in_form(call: Call, document: PolicyDocument | PolicyVersionDocument) -> web.Response:
    if "yaml" in call.request.headers.get("Accept", ""):
        return web.Response(text=await asyncio.to_thread(_as_yaml, document), content_type="application/yaml")
    return answer(document)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _as_yaml(document: PolicyDocument | PolicyVersionDocument) -> str:
    shown: str = yaml.dump(to_builtins(document), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    return shown


ROUTES = (
    Route("GET", _PATH, get, ADMIN_READ, "The policy in force", {200: PolicyDocument}, gives=_MEDIA),
    Route(
        "PUT",
        _PATH,
        put,
        ADMIN,
        "Put a new version of the policy in force",
        {200: PolicyDocument},
        body=dict[str, Any],
        action="policy.put",
        takes=_MEDIA,
        gives=_MEDIA,
    ),
    Route(
        "GET",
        f"{_PATH}/versions",
        get_versions,
        ADMIN_READ,
        "Policies that were in force, newest first",
        {200: PolicyVersions},
        query={
            "limit": f"At most this many, 1 to {_MOST}; 50 by default",
            "cursor": "The next_cursor of the previous page",
        },
    ),
    Route(
        "GET",
        f"{_PATH}/versions/{{number}}",
        get_version,
        ADMIN_READ,
        "A policy that was in force",
        {200: PolicyVersionDocument},
        gives=_MEDIA,
    ),
    Route(
        "POST",
        f"{_PATH}/validate",
        validate,
        ADMIN,
        "Check a policy without putting it in force",
        {200: Valid},
        body=dict[str, Any],
        takes=_MEDIA,
    ),
)
