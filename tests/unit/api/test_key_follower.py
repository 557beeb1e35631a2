"""A changed settings file's keys count; a broken one changes nothing."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from app.api.key_follower import KeyFollower
from app.config import ApiKey, Settings
from app.store.publisher import PublishError

ENTRY = '[[auth.api_keys]]\nid = "{id}"\nsha256 = "{digest}"\nscopes = ["send"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tocsin.toml"
    path.write_text("")
    return path


@pytest.fixture
def taken() -> list[list[str]]:
    return []


@pytest.fixture
def change(file: Path, taken: list[list[str]]) -> Callable[[str], None]:
    """Writes the file, then looks as often as it takes."""

    def take(keys: Sequence[ApiKey]) -> None:
        taken.append([key.id for key in keys])

    follower = KeyFollower(file, lambda: Settings.load({"TOCSIN_CONFIG": str(file)}).auth.api_keys, take)
    written = 0

    def changed(text: str) -> None:
        nonlocal written
        written += 1
        file.write_text(text)
        os.utime(file, ns=(written, written))
        for _ in range(3):
            follower.look()

    return changed


def entry(key_id: str) -> str:
    return ENTRY.format(id=key_id, digest="0" * 64)


def test_a_changed_file_is_read_once(change: Callable[[str], None], taken: list[list[str]]) -> None:
    change(entry("shop"))
    change(entry("shop") + entry("blog"))
    change("")

    assert taken == [["shop"], ["shop", "blog"], []]


@pytest.mark.parametrize("broken", ["[[auth", entry("shop") * 2, '[kafka]\npartitions = "many"\n'])
def test_a_file_that_cannot_be_used_leaves_the_keys_as_they_were(
    change: Callable[[str], None], taken: list[list[str]], broken: str
) -> None:
    change(entry("shop"))
    change(broken)
    change(entry("blog"))

    assert taken == [["shop"], ["blog"]]


def test_a_file_that_is_being_written_is_not_read_yet(file: Path) -> None:
    taken: list[Sequence[ApiKey]] = []
    follower = KeyFollower(file, list, taken.append)
    for size in range(5):
        file.write_text("#" * (size + 1))
        follower.look()

    assert taken == []
    follower.look()
    assert len(taken) == 1


async def test_what_changed_is_entered_in_the_audit_log_until_it_is_there(file: Path) -> None:
    entered: list[str] = []
    is_down = True

    async def enter(what: str) -> None:
        if is_down:
            raise PublishError("KafkaConnectionError")
        entered.append(what)

    def load() -> Sequence[ApiKey]:
        return Settings.load({"TOCSIN_CONFIG": str(file)}).auth.api_keys

    file.write_text(entry("shop") + entry("blog"))
    follower = KeyFollower(file, load, lambda _: None, load(), enter, lambda key_id: key_id == "news")
    for text in (entry("shop") + entry("news"), entry("shop").replace("0" * 64, "1" * 64)):
        file.write_text(text)
        for _ in range(3):
            follower.look()
        await follower.enter_changes()
    assert entered == []
    is_down = False
    await follower.enter_changes()
    await follower.enter_changes()

    assert entered == [
        "added news (send) of no source",
        "removed blog",
        "changed shop (send) of no source",
        "removed news: the one that was made over HTTP counts again",
    ]
    assert "0" * 8 not in repr(entered)
