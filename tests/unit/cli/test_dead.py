"""`tocsin dead`: a letter is shown as text, corrected in an editor, and put back in pieces."""

import json
import stat
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli import build, dead
from app.cli.output import Refused

RUNNER = CliRunner()


def b64(raw: bytes) -> str:
    return b64encode(raw).decode()


LETTER: dict[str, Any] = {
    "id": "0-4",
    "topic": "notify_events",
    "at": "2026-11-29T10:00:00.000Z",
    "code": "invalid",
    "field": "event_type",
    "reason": "is required",
    "key": b64(b"ann"),
    "value": b64('{"user_id":"ann","data":{"name":"Zoë"}}'.encode()),
    "headers": [["a", b64(b"1")], ["raw", b64(b"\xff")], ["none", None], ["tocsin-origin", b64(b"x")]],
}


class Gateway:
    def __init__(self, letters: list[dict[str, Any]]) -> None:
        self.letters = letters
        self.asked: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}

    def call(self, method: str, path: str, body: Any = None, *, query: Any = None) -> Any:
        if method == "GET" and path == "/v1/dead":
            start = int(query["cursor"] or 0)
            more = start + 2 < len(self.letters)
            return {"letters": self.letters[start : start + 2], "next_cursor": str(start + 2) if more else None}
        if method == "GET":
            return next(letter for letter in self.letters if path.endswith(letter["id"]))
        self.asked.append(body)
        count = len(body.get("ids", [1]))
        return {"matched": count, "redriven": count, "refused": [], "left_out": 0, **self.result}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    found = Gateway([LETTER])
    monkeypatch.setattr(dead, "connect", lambda _: found)
    return found


def run(*arguments: str) -> Any:
    return RUNNER.invoke(build(["dead"]), ["dead", *arguments])


def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, variable: str = "EDITOR") -> None:
    file = tmp_path / "editor"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    for name in ("EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(file))


def test_a_letter_is_shown_with_text_where_there_is_text(gateway: Gateway) -> None:
    shown = json.loads(run("show", "0-4").stdout)

    assert (shown["key"], shown["value"]) == ("ann", {"user_id": "ann", "data": {"name": "Zoë"}})
    assert shown["headers"][:3] == [["a", "1"], ["raw", "base64:/w=="], ["none", None]]


@pytest.mark.parametrize("variable", ["EDITOR", "VISUAL"])
def test_a_letter_is_corrected_in_the_editor(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    script = """sed -i 's/"user_id": "ann"/"user_id": "ann", "event_type": "a.b"/' "$1" """
    editor(tmp_path, monkeypatch, script, variable)
    answer = run("redrive", "0-4", "--edit")

    assert answer.exit_code == 0, answer.output
    [body] = gateway.asked
    edited = body["edited"]
    assert body["ids"] == ["0-4"]
    assert b64decode(edited["key"]) == b"ann"
    assert json.loads(b64decode(edited["value"])) == {"user_id": "ann", "event_type": "a.b", "data": {"name": "Zoë"}}
    assert edited["headers"] == [["a", b64(b"1")], ["raw", b64(b"\xff")], ["none", None]]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("true", "nothing was changed"),
        ("exit 3", "status 3"),
        ('echo "{" > "$1"', "no longer JSON"),
        ('echo "{}" > "$1"', "value is missing"),
        ('echo \'{"value": 1, "headers": 1}\' > "$1"', "headers"),
    ],
)
def test_what_the_editor_spoils_is_not_put_back(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    editor(tmp_path, monkeypatch, script)
    answer = run("redrive", "0-4", "--edit")

    assert isinstance(answer.exception, Refused)
    assert why in str(answer.exception)
    assert gateway.asked == []


def test_many_letters_go_back_oldest_first_in_pieces_with_progress(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "_AT_ONCE", 2)
    gateway.letters = [
        {"id": "0-9", "first": "0-5"},
        {"id": "0-8"},
        {"id": "0-7", "redriven": {"at": "x"}},
        {"id": "0-6"},
        {"id": "0-5", "redriven": {"at": "x"}},
        {"id": "0-4", "first": "0-5"},
    ]
    answer = run("redrive", "--topic", "notify_events", "--json")

    assert answer.exit_code == 0, answer.output
    assert [body["ids"] for body in gateway.asked] == [["0-6", "0-8"], ["0-9"]]
    assert json.loads(answer.stdout) == {"matched": 3, "redriven": 3, "refused": [], "left_out": 0}
    assert answer.stderr.splitlines() == ["2 of 3 letters", "3 of 3 letters"]


def test_a_refused_letter_is_named_and_the_status_is_1(gateway: Gateway) -> None:
    gateway.result = {"redriven": 0, "refused": [{"id": "0-4", "why": "the letter is truncated"}]}
    answer = run("redrive", "0-4")

    assert isinstance(answer.exception, Refused)
    assert "0-4: the letter is truncated" in answer.stdout


def test_a_dry_run_asks_once_and_says_what_would_come_of_it(gateway: Gateway) -> None:
    gateway.result = {"redriven": 0, "would": {"accepted": 0, "expired": 3, "dead": 0}}
    answer = run("redrive", "--field", "template_id", "--dry-run")

    assert gateway.asked == [{"field": "template_id", "dry_run": True}]
    assert "3 would be expired" in answer.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["0-4", "--topic", "x"], ["--edit", "--topic", "x"], ["0-4", "0-5", "--edit"]]
)
def test_what_is_not_clear_is_refused(gateway: Gateway, arguments: list[str]) -> None:
    answer = run("redrive", *arguments)

    assert isinstance(answer.exception, Refused)
    assert gateway.asked == []


def test_letters_are_listed_page_by_page(gateway: Gateway) -> None:
    gateway.letters = [{**LETTER, "id": f"0-{number}"} for number in range(5)]

    assert [each["id"] for each in json.loads(run("list", "--limit", "3", "--json").stdout)] == ["0-0", "0-1", "0-2"]
    assert "is required" in run("list").stdout


@given(st.binary(max_size=40), st.none() | st.binary(max_size=10))
def test_what_is_left_alone_in_the_editor_goes_back_as_it_was(value: bytes, key: bytes | None) -> None:
    letter = {"key": None if key is None else b64(key), "value": b64(value), "headers": [["a", b64(value)]]}
    shown = json.loads(json.dumps(dead._readable(letter), ensure_ascii=False))
    given = dead._as_bytes(shown)

    assert given["key"] == letter["key"]
    assert given["headers"] == letter["headers"]
    try:
        said = json.loads(value)
    except ValueError:
        said = None
    if isinstance(said, dict | list):
        assert json.loads(b64decode(given["value"])) == said
    else:
        assert given["value"] == letter["value"]
