"""Every command is there, explains itself by an example, and fails in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from app.cli import COMMANDS, build

RUNNER = CliRunner()


def subcommands(name: str) -> list[list[str]]:
    groups = [group.typer_instance for group in build([name]).registered_groups if group.name == name]
    if not groups:
        return [[name]]
    [group] = groups
    assert isinstance(group, typer.Typer)
    return [[name, each.name or each.callback.__name__] for each in group.registered_commands if each.callback]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    for arguments in subcommands(name):
        answer = RUNNER.invoke(build(arguments), [*arguments, "--help"])

        assert answer.exit_code == 0
        assert "Example: " in answer.output, arguments


def test_the_overview_is_shown_without_importing_any_command() -> None:
    code = (
        "import sys\nsys.argv = ['tocsin', '--help']\nfrom app.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'aiokafka', 'aiohttp', 'pydantic', 'faust', 'app.wiring'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_a_refusal_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "keys", "list"],
        env={"TOCSIN_GATEWAY__PORT": "many", "PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("tocsin: gateway.port: ")
    assert done.stderr.count("\n") == 1


def test_an_unknown_command_suggests_the_nearest() -> None:
    answer = RUNNER.invoke(build(["dve"]), ["dve"])

    assert answer.exit_code == 2
    assert "Did you mean 'dev'" in answer.output


@pytest.mark.parametrize("name", ["dev", "demo"])
@pytest.mark.parametrize("option", ["--gateway-port", "--kafka-port", "--page-port"])
@pytest.mark.parametrize("port", ["-1", "65536", "99999999"])
def test_a_port_that_cannot_be_one_is_refused(name: str, option: str, port: str) -> None:
    answer = RUNNER.invoke(build([name]), [name, option, port])

    assert answer.exit_code == 2
    assert option in answer.output


@pytest.mark.parametrize("name", ["dev", "demo"])
def test_where_development_tools_are_missing_their_commands_say_so(name: str) -> None:
    """As in the image, which has no psutil."""
    code = (
        f"import sys\nsys.argv = ['tocsin', '{name}']\nsys.modules['psutil'] = None\nfrom app.cli import main\nmain()"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr == "tocsin: psutil isn't installed: use a checkout (make setup), or install tocsin[local]\n"
