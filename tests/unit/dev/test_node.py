"""Where Node.js and npm come from, and what is said where they can't be had."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.dev import wheels
from app.dev.node import NoNode, ensure_node


def _bare(folder: Path, *programs: str) -> str:
    """A PATH with nothing but these."""
    folder.mkdir()
    for name in programs:
        (folder / name).symlink_to(shutil.which(name) or "/bin/true")
    return str(folder)


def test_those_on_the_path_are_used(tmp_path: Path) -> None:
    environ = {"PATH": _bare(tmp_path / "bin", "node", "npm")}

    assert ensure_node(tmp_path / "ours", environ) == environ
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("there", [(), ("node",), ("npm",)])
def test_where_one_is_lacking_both_come_from_the_wheel(
    there: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[Path] = []
    monkeypatch.setattr(wheels, "_fetch", lambda _, wheel: fetched.append(wheel))
    path = _bare(tmp_path / "bin", *there)
    for _ in range(2):
        found = ensure_node(tmp_path / "ours", {"PATH": path, "HOME": "/"})
        assert found == {"PATH": f"{tmp_path / 'ours' / 'bin'}{os.pathsep}{path}", "HOME": "/"}

    assert fetched == [tmp_path / "ours" / "wheel"]


def test_where_the_wheel_cannot_be_fetched_it_says_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "no route to the index\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    path = _bare(tmp_path / "bin")
    for _ in range(2):
        with pytest.raises(NoNode, match=r"no route to the index.*apt install nodejs npm"):
            ensure_node(tmp_path / "ours", {"PATH": path})
