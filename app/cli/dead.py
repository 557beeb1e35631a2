"""``tocsin dead``: records that couldn't be taken, shown and put back."""

import json
import os
import shlex
import subprocess
import tempfile
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.gateway import GatewayClient, connect, segment
from app.cli.output import AsJson, Refused, print_rows

app = typer.Typer()

_PATH = "/v1/dead"
#: Letters of a page, and of one call that puts letters back.
_PAGE, _AT_ONCE = 500, 200
_BASE64 = "base64:"

Reason = Annotated[str | None, typer.Option(help="Only letters with exactly this reason.")]
Code = Annotated[str | None, typer.Option(help="Only letters with this code, such as `invalid` or `internal`.")]
Field = Annotated[str | None, typer.Option(help="Only letters with this field.")]
Topic = Annotated[str | None, typer.Option(help="Only letters of records of this topic.")]
From = Annotated[str | None, typer.Option("--from", help="Only letters written at or after this time (RFC 3339).")]
To = Annotated[str | None, typer.Option(help="Only letters written before this time (RFC 3339).")]


@app.command("list")
def list_(
    reason: Reason = None,
    code: Code = None,
    field: Field = None,
    topic: Topic = None,
    from_: From = None,
    to: To = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Show at most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first.

    Example: `tocsin dead list --topic notify_events --code invalid`
    """
    asked = _filters(reason, code, field, topic, from_, to)
    letters: list[dict[str, Any]] = []
    for letter in _letters(connect("admin"), asked):
        letters.append(letter)
        if len(letters) == limit:
            break
    if as_json:
        print(json.dumps(letters, indent=2))
        return
    rows = [{**each, "redriven": (each.get("redriven") or {}).get("at", "")} for each in letters]
    print_rows(rows, ("id", "at", "topic", "code", "field", "reason", "redriven"), as_json=False)


@app.command()
def show(letter_id: Annotated[str, typer.Argument(metavar="ID", help="As shown by `tocsin dead list`.")]) -> None:
    """Show one letter, with key, value and headers as text where they are text.

    Example: `tocsin dead show 3-1204`
    """
    letter = connect("admin").call("GET", f"{_PATH}/{segment(letter_id)}")
    print(json.dumps({**letter, **_readable(letter)}, indent=2, ensure_ascii=False))


@app.command()
def redrive(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Or select letters with options.")] = None,
    reason: Reason = None,
    code: Code = None,
    field: Field = None,
    topic: Topic = None,
    from_: From = None,
    to: To = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")] = False,
    edit: Annotated[bool, typer.Option("--edit", help="Correct one letter in $VISUAL or $EDITOR first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put letters back into their topics unchanged. Repeating this, or resuming after Ctrl-C, sends nothing twice.

    Status 1 if a letter was refused.

    Example: `tocsin dead redrive --topic notify_events --field template_id --from 2026-11-29T14:00:00Z --dry-run`
    """
    asked = _filters(reason, code, field, topic, from_, to)
    if not ids and not asked:
        raise Refused("select letters by their ids, or with --reason, --code, --field, --topic, --from or --to")
    if ids and asked:
        raise Refused("select letters by ids or with options, not both")
    gateway = connect("admin")
    if edit:
        if not ids or len(ids) != 1:
            raise Refused("--edit needs exactly one letter's id")
        result = _edited(gateway, ids[0], dry_run)
    elif dry_run and not ids:
        result = gateway.call("POST", f"{_PATH}/redrive", {**asked, "dry_run": True})
    else:
        result = _in_pieces(gateway, ids or list(_to_redrive(gateway, asked)), dry_run)
    _print(result, dry_run, as_json)
    if result.get("refused"):
        raise Refused(f"{len(result['refused'])} letters are refused")


def _filters(*given: str | None) -> dict[str, str]:
    names = ("reason", "code", "field", "topic", "from", "to")
    return {name: value for name, value in zip(names, given, strict=True) if value is not None}


def _letters(gateway: GatewayClient, asked: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        page = gateway.call("GET", _PATH, query={**asked, "limit": str(_PAGE), "cursor": cursor})
        yield from page["letters"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _to_redrive(gateway: GatewayClient, asked: Mapping[str, str]) -> Iterator[str]:
    """Of each place the newest letter, unless it was put back; oldest first, as the records were written."""
    found: dict[Any, str] = {}
    for letter in _letters(gateway, asked):
        place = letter.get("first") or letter["id"]
        if "redriven" not in letter and place not in found:
            found[place] = letter["id"]
    yield from reversed(found.values())


def _in_pieces(gateway: GatewayClient, ids: list[str], dry_run: bool) -> dict[str, Any]:
    """With progress, and what was done where it is interrupted."""
    counts: Counter[str] = Counter()
    would: Counter[str] = Counter()
    refused: list[dict[str, str]] = []
    for start in range(0, len(ids), _AT_ONCE):
        body = {"ids": ids[start : start + _AT_ONCE], **({"dry_run": True} if dry_run else {})}
        result = gateway.call("POST", f"{_PATH}/redrive", body)
        counts.update({name: result.get(name, 0) for name in ("matched", "redriven", "left_out")})
        would.update(result.get("would") or {})
        refused += result.get("refused") or []
        if len(ids) > _AT_ONCE:
            typer.echo(f"{min(start + _AT_ONCE, len(ids))} of {len(ids)} letters", err=True)
    done = {name: counts[name] for name in ("matched", "redriven")}
    return {**done, "refused": refused, "left_out": counts["left_out"], **({"would": dict(would)} if dry_run else {})}


def _print(result: dict[str, Any], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=2))
        return
    parts = [f"{result['matched']} records matched", f"{result['redriven']} redriven"]
    if dry_run:
        parts = [parts[0], *(f"{count} would be {what}" for what, count in (result.get("would") or {}).items())]
    parts += [f"{len(result['refused'])} refused", f"{result['left_out']} left out (their users were erased)"]
    print(", ".join(parts) + ".")
    for refusal in result["refused"]:
        print(f"  {refusal['id']}: {refusal['why']}")


# --- one letter in an editor ---


def _edited(gateway: GatewayClient, letter_id: str, dry_run: bool) -> dict[str, Any]:
    letter = gateway.call("GET", f"{_PATH}/{segment(letter_id)}")
    corrected = _in_editor(json.dumps(_readable(letter), indent=2, ensure_ascii=False))
    body = {"ids": [letter_id], "dry_run": dry_run, "edited": _as_bytes(corrected)}
    result: dict[str, Any] = gateway.call("POST", f"{_PATH}/redrive", body)
    return result


def _in_editor(text: str) -> dict[str, Any]:
    """What an operator made of it. Raises Refused where nothing was changed, or it can't be read."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not command:
        raise Refused("set EDITOR, or VISUAL, to an editor")
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:  # (its owner's only, as a record holds personal data)
        file = Path(folder) / "record.json"
        file.write_text(text, encoding="utf-8")
        try:
            status = subprocess.run([*shlex.split(command), str(file)], check=False).returncode
        except OSError as error:
            raise Refused(f"the editor {command!r} can't be run: {error}") from None
        if status != 0:
            raise Refused(f"the editor ended with status {status}: nothing was put back")
        changed = file.read_text(encoding="utf-8")
    if changed == text:
        raise Refused("nothing was changed, so nothing was put back: leave --edit out to put it back as it was")
    try:
        document = json.loads(changed)
    except ValueError as error:
        raise Refused(f"that is no longer JSON, so nothing was put back: {error}") from None
    if not isinstance(document, dict) or "value" not in document:
        raise Refused("value is missing, so nothing was put back")
    return document


def _readable(letter: Mapping[str, Any]) -> dict[str, Any]:
    """Key, value and headers as text, a JSON value as it is; ``base64:…`` where they are none."""
    value = _text(letter["value"])
    try:
        shown = json.loads(value) if value is not None and not value.startswith(_BASE64) else value
    except ValueError:
        shown = value
    if isinstance(shown, str | int | float | bool | None):
        shown = value
    return {"key": _text(letter["key"]), "value": shown, "headers": [[n, _text(v)] for n, v in letter["headers"]]}


def _text(encoded: str | None) -> str | None:
    if encoded is None:
        return None
    try:
        text = b64decode(encoded).decode()
    except UnicodeDecodeError:
        return _BASE64 + encoded
    return _BASE64 + encoded if text.startswith(_BASE64) else text


def _as_bytes(document: Mapping[str, Any]) -> dict[str, Any]:
    """As the gateway takes it. Raises Refused."""
    headers = document.get("headers", [])
    if not isinstance(headers, list) or not all(isinstance(each, list) and len(each) == 2 for each in headers):
        raise Refused("headers is not a list of pairs of a name and a value")
    ours = ("tocsin-origin", "tocsin-first-letter")
    return {
        "key": _encoded(document.get("key")),
        "value": _encoded(document["value"]),
        "headers": [[name, _encoded(value)] for name, value in headers if name not in ours],
    }


def _encoded(shown: Any) -> str | None:
    if shown is None:
        return None
    if isinstance(shown, str) and shown.startswith(_BASE64):
        return shown.removeprefix(_BASE64)
    text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return b64encode(text.encode(errors="surrogatepass")).decode()
