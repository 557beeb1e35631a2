"""``tocsin policy`` without a gateway: what it can tell, and what it says it can't."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from app.cli.output import Refused
from app.cli.policy import app
from app.domain.policy import policy_schema

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TOCSIN_CONFIG", "TOCSIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def written(text: str) -> str:
    Path("policy.yaml").write_text(text, encoding="utf-8")
    return "policy.yaml"


def test_what_is_wrong_is_told_by_file_line_path_and_remedy() -> None:
    file = written("digests: {daily: {window: 1m, template: t}}\ncategories:\n  a: {digest: dialy}\n")
    answer = RUNNER.invoke(app, ["validate", file])

    assert isinstance(answer.exception, Refused)
    assert str(answer.exception).splitlines()[1:] == [
        "policy.yaml:3: categories.a.digest: names the digest dialy, which isn't there; "
        "did you mean daily? else add that digest"
    ]


def test_without_a_gateway_it_says_which_templates_it_could_not_check() -> None:
    file = written("event_types: {a: {template: late}, b: {template: early}}")
    answer = RUNNER.invoke(app, ["validate", file])

    assert answer.exit_code == 0, answer.exception
    assert "policy.yaml is a valid policy." in answer.output
    assert "Not checked: whether there are the templates early, late." in answer.output


def test_a_policy_without_templates_is_checked_whole() -> None:
    answer = RUNNER.invoke(app, ["validate", written("timezone: Europe/London")])

    assert answer.output == "policy.yaml is a valid policy.\n"


def test_what_is_not_utf_8_is_refused() -> None:
    Path("policy.yaml").write_bytes(b"timezone: \xff")
    answer = RUNNER.invoke(app, ["validate", "policy.yaml"])

    assert isinstance(answer.exception, Refused)


def test_the_schema_is_printed_for_editors() -> None:
    answer = RUNNER.invoke(app, ["schema"])

    assert json.loads(answer.output) == policy_schema()
    Draft202012Validator.check_schema(json.loads(answer.output))
