"""``tocsin templates``: write templates from files, list them, and show them with some data."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from app.cli.gateway import connect, json_object, segment
from app.cli.output import AsJson, Refused, print_rows

app = typer.Typer()

_PATH = "/v1/templates"


@app.command()
def apply(
    files: Annotated[list[Path], typer.Argument(help="Files in YAML or JSON, one template each, or folders of them.")],
) -> None:
    """Store templates. Those that haven't changed are left alone.

    Example: `tocsin templates apply templates/`
    """
    documents = [_document(file) for file in _files(files)]
    gateway = connect("admin")
    for document in documents:
        path = f"{_PATH}/{segment(str(document['id']))}"
        status, current = gateway.ask("GET", path)
        if status == 200 and _content(current) == _content(document):
            print(f"{document['id']}: unchanged, version {current['version']}")
            continue
        written = gateway.call("PUT", path, document)
        print(f"{document['id']}: version {written['version']}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the templates with their versions and channels.

    Example: `tocsin templates list --json`
    """
    templates = connect("admin").call("GET", _PATH)["templates"]
    rows = templates if as_json else [{**each, "channels": ", ".join(each["channels"])} for each in templates]
    print_rows(rows, ("id", "version", "channels", "at"), as_json=as_json)


@app.command()
def preview(
    template_id: Annotated[str, typer.Argument(metavar="ID")],
    data: Annotated[str, typer.Option(help="The template's variables, as a JSON object.")] = "{}",
    user: Annotated[str, typer.Option(help="The user's profile, as a JSON object.")] = "{}",
    locale: Annotated[str | None, typer.Option(help="A language tag, such as pt-BR.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a template renders on each channel.

    Example: `tocsin templates preview order_shipped --data '{"order": 7}' --locale de`
    """
    body = {"data": json_object(data, "--data"), "user": json_object(user, "--user"), "locale": locale}
    shown = connect("admin").call("POST", f"{_PATH}/{segment(template_id)}/preview", body)
    rows = [
        {"channel": channel, "part": part, "text": text}
        for channel, parts in shown["channels"].items()
        for part, text in parts.items()
    ]
    print_rows(rows, ("channel", "part", "text"), as_json=as_json)


def _files(named: list[Path]) -> list[Path]:
    files: list[Path] = []
    for path in named:
        if not path.exists():
            raise Refused(f"{path} does not exist")
        found = sorted(path.glob("*.y*ml")) + sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise Refused(f"{path} holds no .yaml or .json file")
        files += found
    return files


def _document(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused(f"{file} is neither YAML nor JSON: {error}") from None
    if not isinstance(document, dict) or "channels" not in document:
        raise Refused(f"{file}: channels: is required")
    return {"id": file.stem, **document}


def _content(document: dict[str, Any]) -> tuple[Any, Any]:
    return document["channels"], document.get("variants")
