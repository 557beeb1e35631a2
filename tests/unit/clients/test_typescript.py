"""The TypeScript client compiles in strict mode, its own tests pass against the gateway, its page's example runs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import npm
from tests.unit.clients.conftest import Served

CLIENT = Path(__file__).parents[3] / "clients" / "ts"
RUN_S = 600
[EXAMPLE] = re.findall(r"```ts\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def node() -> dict[str, str]:
    return npm.environment()


@pytest.fixture(scope="module")
def built(node: dict[str, str]) -> Path:
    """A folder with the client, compiled by the TypeScript that is pinned."""
    with npm.installed(CLIENT, "clients-ts", node) as folder:
        for name in ("src", "test", "dist"):
            shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(CLIENT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist"))
        (folder / "test" / "readme.ts").write_text(EXAMPLE.replace('"tocsin-client"', '"../src/index.js"'))
        compiled = subprocess.run(
            ["node_modules/.bin/tsc"], cwd=folder, env=node, capture_output=True, text=True, timeout=RUN_S
        )
        assert compiled.returncode == 0, compiled.stdout
    return folder


def ran(built: Path, node: dict[str, str], served: Served, *arguments: str) -> str:
    keys = {"TOCSIN_URL": served.url, "TOCSIN_KEY": served.keys["shop"], "TOCSIN_ADMIN": served.keys["ops"]}
    shown = subprocess.run(
        ["node", *arguments], cwd=built, env={**node, **keys}, capture_output=True, text=True, timeout=RUN_S
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return shown.stdout


def test_its_own_tests_pass(built: Path, node: dict[str, str], served: Served) -> None:
    shown = ran(built, node, served, "--test", "--test-reporter=tap", "dist/test/client.test.js")
    assert re.search("^# pass [1-9]", shown, re.MULTILINE)


def test_the_example_of_its_page_runs(built: Path, node: dict[str, str], served: Served) -> None:
    assert "400 event_type" in ran(built, node, served, "dist/test/readme.js")


def test_it_has_no_dependencies() -> None:
    assert '"dependencies"' not in (CLIENT / "package.json").read_text()
