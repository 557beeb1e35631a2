"""``tocsin policy``: check a policy, put it in force, and show what it would change."""

import json
import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import UNSET, to_builtins

from app.cli.gateway import connect
from app.cli.output import AsJson, Refused
from app.domain.policy import Difference, Policy, PolicyError, differences, parse_policy, policy_schema

app = typer.Typer()

_MEDIA = "application/yaml"
_PATH = "/v1/policy"
_POLL_S = 0.25

File = Annotated[Path, typer.Argument(help="The policy, in YAML or JSON.", exists=True, dir_okay=False)]


@app.command()
def validate(file: File) -> None:
    """Check a policy without putting it in force. Each problem is reported with its line, its path and how to fix it.

    Whether the templates that it names are there is asked of the gateway; without one it says what it could not check.

    Example: `tocsin policy validate policy.yaml`
    """
    known, why_unknown = _templates()
    named = sorted(_parsed(file, known).templates)
    print(f"{file} is a valid policy.")
    if known is None and named:
        print(f"Not checked: whether there are the templates {', '.join(named)}. {why_unknown}")


@app.command()
def apply(
    file: File,
    timeout: Annotated[float, typer.Option(help="How many seconds to wait for the routers.")] = 30.0,
) -> None:
    """Put a policy in force, and wait until every running router uses it.

    Example: `tocsin policy apply policy.yaml`
    """
    gateway = connect("admin")
    written = gateway.call("PUT", _PATH, file.read_bytes(), media=_MEDIA)
    version, document = written["version"], written
    give_up_at = time.monotonic() + timeout
    while not document["in_force"]:
        if time.monotonic() >= give_up_at:
            raise Refused(f"version {version} is stored, but not yet used by {', '.join(document['waiting_for'])}")
        time.sleep(_POLL_S)
        document = gateway.call("GET", _PATH)
        if document["version"] != version:
            raise Refused(f"version {version} was replaced by version {document['version']} meanwhile")
    print(f"Version {version} is in force.")


@app.command()
def diff(file: File, as_json: AsJson = False) -> None:
    """Show what a policy would change, rule by rule. Other spellings and written-out defaults are ignored.

    Example: `tocsin policy diff policy.yaml`
    """
    proposed = _parsed(file, None)
    current = connect("admin").call("GET", _PATH)
    found = differences(parse_policy(current["policy"], stored=True), proposed)
    if as_json:
        changes = to_builtins(found)
        print(json.dumps({"version": current["version"], "changes": changes}, indent=2, ensure_ascii=False))
    elif found:
        print(f"Against version {current['version']}:")
        print("\n".join(_lines(found)))
    else:
        print(f"Nothing would change: version {current['version']} means the same.")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a policy, for editors.

    Example: `tocsin policy schema > policy.schema.json`
    """
    print(json.dumps(policy_schema(), indent=2))


def _parsed(file: Path, templates: set[str] | None) -> Policy:
    try:
        return parse_policy(file.read_text(encoding="utf-8"), templates=templates)
    except UnicodeDecodeError:
        raise Refused(f"{file} is not UTF-8") from None
    except PolicyError as error:
        lines = "\n".join(f"{file}:{problem.line or 1}: {problem.words}" for problem in error.problems)
        raise Refused(f"{file} can't be used\n{lines}") from None


def _templates() -> tuple[set[str] | None, str]:
    """The templates that the gateway knows; None, and why, where it can't be asked."""
    try:
        return {each["id"] for each in connect("admin").call("GET", "/v1/templates")["templates"]}, ""
    except Refused as refused:
        return None, f"The gateway wasn't asked: {refused}"


def _lines(found: Iterable[Difference]) -> Iterable[str]:
    for rule, changes in groupby(found, key=lambda change: change.rule):
        of_rule = list(changes)
        state = of_rule[0].rule_is
        yield rule if state == "changed" else f"{rule} ({state})"
        if state == "changed":
            yield from (f"  {each.key}: {_shown(each.old)} → {_shown(each.new)}" for each in of_rule)
        if state == "new":
            yield from (f"  {each.key}: {_shown(each.new)}" for each in of_rule if each.new not in (None, False, {}))


def _shown(value: Any) -> str:
    if value is UNSET or value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
