"""What a machine has is used, what it lacks is said with the remedy."""

import os
import re
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.dev import kafka_jars
from app.dev.broker import BrokerOptions, server_properties
from app.dev.java import NoJava, find_java, major_version
from app.dev.kafka_jars import NoJars, ensure_jars, locked_jars
from app.dev.ports import free_port


def java_that_says(folder: Path, answer: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write({answer!r})\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("answer", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_402"', 8), ('openjdk version "25"', 25)],
)
def test_javas_version_is_read_in_its_old_and_new_form(tmp_path: Path, answer: str, version: int) -> None:
    assert major_version(java_that_says(tmp_path, answer)) == version


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    program = java_that_says(tmp_path / "home", 'openjdk version "21.0.1"')
    other = java_that_says(tmp_path / "other", 'openjdk version "21.0.1"')

    assert find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(other.parent)}) == program


def test_without_a_new_enough_java_the_one_from_pypi_is_used(tmp_path: Path) -> None:
    old = java_that_says(tmp_path, 'java version "1.8.0_402"')

    found = find_java({"PATH": str(old.parent)})

    assert found != old
    assert (major_version(found) or 0) >= 17


def test_without_any_java_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    old = java_that_says(tmp_path, 'java version "1.8.0_402"')

    with pytest.raises(NoJava, match=r"Java 17 or newer \(.*java is Java 8\)\. Install one"):
        find_java({"PATH": str(old.parent)})


def test_a_free_port_is_taken_where_the_preferred_one_is_busy() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]

        assert free_port(port) not in (0, port)
    assert free_port(port) == port


def test_a_free_port_is_none_that_an_outgoing_connection_may_be_given() -> None:
    assert all(1024 < free_port() < 32_768 for _ in range(50))


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Instead of the network: the jars that this repository has already fetched. Says what it was asked for."""
    source = ensure_jars(Path(".tocsin/kafka"), os.environ)
    asked: list[Path] = []

    def copy(libs: Path, _: Mapping[str, str]) -> None:
        asked.append(libs)
        shutil.copytree(source, libs, dirs_exist_ok=True)
        (libs / "stray.jar").write_bytes(b"not pinned")

    monkeypatch.setattr(kafka_jars, "_by_maven", copy)
    return asked


def test_jars_are_fetched_once_and_only_those_that_are_pinned(tmp_path: Path, fetches: list[Path]) -> None:
    libs = ensure_jars(tmp_path, {})
    again = ensure_jars(tmp_path, {})

    assert len(fetches) == 1
    assert again == libs
    assert {path.name for path in libs.iterdir()} == {jar.file_name for jar in locked_jars()}


def test_a_download_that_was_cut_short_is_done_again(tmp_path: Path, fetches: list[Path]) -> None:
    half_done = tmp_path / kafka_jars.VERSION / "libs"
    half_done.mkdir(parents=True)
    (half_done / "kafka_2.13-4.1.0.jar").write_bytes(b"half of it")

    libs = ensure_jars(tmp_path, {})

    assert len(fetches) == 1
    assert (libs / "kafka_2.13-4.1.0.jar").read_bytes() != b"half of it"


def test_a_jar_that_is_not_what_was_pinned_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(libs: Path, _: Mapping[str, str]) -> None:
        for jar in locked_jars():
            (libs / jar.file_name).write_bytes(b"tampered")

    monkeypatch.setattr(kafka_jars, "_by_maven", fetch)
    monkeypatch.setattr(kafka_jars, "_by_jgo", fetch)

    with pytest.raises(NoJars, match=r"isn't the file that was pinned.*Check the network"):
        ensure_jars(tmp_path, {})
    assert not (tmp_path / kafka_jars.VERSION / "libs").exists()


def test_the_broker_listens_on_loopback_only(tmp_path: Path) -> None:
    text = server_properties(BrokerOptions(tmp_path, tmp_path, tmp_path, 9092, 9093, tmp_path))

    assert "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n" in text
    assert "0.0.0.0" not in text


def test_a_detour_is_a_second_listener_whose_clients_are_told_the_port_of_the_proxy(tmp_path: Path) -> None:
    options = BrokerOptions(tmp_path, tmp_path, tmp_path, 9092, 9093, tmp_path, detour=(9094, 9095))
    text = server_properties(options)

    assert "listeners=PLAINTEXT://127.0.0.1:9092,DETOUR://127.0.0.1:9094,CONTROLLER://127.0.0.1:9093\n" in text
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:9092,DETOUR://127.0.0.1:9095\n" in text


def test_maven_runs_a_plugin_of_a_pinned_version_and_insists_on_checksums(tmp_path: Path) -> None:
    maven, called = tmp_path / "bin" / "mvn", tmp_path / "called"
    maven.parent.mkdir()
    maven.write_text(f"#!{sys.executable}\nimport sys\nopen({str(called)!r}, 'w').write(' '.join(sys.argv))\n")
    maven.chmod(0o755)
    libs = tmp_path / "libs"
    libs.mkdir()

    kafka_jars._by_maven(libs, {"PATH": str(maven.parent)})

    plugin = r" org\.apache\.maven\.plugins:maven-dependency-plugin:\d+\.\d+\.\d+:copy-dependencies "
    assert re.search(plugin, called.read_text())
    assert "--strict-checksums" in called.read_text()
