"""Gets Apache Kafka's jars, each pinned by hash: by Maven where there is one, else by PyPI's jgo."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.dev.alone import alone_in

VERSION = "4.1.0"
#: Without slf4j-simple the broker would log nothing.
_WANTED = (("org.apache.kafka", "kafka_2.13", VERSION), ("org.slf4j", "slf4j-simple", "1.7.36"))
#: What Maven copies them with. Each goal is named with it, as Maven would otherwise choose a version by itself.
_MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_LOCK_FILE = Path(__file__).with_name("kafka-jars.lock")
_DOWNLOADS_AT_ONCE = 8
_MAVEN_LIMIT_S = 600


class NoJars(Exception):
    """The jars can't be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock file: ``group:artifact:version sha256``."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def locked_jars() -> tuple[Jar, ...]:
    """Every jar of the broker, Kafka's and what it depends on."""
    lines = [line for line in _LOCK_FILE.read_text().splitlines() if line and not line.startswith("#")]
    return tuple(Jar(*line.replace(":", " ").split(maxsplit=3)) for line in lines)


def ensure_jars(folder: Path, environ: Mapping[str, str]) -> Path:
    """The folder of jars for the broker's class path, fetched into ``folder/VERSION/libs`` if it isn't complete there.

    Complete means that a stamp of this lock file was written after all hashes had been right. Two at once wait for
    each other. Raises NoJars.
    """
    home = folder / VERSION
    libs, stamp = home / "libs", home / "complete"
    expected = hashlib.sha256(_LOCK_FILE.read_bytes()).hexdigest()
    with alone_in(home):
        if not (stamp.exists() and stamp.read_text() == expected and libs.is_dir()):
            print(f"Fetching Kafka {VERSION} …", flush=True)
            stamp.unlink(missing_ok=True)
            shutil.rmtree(libs, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=home) as scratch:
                _fetch(Path(scratch), environ).rename(libs)
            stamp.write_text(expected)
    return libs


def _fetch(scratch: Path, environ: Mapping[str, str]) -> Path:
    failures = []
    for name, fetch in (("Maven", _by_maven), ("jgo", _by_jgo)):
        libs = scratch / name
        libs.mkdir()
        try:
            fetch(libs, environ)
            _verify(libs)
        except Exception as error:  # a download fails in as many ways as there are networks: try the next, or say it
            failures.append(f"{name}: {error}")
        else:
            return libs
    raise NoJars(
        f"Kafka {VERSION} can't be fetched from Maven Central ({'; '.join(failures)}). Check the network; behind a "
        "proxy install Maven with your company's settings.xml, or set HTTPS_PROXY; then try again"
    )


def _verify(libs: Path) -> None:
    """Keeps exactly the locked jars; raises NoJars when one is missing or isn't what it should be."""
    jars = {jar.file_name: jar for jar in locked_jars()}
    for path in libs.iterdir():
        if path.name not in jars:
            path.unlink()
    for name, jar in jars.items():
        path = libs / name
        if not path.is_file():
            raise NoJars(f"{name} is missing")
        if hashlib.sha256(path.read_bytes()).hexdigest() != jar.sha256:
            raise NoJars(f"{name} isn't the file that was pinned")


def _by_maven(libs: Path, environ: Mapping[str, str]) -> None:
    maven = shutil.which("mvn", path=environ.get("PATH"))
    if maven is None:
        raise NoJars("no mvn on the PATH")
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        for group, artifact, version in _WANTED
    )
    pom = libs.parent / "pom.xml"
    pom.write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>tocsin</groupId><artifactId>kafka</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )
    command = [maven, "--quiet", "--batch-mode", "--strict-checksums", "--file", str(pom)]
    goal = [f"{_MAVEN_PLUGIN}:copy-dependencies", f"-DoutputDirectory={libs}", "-DincludeScope=runtime"]
    done = subprocess.run([*command, *goal], env=dict(environ), capture_output=True, text=True, timeout=_MAVEN_LIMIT_S)
    if done.returncode:
        raise NoJars((done.stdout.strip() or done.stderr.strip() or "mvn failed").splitlines()[0])


def _by_jgo(libs: Path, _: Mapping[str, str]) -> None:
    from jgo.maven import MavenContext

    # An own cache: a download that is cut short would otherwise stay in the user's Maven repository.
    context = MavenContext(repo_cache=libs.parent / "repository")

    def download(jar: Jar) -> None:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        shutil.move(artifact.resolve(), libs / jar.file_name)

    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        list(pool.map(download, locked_jars()))


def write_lock_file() -> None:
    """Resolves what Kafka depends on and pins it by hash (``make lock``)."""
    import jgo
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch))
        lines = []
        for found in jgo.resolve("+".join(":".join(wanted) for wanted in _WANTED)):
            artifact = context.project(found.groupId, found.artifactId).at_version(found.version).artifact()
            sha256 = hashlib.sha256(artifact.resolve().read_bytes()).hexdigest()
            lines.append(f"{found.groupId}:{found.artifactId}:{found.version} {sha256}\n")
    _LOCK_FILE.write_text("# Apache Kafka and what it depends on; `make lock` writes this.\n" + "".join(sorted(lines)))
