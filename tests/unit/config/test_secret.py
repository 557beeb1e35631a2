"""The installation's secret: a setting, or a file that is made once, and shown nowhere."""

import stat
import threading
from pathlib import Path

import pytest

from app.config import ConfigError, NoSecret, Settings, installation_secret

GIVEN = "0123456789abcdef0123456789abcdef"


def of_folder(folder: Path, **more: str) -> Settings:
    return Settings.load({"TOCSIN_DATA__DIR": str(folder), **more})


def test_it_is_made_at_the_first_start_for_its_owner_only(tmp_path: Path) -> None:
    first = installation_secret(of_folder(tmp_path / "data"))

    assert len(first) >= 32
    assert installation_secret(of_folder(tmp_path / "data")) == first
    assert stat.S_IMODE((tmp_path / "data" / "secret").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret"]


def test_processes_that_start_together_have_the_same(tmp_path: Path) -> None:
    settings, made = of_folder(tmp_path), set[bytes]()
    threads = [threading.Thread(target=lambda: made.add(installation_secret(settings))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 1


def test_every_installation_has_its_own(tmp_path: Path) -> None:
    assert installation_secret(of_folder(tmp_path / "a")) != installation_secret(of_folder(tmp_path / "b"))


def test_the_setting_comes_first_and_makes_no_file(tmp_path: Path) -> None:
    assert installation_secret(of_folder(tmp_path, TOCSIN_INSTALLATION__SECRET=GIVEN)) == GIVEN.encode()
    assert list(tmp_path.iterdir()) == []


def test_it_is_shown_nowhere(tmp_path: Path) -> None:
    settings = of_folder(tmp_path, TOCSIN_INSTALLATION__SECRET=GIVEN)

    assert GIVEN not in repr(settings) + str(settings) + settings.model_dump_json()
    with pytest.raises(ConfigError) as refused:
        of_folder(tmp_path, TOCSIN_INSTALLATION__SECRET="too short")
    assert "installation.secret" in str(refused.value)
    assert "too short" not in str(refused.value)


def test_a_file_that_is_cut_off_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("abc\n")

    with pytest.raises(NoSecret, match="secret is shorter than 32 bytes"):
        installation_secret(of_folder(tmp_path))
