"""The files that are made of the gateway's description, and what belongs in them."""

from pathlib import Path

from clients.types.models import document, models_of
from clients.types.python_types import answers_module, bodies_module

HERE = Path(__file__).parents[1]
PYTHON = HERE / "python" / "tocsin" / "client"


def made() -> dict[Path, str]:
    """Each file's text, as it must be."""
    models = models_of(document())
    return {PYTHON / "bodies.py": bodies_module(models), PYTHON / "answers.py": answers_module(models)}
