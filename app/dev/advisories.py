"""Looks for known vulnerabilities in what is pinned, Python packages and jars, in the OSV database (``make lock``)."""

import json
import re
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from app.dev.kafka_jars import locked_jars

_REPOSITORY = Path(__file__).resolve().parents[2]
_REQUIREMENTS = tuple(f"requirements{use}.txt" for use in ("", "-production", "-uv", "-node", "-go"))
_OSV = "https://api.osv.dev/v1/querybatch"
#: What the database takes in one call is 1,000.
_BATCH = 500
_LIMIT_S = 60.0
_MAX_ANSWER = 16 << 20


class Package(NamedTuple):
    """``ecosystem``: PyPI or Maven, as the database names them."""

    ecosystem: str
    name: str
    version: str


def main(url: str = _OSV) -> int:
    """Prints each pinned package that has advisories; 1 if any has. Says so where the database can't be asked."""
    packages = pinned()
    try:
        found = advisories(packages, url)
    except (OSError, ValueError) as error:
        print(
            f"advisories: the OSV database can't be asked ({error}): {len(packages)} pinned packages are not checked. "
            "Run `make lock` where it can be reached",
            file=sys.stderr,
        )
        return 0
    for package, ids in found.items():
        print(f"advisories: {package.ecosystem} {package.name} {package.version}: {', '.join(ids)}")
    print(f"advisories: {len(packages)} packages looked up, {len(found)} with known vulnerabilities")
    return 1 if found else 0


def pinned(folder: Path = _REPOSITORY) -> list[Package]:
    """Everything that the lock files name, each once."""
    jars = (Package("Maven", f"{jar.group}:{jar.artifact}", jar.version) for jar in locked_jars())
    return sorted({*_python_packages(folder), *jars})


def _python_packages(folder: Path) -> Iterator[Package]:
    for file in _REQUIREMENTS:
        for name, version in re.findall(r"^([\w.-]+)==([\w.!+]+)", (folder / file).read_text(), re.MULTILINE):
            yield Package("PyPI", name, version)


def advisories(packages: Sequence[Package], url: str) -> dict[Package, list[str]]:
    """The ids of the advisories of each package that has any. Raises OSError, ValueError."""
    found: dict[Package, list[str]] = {}
    for start in range(0, len(packages), _BATCH):
        batch = packages[start : start + _BATCH]
        for package, result in zip(batch, _query(batch, url), strict=True):
            if ids := [str(each["id"]) for each in (result or {}).get("vulns") or ()]:
                found[package] = ids
    return found


def _query(packages: Sequence[Package], url: str) -> list[dict[str, Any] | None]:
    queries = [
        {"package": {"ecosystem": each.ecosystem, "name": each.name}, "version": each.version} for each in packages
    ]
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=_LIMIT_S) as response:
        answer = json.loads(response.read(_MAX_ANSWER))
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list) or len(results) != len(packages):
        raise ValueError("its answer has another shape than expected")
    return results
