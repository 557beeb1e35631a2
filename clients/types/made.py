"""The files that are made of the gateway's description, and what belongs in them."""

from pathlib import Path

from clients.types import go_types, python_types, typescript_types
from clients.types.models import document, models_of

HERE = Path(__file__).parents[1]
PYTHON = HERE / "python" / "tocsin" / "client"
TYPESCRIPT = HERE / "ts" / "src"
GO = HERE / "go"


def made() -> dict[Path, str]:
    """Each file's text, as it must be."""
    models = models_of(document())
    return {
        PYTHON / "bodies.py": python_types.bodies_module(models),
        PYTHON / "answers.py": python_types.answers_module(models),
        TYPESCRIPT / "bodies.ts": typescript_types.bodies_module(models),
        TYPESCRIPT / "answers.ts": typescript_types.answers_module(models),
        TYPESCRIPT / "operations.ts": typescript_types.operations_module(models),
        GO / "bodies" / "bodies.go": go_types.bodies_module(models),
        GO / "answers" / "answers.go": go_types.answers_module(models),
        GO / "operations.go": go_types.operations_module(models),
    }
