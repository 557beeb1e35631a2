"""An installed package can import what it needs, and both lists of dependencies agree."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = {"app", "agents", "tables", "schemas", "tocsin"}
#: What needs an extra, by folder; `tocsin` itself must come up without.
EXTRAS = {"app/dev": {"local"}, "app/sandbox": {"local"}, "app/demo": {"demo", "local"}}
#: Imported where a feature is used that needs the extra, and nowhere on the way there.
LAZY = {"chdb", "pyarrow", "opentelemetry", "statsmodels"}


def listed(name: str) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return {line for line in lines if line and not line.startswith("-")}


def project() -> dict[str, list[str]]:
    """Each extra's requirements; "" are the dependencies."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"": found["dependencies"], **found["optional-dependencies"]}


def names(requirements: list[str]) -> set[str]:
    """Names of distributions, normalized."""
    bare = (line.split(";")[0] for line in requirements if not line.startswith("tocsin["))
    return {
        line.translate({ord(c): "=" for c in "<>~"}).split("=")[0].strip().lower().replace("_", "-") for line in bare
    }


@cache
def distributions() -> dict[str, set[str]]:
    return {top: {n.lower().replace("_", "-") for n in found} for top, found in packages_distributions().items()}


def imports(folder: Path) -> Iterator[tuple[Path, str]]:
    for source in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                yield from ((source.relative_to(ROOT), alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield source.relative_to(ROOT), node.module.split(".")[0]


def test_the_dependencies_are_those_of_the_image_and_of_the_lists_for_development() -> None:
    extras = project()

    assert {*extras[""], *extras["embedded"], *extras["experiments"], *extras["tracing"]} == listed(
        "requirements-production.in"
    )
    ours = {"tocsin[embedded]", "tocsin[local]"}
    assert {*extras["local"], *extras["demo"]} - ours <= listed("requirements.in")


@pytest.mark.parametrize("top", ["app", "agents", "tables", "schemas", "clients/python/tocsin"])
def test_every_import_of_the_package_is_of_a_declared_dependency(top: str) -> None:
    extras = project()
    undeclared = []
    for source, module in imports(ROOT / top):
        if module in sys.stdlib_module_names or module in OURS:
            continue
        folder = "/".join(source.parts[:2])
        allowed = names(extras[""] + [line for extra in EXTRAS.get(folder, ()) for line in extras[extra]])
        if module not in LAZY and not distributions().get(module, set()) & allowed:
            undeclared.append((str(source), module))

    assert undeclared == []
