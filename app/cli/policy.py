"""``tocsin policy``: check a policy, put it in force, and show what it would change."""

import difflib
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from app.cli.gateway import connect
from app.cli.output import Refused
from app.domain.policy import PolicyError, parse_policy
from app.domain.policy.document import read_document

app = typer.Typer()

_MEDIA = "application/yaml"
_POLL_S = 0.25

File = Annotated[Path, typer.Argument(help="The policy, in YAML or JSON.", exists=True, dir_okay=False)]


@app.command()
def validate(file: File) -> None:
    """Check a policy without putting it in force; names line, path and remedy of whatever is wrong.

    Example: `tocsin policy validate policy.yaml`
    """
    try:
        parse_policy(file.read_text())
    except PolicyError as error:
        raise Refused(f"{file} can't be used\n{error}") from None
    print(f"{file} is a valid policy; whether its templates exist is checked by `tocsin policy apply`.")


@app.command()
def apply(
    file: File,
    timeout: Annotated[float, typer.Option(help="How many seconds to wait for the routers.")] = 30.0,
) -> None:
    """Put a policy in force, and wait until every running router has taken it over.

    Example: `tocsin policy apply policy.yaml`
    """
    gateway = connect("admin")
    written = gateway.call("PUT", "/v1/policy", file.read_bytes(), media=_MEDIA)
    version, document = written["version"], written
    give_up_at = time.monotonic() + timeout
    while not document["in_force"]:
        if time.monotonic() >= give_up_at:
            raise Refused(f"version {version} is written, but not taken over by {', '.join(document['waiting_for'])}")
        time.sleep(_POLL_S)
        document = gateway.call("GET", "/v1/policy")
        if document["version"] != version:
            raise Refused(f"version {version} was replaced by version {document['version']} meanwhile")
    print(f"Version {version} is in force.")


@app.command()
def diff(file: File) -> None:
    """Show what a policy would change in the one in force, line by line.

    Example: `tocsin policy diff policy.yaml`
    """
    try:
        proposed = read_document(file.read_text()).root
    except PolicyError as error:
        raise Refused(f"{file} can't be read\n{error}") from None
    current = connect("admin").call("GET", "/v1/policy")
    lines = difflib.unified_diff(
        _lines(current["policy"]), _lines(proposed), f"version {current['version']}", str(file), lineterm=""
    )
    print("\n".join(lines) or "Nothing would change.", file=sys.stdout)


def _lines(policy: Any) -> list[str]:
    text: str = yaml.safe_dump(policy, sort_keys=True, allow_unicode=True)
    return text.splitlines()
