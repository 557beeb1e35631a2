"""The policy and the templates that Tocsin starts with, until others are applied; what its dashboards ask."""

import tomllib
from importlib.resources import files
from typing import Any

import msgspec
import yaml

from schemas.config import Template, check_template


def default_policy_text() -> str:
    """The default policy as its file has it, comments and all."""
    return files(__package__).joinpath("policy.yaml").read_text(encoding="utf-8")


def dashboard_panels() -> dict[str, Any]:
    """``panels.toml``: ``variables`` by name, and ``dashboards``, each with its ``panels``."""
    return tomllib.loads(files(__package__).joinpath("panels.toml").read_text(encoding="utf-8"))


def default_templates() -> dict[str, Template]:
    """Every default template, by id (the name of its file)."""
    templates: dict[str, Template] = {}
    for file in sorted(files(__package__).joinpath("templates").iterdir(), key=lambda found: found.name):
        identity = file.name.removesuffix(".yaml")
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
        template = msgspec.convert({"id": identity, **said}, Template)
        check_template(template)
        templates[identity] = template
    return templates
