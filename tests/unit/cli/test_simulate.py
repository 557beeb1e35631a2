"""``tocsin simulate``: what it refuses before it asks Kafka anything, and what a program that runs it sees."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import build
from app.cli.output import Refused

GOOD = "categories: {other: {channels: [in_app]}}\n"
BAD = "categories:\n  other: {channels: [in_app]}\ncaps:\n  - {name: x, limit: 1, window: soon}\n"


def run(*arguments: str) -> str:
    """What is refused, or what usage says."""
    answer = CliRunner().invoke(build(["simulate"]), ["simulate", *arguments])
    assert answer.exit_code != 0
    return str(answer.exception) if isinstance(answer.exception, Refused) else answer.output


@pytest.fixture
def policy(tmp_path: Path) -> str:
    file = tmp_path / "new.yaml"
    file.write_text(GOOD)
    return str(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = run("--policy", "missing.yaml", "--from", "24h")

    assert "missing.yaml" in said
    assert "does not exist" in said


def test_a_policy_that_can_not_be_used_is_refused_with_line_and_path(tmp_path: Path, policy: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)

    for arguments in (("--policy", str(file)), ("--policy", policy, "--against", str(file))):
        said = run(*arguments, "--from", "24h")
        assert said.startswith(f"{file} can't be used\nline 4: caps[0].window: ")


def test_a_range_that_ends_before_it_begins_is_refused(policy: str) -> None:
    said = run("--policy", policy, "--from", "2026-03-02", "--to", "2026-03-01T00:00:00Z")

    assert said == "--from 2026-03-02T00:00:00.000Z isn't before --to 2026-03-01T00:00:00.000Z"


def test_a_range_in_the_future_is_empty(policy: str) -> None:
    assert "isn't before --to" in run("--policy", policy, "--from", "2126-01-01", "--to", "2126-02-01")


@pytest.mark.parametrize("time", ["yesterday", "2026-03-01T00:00:00", "0h", "24"])
def test_a_time_that_is_none_is_named(policy: str, time: str) -> None:
    assert run("--policy", policy, "--from", time).startswith(f"--from: {time} is not RFC 3339")


_SUPERVISED = """
import asyncio, sys
from pathlib import Path
from app.cli.simulate import Steps, end_with_standard_input
from app.scratch import scratch_folder

async def work():
    with scratch_folder("simulate", Path(sys.argv[1])):
        Steps()(3, 9)
        await asyncio.sleep(600)

end_with_standard_input()
asyncio.run(work())
"""


@pytest.mark.parametrize("begins", ["", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"])
async def test_a_supervised_one_says_how_far_it_is_and_clears_up_when_nobody_waits(tmp_path: Path, begins: str) -> None:
    """Also one of a gateway that a shell has started in the background, where interrupts are ignored."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", begins + _SUPERVISED, str(tmp_path), stdin=pipe, stderr=pipe
    )
    assert process.stderr is not None
    assert process.stdin is not None
    assert json.loads(await process.stderr.readline()) == {"done": 3, "total": 9}
    assert [*tmp_path.iterdir()] != []
    process.stdin.close()

    assert await process.wait() != 0
    assert [*tmp_path.iterdir()] == []
