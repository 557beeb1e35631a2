"""What Tocsin keeps on disk is its owner's alone. Of a whole running system: tests/e2e/test_dev.py."""

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import Settings
from app.dev.system import _KEPT, DevSystem, Options
from app.private import narrow
from app.wiring import ROLES
from app.wiring.process import keep_data_private
from tests.modes import open_to_others

REPOSITORY = Path(__file__).parents[2]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def made(path: Path, mode: int, *, folder: bool = False) -> Path:
    """With the mode, whatever the umask."""
    if folder:
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    path.chmod(mode)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = made(tmp_path / "tree", 0o755, folder=True)
    made(tree / "tables", 0o777, folder=True)
    made(tree / "tables" / "rows", 0o644)
    made(tree / "run", 0o755)
    return tree


def test_the_groups_and_others_rights_are_taken_and_the_owners_stay(tree: Path) -> None:
    assert narrow(tree) == 4
    assert open_to_others(tree) == []
    assert (mode(tree), mode(tree / "tables"), mode(tree / "tables" / "rows"), mode(tree / "run")) == (
        0o700,
        0o700,
        0o600,
        0o700,
    )
    assert narrow(tree) == 0


def test_a_folder_alone_leaves_what_is_in_it(tree: Path) -> None:
    assert narrow(alone=[tree]) == 1
    assert mode(tree / "run") == 0o755


def test_links_are_not_followed(tree: Path, tmp_path: Path) -> None:
    outside = made(tmp_path / "outside", 0o755, folder=True)
    file = made(tmp_path / "passwords", 0o644)
    (tree / "folder").symlink_to(outside)
    (tree / "file").symlink_to(file)

    narrow(tree, alone=[tree / "file"])

    assert (mode(outside), mode(file)) == (0o755, 0o644)


def test_what_is_not_ours_or_shared_by_all_stays(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = made(tree / "like-tmp", 0o1777, folder=True)
    narrow(tree)
    assert mode(shared) == 0o1777

    (tree / "run").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert narrow(tree) == 0
    assert mode(tree / "run") == 0o755


def test_what_is_not_there_or_refused_ends_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    assert narrow(tree / "nothing", alone=[tree / "nothing"]) == 0
    monkeypatch.setattr(Path, "chmod", refuse)
    assert narrow(tree) == 0


@pytest.mark.parametrize("role", ["gateway", *ROLES])
def test_each_role_narrows_its_own_folder_and_what_is_shared(role: str, tmp_path: Path) -> None:
    data = made(tmp_path / "data", 0o755, folder=True)
    mine, others = made(data / f"{role}-1" / "tables" / "x", 0o644), made(data / "other-1" / "x", 0o644)
    secret, database = made(data / "secret", 0o644), made(data / "clickhouse" / "store", 0o644)
    foreign = made(data / "not-of-tocsin", 0o644)

    keep_data_private(role, Settings.load({"TOCSIN_DATA__DIR": str(data)}))

    assert [mode(path) for path in (data, mine.parents[1], mine, secret)] == [0o700, 0o700, 0o600, 0o600]
    assert [mode(path) for path in (others, foreign)] == [0o644, 0o644]
    assert mode(database) == (0o600 if role == "analytics" else 0o644)


def test_a_development_system_narrows_what_it_keeps_and_nothing_else(tmp_path: Path) -> None:
    folder = made(tmp_path / "dev", 0o755, folder=True)
    kept = [made(folder / name / "file", 0o644) for name in _KEPT]
    aside, foreign = made(folder / "kafka.aside-1" / "x", 0o644), made(folder / "src" / "x", 0o644)

    DevSystem(Options(folder=folder))._keep_private()

    assert {mode(path) for path in (*kept, aside)} == {0o600}
    assert (mode(folder), mode(foreign)) == (0o700, 0o644)


#: Every way in which a process of ours begins that keeps something of users.
STARTS = {"app.cli": ["doctor"], "app.sandbox": ["--dir", "{folder}/sandbox", "--host", "not an address"]}


@pytest.mark.parametrize("module", STARTS)
def test_a_process_is_private_from_its_start_and_not_by_an_import(module: str, tmp_path: Path) -> None:
    """Asked where it ends: what the start has set holds for all that it did."""
    arguments = [argument.format(folder=tmp_path) for argument in STARTS[module]]
    program = (
        "import atexit, os, runpy, sys\n"
        f"import {module}\n"
        "before = os.umask(0o022); os.umask(before); print('imported', oct(before))\n"
        "atexit.register(lambda: print('started', oct(os.umask(0))))\n"
        f"sys.argv = ['x', *{arguments!r}]\n"
        f"runpy.run_module('{module}', run_name='__main__')\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tmp_path,
        env={**environ, "PYTHONPATH": str(REPOSITORY), "TOCSIN_GATEWAY__PORT": "not a port"},
        umask=0o022,
        capture_output=True,
        text=True,
    )

    assert "imported 0o22" in ran.stdout, ran.stderr
    assert "started 0o77" in ran.stdout, ran.stderr
    assert open_to_others(tmp_path) == [] or module == "app.cli"


def test_one_place_sets_the_umask() -> None:
    setting = [
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("app", "agents", "tables", "schemas")
        for path in (REPOSITORY / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "umask"
    ]

    assert setting == ["app/private.py"]
