"""Folders of a process's own: gone at its end, or, where it was killed, when the next one begins."""

import asyncio
import errno
import os
import sys
from pathlib import Path

import pytest

from app.scratch import remove_left_behind, scratch_folder
from tests.conftest import until

_KEEPS = """
import os, sys
from pathlib import Path
from app.scratch import scratch_folder

with scratch_folder("audit", Path(sys.argv[1])) as folder:
    (folder / "users").mkdir()
    (folder / "users" / "ada").write_text("what she said")
    Path(sys.argv[1], "ready").touch()
    os.read(0, 1)
"""


def test_a_folder_goes_at_the_end_however_that_comes(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch_folder("audit", tmp_path) as folder:
            (folder / "users").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("is_killed", [True, False])
async def test_the_next_one_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path, is_killed: bool) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KEEPS, str(tmp_path), stdin=asyncio.subprocess.PIPE
    )
    await until((tmp_path / "ready").exists)
    (tmp_path / "tocsin-simulate-x").mkdir()
    if is_killed:
        process.kill()
        await process.wait()

    with scratch_folder("audit", tmp_path) as mine:
        left = {folder.name for folder in tmp_path.glob("tocsin-*")} - {mine.name, "tocsin-simulate-x"}
        assert len(left) == (0 if is_killed else 1)
        assert mine.exists()
    if not is_killed:
        process.kill()
        await process.wait()
    assert (tmp_path / "tocsin-simulate-x").exists()


def test_where_nothing_can_be_locked_that_is_an_error_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("app.scratch.fcntl.flock", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)), scratch_folder("audit", tmp_path):
        pass

    assert [*tmp_path.iterdir()] == []


def test_two_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    with scratch_folder("audit", tmp_path) as first, scratch_folder("audit", tmp_path) as second:
        assert first != second
        assert first.exists()


def test_a_link_or_a_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (tmp_path / "tocsin-audit-link").symlink_to(elsewhere)
    (tmp_path / "tocsin-audit-file").touch()
    os.mkfifo(tmp_path / "tocsin-audit-pipe")
    remove_left_behind("audit", tmp_path)

    assert (elsewhere / "kept").exists()
    assert (tmp_path / "tocsin-audit-file").exists()
