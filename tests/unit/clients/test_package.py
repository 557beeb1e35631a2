"""The client stands alone: it brings in nothing of Tocsin's own, and says what it needs."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "clients" / "python"
#: Others that a service shouldn't have to install.
HEAVY = ("app", "agents", "schemas", "tables", "aiokafka", "aiohttp", "faust", "pydantic", "structlog", "cryptography")


def test_importing_the_client_brings_in_nothing_of_ours() -> None:
    code = f"import tocsin.client, sys; print([name for name in {HEAVY} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=CLIENT, capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"


def test_its_package_names_what_it_imports() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    declared = {line.partition(">")[0] for line in project["dependencies"]}
    imported = set()
    for source in (CLIENT / "tocsin").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])

    assert imported - set(sys.stdlib_module_names) - {"tocsin"} == declared


def test_it_is_typed_and_leaves_its_namespace_to_others() -> None:
    assert (CLIENT / "tocsin" / "client" / "py.typed").exists()
    assert not (CLIENT / "tocsin" / "__init__.py").exists()
