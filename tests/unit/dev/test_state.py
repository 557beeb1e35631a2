"""Other commands find the running system, and only a running one."""

import fcntl
import threading
from pathlib import Path

import pytest

from app.config import Settings
from app.config.keys import settings_entry
from app.dev.configuration import kept_secrets, write_settings
from app.dev.state import (
    AlreadyRunning,
    ProcessState,
    State,
    dev_environment,
    read_state,
    sole_system,
    write_state,
)
from app.private import write_private

STATE = State(
    pid=1,
    config_file="/x/tocsin.toml",
    environment={"AWS_ACCESS_KEY_ID": "sandbox"},
    gateway_url="http://127.0.0.1:8080",
    kafka_bootstrap="127.0.0.1:9092",
    sandbox_url="http://127.0.0.1:8090",
    api_keys={"demo": "demo.secret"},
    jwt_secret="hush",
    processes={"router": ProcessState(2, 0, "/x/router.log")},
)


def test_the_state_is_read_while_the_system_runs_and_not_afterwards(tmp_path: Path) -> None:
    with sole_system(tmp_path):
        write_state(tmp_path, STATE)
        running = read_state(tmp_path)

    assert running == STATE
    assert read_state(tmp_path) is None


def test_the_state_of_a_system_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)

    assert read_state(tmp_path) is None


def test_a_second_system_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with sole_system(tmp_path), pytest.raises(AlreadyRunning, match="already running"), sole_system(tmp_path):
        pass


def test_the_state_of_a_system_that_was_killed_is_not_taken_for_the_one_that_starts(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)

    with sole_system(tmp_path):
        assert read_state(tmp_path) is None


def test_a_reader_of_the_state_keeps_no_system_from_starting(tmp_path: Path) -> None:
    with sole_system(tmp_path):
        pass
    with (tmp_path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        let_go = threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN))
        let_go.start()

        with sole_system(tmp_path):
            let_go.join()


def test_only_the_owner_can_read_what_holds_secrets(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    write_private(path, b"1")
    write_private(path, b"2")

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"2"


def test_commands_take_the_running_systems_settings() -> None:
    assert dev_environment(STATE) == {"AWS_ACCESS_KEY_ID": "sandbox", "TOCSIN_CONFIG": "/x/tocsin.toml"}


def test_secrets_stay_from_one_run_to_the_next(tmp_path: Path) -> None:
    assert kept_secrets(tmp_path) == kept_secrets(tmp_path)


def test_the_settings_file_has_the_ports_the_sandbox_and_the_development_keys(tmp_path: Path) -> None:
    kept = kept_secrets(tmp_path)
    providers = {"sns": {"region": "eu-west-1", "endpoint_url": "https://127.0.0.1:9"}}

    path = write_settings(tmp_path, "127.0.0.1:9999", 8081, providers, kept)
    settings = Settings.load({"TOCSIN_CONFIG": str(path)})

    assert (settings.kafka.bootstrap, settings.gateway.port) == ("127.0.0.1:9999", 8081)
    assert list(settings.providers.configured()) == ["sns"]
    assert settings.data_folder("push").is_relative_to(tmp_path)
    assert settings.auth.api_keys[0] == settings_entry(kept.api_keys["demo"], "demo", ("send", "campaign", "read"))
    assert not set(kept.api_keys.values()) & set(path.read_text().split('"'))


def test_a_key_that_was_added_to_the_settings_file_stays(tmp_path: Path) -> None:
    kept = kept_secrets(tmp_path)
    path = write_settings(tmp_path, "127.0.0.1:1", 1, {}, kept)
    entry = f'\n[[auth.api_keys]]\nid = "shop"\nsha256 = "{"0" * 64}"\nsource = "shop"\nscopes = ["send"]\n'
    path.write_text(path.read_text() + entry)

    write_settings(tmp_path, "127.0.0.1:1", 1, {}, kept)

    keys = Settings.load({"TOCSIN_CONFIG": str(path)}).auth.api_keys
    assert [key.id for key in keys] == ["demo", "admin", "shop"]
