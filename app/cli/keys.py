"""``tocsin keys``: API keys in the settings file."""

import json
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.cli.entering import enter_in_audit_log
from app.cli.output import AsJson, Refused, print_rows
from app.cli.settings import load_settings, settings_file
from app.config import ApiKey
from app.config.keys import new_api_key, settings_entry
from app.config.sections import Scope

app = typer.Typer()

_EFFECT = "Running gateways take it over within 5 s."


@app.command()
def create(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Names the key: letters, digits, - and _.")],
    scope: Annotated[list[str], typer.Option(help="What it may do: send, campaign, read, admin. Repeatable.")],
    source: Annotated[str, typer.Option(help="The service that sends with it; it sees only its own.")] = "",
) -> None:
    """Make an API key. It is shown once; the settings get only its hash.

    Example: `tocsin keys create shop --source shop --scope send --scope read`
    """
    scopes: list[Scope] = scope  # type: ignore[assignment]  # checked when the entry is made
    try:
        key = new_api_key(key_id, source, scopes)
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        raise Refused(f"{problem['loc'][0]}: {problem['msg']}") from None
    typer.echo(f"{key}\n\nKeep it now: it isn't shown again. Put this into the settings file, at its end:\n", err=True)
    print(_entry(settings_entry(key, source, scopes)))
    typer.echo(f"\n{_EFFECT}", err=True)
    _enter("key.create", f"{key_id} ({', '.join(scopes)})")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the API keys of the settings.

    Example: `tocsin keys list --json`
    """
    keys = load_settings().auth.api_keys
    rows = [{"id": key.id, "source": key.source, "scopes": ", ".join(key.scopes)} for key in keys]
    print_rows(rows, ("id", "source", "scopes"), as_json=as_json)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `tocsin keys list` shows it.")]) -> None:
    """Take an API key out of the settings file; the rest of the file stays as it is.

    Example: `tocsin keys revoke shop`
    """
    path = settings_file()
    text = path.read_text()
    if key_id not in _ids(text):
        raise Refused(f"{path} has no API key {key_id!r}")
    shorter = without_key(text, key_id)
    if _ids(shorter) != [each for each in _ids(text) if each != key_id]:
        raise Refused(
            f"the entry of {key_id!r} in {path} isn't a table [[auth.api_keys]] of its own: take it out by hand"
        )
    _enter("key.revoke", key_id)
    _replace(path, shorter)
    print(f"{key_id} is out of {path}. {_EFFECT}")


def _enter(action: str, what: str) -> None:
    """A key that leaked must go whatever Kafka does, and the first ones are made before there is any."""
    if why := enter_in_audit_log(action, what):
        typer.echo(f"Not in the audit log ({why}): it is entered when a running gateway takes it over.", err=True)


def without_key(text: str, key_id: str) -> str:
    """The TOML text without the lines of one ``[[auth.api_keys]]`` table; unchanged if there is no such table."""
    lines = text.splitlines(keepends=True)
    headers = [number for number, line in enumerate(lines) if line.lstrip().startswith("[")] + [len(lines)]
    for start, end in pairwise(headers):
        if lines[start].split("#")[0].strip() == "[[auth.api_keys]]":
            [entry] = tomllib.loads("".join(lines[start:end]))["auth"]["api_keys"]
            if entry.get("id") == key_id:
                return "".join(lines[:start] + lines[end:])
    return text


def _replace(path: Path, text: str) -> None:
    """At once, as gateways read the file whenever it changes; with the rights that it had."""
    partial = path.with_name(f"{path.name}.partial")
    partial.touch(mode=0o600)
    partial.chmod(path.stat().st_mode & 0o777)
    partial.write_text(text)
    partial.replace(path)


def _ids(text: str) -> list[str]:
    return [entry["id"] for entry in tomllib.loads(text).get("auth", {}).get("api_keys", [])]


def _entry(key: ApiKey) -> str:
    fields = key.model_dump(mode="json", exclude_unset=True)
    return "[[auth.api_keys]]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items())
