"""``tocsin keys``: API keys in the settings file; with ``--gateway``, those that running gateways keep."""

import json
import ssl
import time
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from app.cli.entering import enter_in_audit_log
from app.cli.gateway import connect, segment
from app.cli.moments import duration
from app.cli.output import AsJson, Refused, print_rows
from app.cli.settings import load_settings, settings_file
from app.config import ApiKey
from app.config.keys import new_api_key, settings_entry
from app.domain.api_keys import DEFAULT_OVERLAP
from app.domain.client_certificates import names_of
from app.domain.scopes import KNOWN
from schemas.decode import Invalid
from schemas.instants import instant_ms, rfc3339

app = typer.Typer()

_EFFECT = "Running gateways take it over within 5 s."
_PATH = "/v1/keys"

AtGateway = Annotated[
    bool,
    typer.Option("--gateway", help="A key that the running gateways keep, not one in the settings file."),
]
KeyName = Annotated[str, typer.Argument(metavar="ID", help="As shown by `tocsin keys list`.")]


@app.command()
def create(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's name: letters, digits, - and _.")],
    scope: Annotated[list[str], typer.Option(help=f"What it may do: {KNOWN}. Repeatable.")],
    source: Annotated[str, typer.Option(help="The service that uses it, which sees only its own notifications.")] = "",
    rate: Annotated[float | None, typer.Option(help="Requests a second; default: gateway.rate.")] = None,
    critical: Annotated[bool, typer.Option(help="Whether it may use the priority critical.")] = True,
    expires: Annotated[
        str | None, typer.Option(help="When it expires: RFC 3339, or a time from now, such as 90d. Default: never.")
    ] = None,
    certificate: Annotated[
        list[str] | None,
        typer.Option(help="A client certificate that it is bound to: dns:NAME, uri:URI or spki:SHA256. Repeatable."),
    ] = None,
    gateway: AtGateway = False,
) -> None:
    """Create an API key. It is shown once; only its hash is stored. Without --gateway, it is for the settings file.

    Example: `tocsin keys create shop --source shop --scope send:order.* --scope read --gateway`
    """
    limits: dict[str, Any] = {
        **({} if rate is None else {"rate": rate}),
        **({} if critical else {"critical": False}),
        **({} if expires is None else {"expires_at": rfc3339(_expiry(expires))}),
        **({"certificates": certificate} if certificate else {}),
    }
    if gateway:
        body = {"id": key_id, "source": source, "scopes": scope, **limits}
        made = connect("admin").call("POST", _PATH, body)
        typer.echo("Store it now: it isn't shown again. It is valid from now on.", err=True)
        print(made["key"])
        return
    try:
        key = new_api_key(key_id, source, scope, **limits)
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        raise Refused(f"{problem['loc'][0]}: {problem['msg']}") from None
    typer.echo(f"{key}\n\nStore it now: it isn't shown again. Add this at the end of the settings file:\n", err=True)
    print(_entry(settings_entry(key, source, scope, **limits)))
    typer.echo(f"\n{_EFFECT}", err=True)
    _enter("key.create", f"{key_id} ({', '.join(scope)})")


@app.command()
def certificate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A client certificate, PEM.", exists=True, dir_okay=False)
    ],
) -> None:
    """Print the names of a client certificate, as an API key is bound to it by --certificate.

    Example: `tocsin keys certificate shop.pem`
    """
    try:
        der = ssl.PEM_cert_to_DER_cert(_first_certificate(file.read_text()))
        print("\n".join(sorted(names_of(der)) or _no_certificate(file)))
    except (OSError, ValueError):
        _no_certificate(file)


def _first_certificate(text: str) -> str:
    """Raises ValueError."""
    end = "-----END CERTIFICATE-----"
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return text[begin : text.index(end, begin)] + end


def _no_certificate(file: Path) -> NoReturn:
    raise Refused(f"{file} is no certificate in PEM that can be read")


@app.command("list")
def list_(gateway: AtGateway = False, as_json: AsJson = False) -> None:
    """List the API keys in the settings file; with --gateway, all valid keys and when each was last used.

    Example: `tocsin keys list --gateway --json`
    """
    if not gateway:
        keys = load_settings().auth.api_keys
        rows = [{"id": key.id, "source": key.source, "scopes": ", ".join(key.scopes)} for key in keys]
        print_rows(rows, ("id", "source", "scopes"), as_json=as_json)
        return
    shown = connect("admin").call("GET", _PATH)["keys"]
    columns = ("id", "source", "scopes", "state", "kept_in", "expires_at", "last_used_at", "secrets", "certificates")
    print_rows(shown if as_json else [_row(each) for each in shown], columns, as_json=as_json)


@app.command()
def rotate(
    key_id: KeyName,
    overlap: Annotated[
        str, typer.Option(help="How long the former secret stays valid, such as 1h; 0s: it and all older ones end now.")
    ] = DEFAULT_OVERLAP,
) -> None:
    """Rotate the secret of a key that running gateways keep. The new secret is shown once; the former stays valid
    for a while.

    Example: `tocsin keys rotate shop --overlap 48h`
    """
    made = connect("admin").call("POST", f"{_PATH}/{segment(key_id)}/rotate", {"overlap": overlap})
    former = made["former_expires_at"]
    ends = f"The former secret goes on until {former}." if former else "All former secrets have ended."
    typer.echo(f"Store it now: it isn't shown again. It is valid from now on. {ends}", err=True)
    print(made["key"])


@app.command()
def revoke(key_id: KeyName, gateway: AtGateway = False) -> None:
    """End an API key: it is taken out of the settings file, whose rest stays as it is; with --gateway, running gateways
    refuse it from then on.

    Example: `tocsin keys revoke shop`
    """
    if gateway:
        connect("admin").call("DELETE", f"{_PATH}/{segment(key_id)}")
        print(f"{key_id} is revoked. Within 2 s no gateway accepts it.")
        return
    path = settings_file()
    text = path.read_text()
    if key_id not in _ids(text):
        raise Refused(f"{path} has no API key {key_id!r}; one that gateways keep is revoked with --gateway")
    shorter = without_key(text, key_id)
    if _ids(shorter) != [each for each in _ids(text) if each != key_id]:
        raise Refused(
            f"the entry of {key_id!r} in {path} isn't a table [[auth.api_keys]] of its own: take it out by hand"
        )
    _enter("key.revoke", key_id)
    _replace(path, shorter)
    print(f"{key_id} is out of {path}. {_EFFECT}")


def _expiry(text: str) -> int:
    """Unix ms. Raises Refused."""
    if text[:1].isdigit() and text[-1:] in "smhd":
        return time.time_ns() // 1_000_000 + duration("--expires", text)
    try:
        return instant_ms(text, "--expires")
    except Invalid as invalid:
        raise Refused(f"{invalid}; or a time from now, such as 90d") from None


def _row(key: dict[str, Any]) -> dict[str, Any]:
    joined = {name: ", ".join(key[name]) or None for name in ("scopes", "certificates")}
    return {**key, **joined, "secrets": len(key["secrets"]) or None}


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
