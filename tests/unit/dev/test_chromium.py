"""Where Chromium comes from, and what is said where it can't be had."""

import os
import subprocess
from pathlib import Path

import pytest

from app.dev.chromium import NoChromium, ensure_chromium


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def _without_chromium(tmp_path: Path) -> dict[str, str]:
    """A PATH with a few programs and no browser."""
    for name in ("mkdir", "touch", "cat", "chmod"):
        there = next(Path(each) / name for each in os.defpath.split(":") if each and (Path(each) / name).exists())
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(there)
    return {"PATH": str(tmp_path / "bin")}


@pytest.mark.parametrize("name", ["chromium", "google-chrome"])
def test_the_one_on_the_path_is_used(tmp_path: Path, name: str) -> None:
    program = _program(tmp_path / "bin" / name, "")

    assert ensure_chromium(tmp_path / "ours", {"PATH": str(tmp_path / "bin")}) == program


def test_one_that_was_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    program = _program(tmp_path / "ours" / "chromium", "")

    assert ensure_chromium(tmp_path / "ours", {"PATH": str(tmp_path)}) == program


def test_without_debians_tools_it_says_what_is_lacking_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoChromium, match=r"there is no apt-get and no dpkg-deb.*apt install chromium"):
        ensure_chromium(tmp_path, {"PATH": str(tmp_path)})


def test_where_the_package_cannot_be_fetched_it_says_why(tmp_path: Path) -> None:
    environ = _without_chromium(tmp_path)
    for name in ("apt-get", "dpkg-deb"):
        _program(tmp_path / "bin" / name, "echo no route to the mirror >&2; exit 100")

    with pytest.raises(NoChromium, match="no route to the mirror"):
        ensure_chromium(tmp_path / "ours", environ)
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["lock"]


def test_it_runs_with_the_libraries_that_came_with_it(tmp_path: Path) -> None:
    environ = _without_chromium(tmp_path)
    _program(
        tmp_path / "bin" / "apt-get",
        'for each in "$@"; do case $each in -oDir::Cache::archives=*) '
        'touch "${each#*=}/chromium_1.deb" "${each#*=}/libnew_1.deb";; esac; done',
    )
    _program(
        tmp_path / "bin" / "dpkg-deb",
        'case $2 in *chromium_1.deb) mkdir -p "$3/usr/lib/chromium"; b="$3/usr/lib/chromium/chromium"; '
        """echo '#!/bin/sh' >"$b"; echo 'echo "$LD_LIBRARY_PATH" "$@"' >>"$b"; chmod +x "$b";; """
        '*) mkdir -p "$3/usr/lib/here"; touch "$3/usr/lib/here/libnew.so.1";; esac',
    )

    found = ensure_chromium(tmp_path / "ours", environ)
    said = subprocess.run([found, "--headless"], capture_output=True, text=True, check=True).stdout
    assert said == f"{tmp_path}/ours/files/usr/lib/here --headless\n"
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == ["chromium", "files", "fonts.conf", "lock"]
