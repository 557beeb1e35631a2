"""Where promtool comes from, and what is said where it can't be had."""

import os
from pathlib import Path

import pytest

from app.dev.promtool import NoPromtool, ensure_promtool


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_one_on_the_path_is_used(tmp_path: Path) -> None:
    program = _program(tmp_path / "bin" / "promtool", "")

    assert ensure_promtool(tmp_path / "ours", {"PATH": str(tmp_path / "bin")}) == program


def test_one_that_was_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    program = _program(tmp_path / "ours" / "promtool", "")

    assert ensure_promtool(tmp_path / "ours", {"PATH": str(tmp_path)}) == program


def test_without_debians_tools_it_says_what_is_lacking_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoPromtool, match=r"there is no apt-get and no dpkg-deb.*apt install prometheus"):
        ensure_promtool(tmp_path, {"PATH": str(tmp_path)})


def test_where_the_package_cannot_be_fetched_it_says_why(tmp_path: Path) -> None:
    for name in ("apt-get", "dpkg-deb"):
        _program(tmp_path / "bin" / name, "echo no route to the mirror >&2; exit 100")

    with pytest.raises(NoPromtool, match="no route to the mirror"):
        ensure_promtool(tmp_path / "ours", {"PATH": f"{tmp_path / 'bin'}:{os.defpath}"})
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["lock"]


def test_it_is_taken_out_of_the_package(tmp_path: Path) -> None:
    _program(tmp_path / "bin" / "apt-get", "touch prometheus_1.deb")
    _program(tmp_path / "bin" / "dpkg-deb", 'mkdir -p "$3/usr/bin" && echo it > "$3/usr/bin/promtool"')

    found = ensure_promtool(tmp_path / "ours", {"PATH": f"{tmp_path / 'bin'}:{os.defpath}"})
    assert found.read_text() == "it\n"
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == ["lock", "promtool"]
