"""docker-compose.yml, which tests can't run, agrees with the settings, the commands and the code. What holds for each
service's safety: tests/security/test_image.py."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.cli import COMMANDS
from app.cli.roles import Role
from app.config import Settings
from app.dev import kafka_jars
from app.dev.system import ROLES

REPOSITORY = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "tocsin"}

#: In place of what is chosen when it is started.
PASSWORD = "x" * 32

#: What the compose specification says of the keys that we use.
STRINGS = {"type": "array", "items": {"type": "string"}}
VOLUME = r"^([a-z_]+|\./[a-z/.]+(?=:.*:ro$)):/[a-z/.-]+(:ro)?$"
SERVICE_SCHEMA = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "build": {"type": "string"},
        "image": {"type": "string", "pattern": r"^[a-z0-9/._-]+(:[\w.-]+@sha256:[0-9a-f]{64})?$"},
        "user": {"type": "string", "pattern": r"^[a-z0-9]+(:\d+)?$"},
        "command": STRINGS,
        "hostname": {"type": "string", "pattern": "^[a-z0-9-]+$"},
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "env_file": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path"],
                "additionalProperties": False,
                "properties": {"path": {"type": "string"}, "required": {"type": "boolean"}},
            },
        },
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
        "volumes": {
            "type": "array",
            "items": {"type": "string", "pattern": r"^([a-z_]+|\./[a-z/.]+(?=:.*:ro$)):/[a-z/.-]+(:ro)?$"},
        },
        "networks": {"type": ["object", "array"]},
        "read_only": {"type": "boolean"},
        "cap_drop": STRINGS,
        "security_opt": STRINGS,
        "pids_limit": {"type": "integer"},
        "mem_limit": {"type": "string", "pattern": r"^\d+[mg]$"},
        "cpus": {"type": "number"},
        "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
        "tmpfs": {"type": "array", "items": {"type": "string", "pattern": r"^/[a-z/]+(:[a-z]+=\w+(,[a-z]+(=\w+)?)*)$"}},
        "logging": {"type": "object", "required": ["driver", "options"]},
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["condition"],
                "properties": {
                    "condition": {"enum": ["service_started", "service_healthy", "service_completed_successfully"]}
                },
            },
        },
        "healthcheck": {
            "type": "object",
            "anyOf": [{"required": ["test"]}, {"required": ["disable"]}],
            "additionalProperties": False,
            "properties": {
                "disable": {"type": "boolean"},
                "test": {"type": "array", "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}], "items": {"type": "string"}},
                "interval": {"type": "string", "pattern": r"^\d+s$"},
                "timeout": {"type": "string", "pattern": r"^\d+s$"},
                "start_period": {"type": "string", "pattern": r"^\d+s$"},
                "retries": {"type": "integer"},
            },
        },
    },
}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_the_shape_that_compose_wants(name: str) -> None:
    jsonschema.validate(SERVICES[name], SERVICE_SCHEMA)
    for dependency in SERVICES[name].get("depends_on", {}):
        assert dependency in SERVICES
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert (REPOSITORY / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]
    for network in SERVICES[name]["networks"]:
        assert network in COMPOSE["networks"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_setting_that_is_passed_exists(name: str) -> None:
    environ = {key: re.sub(r"\$\{\w+[^}]*\}", PASSWORD, value) for key, value in OURS[name]["environment"].items()}

    settings = Settings.load(environ)

    assert all(key.startswith("TOCSIN_") for key in environ)
    assert settings.kafka.bootstrap == "kafka:9092"
    if "clickhouse" in OURS[name]["depends_on"]:
        assert settings.clickhouse.url.endswith(f":{PASSWORD}@clickhouse:8123/notify")


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_that_is_run_exists(name: str) -> None:
    command, *arguments = OURS[name]["command"]

    assert command in COMMANDS
    if command == "worker":
        assert arguments == [name]
        assert name in {role.value for role in Role}


def test_every_role_is_a_service() -> None:
    assert {"gateway", *ROLES} <= set(OURS)
    assert set(ROLES) == {role.value for role in Role}


def test_every_role_with_state_has_a_volume_of_its_own() -> None:
    volumes = [OURS[role]["volumes"][0].split(":")[0] for role in ROLES]

    assert len(set(volumes)) == len(ROLES)


def test_roles_are_found_at_their_own_names() -> None:
    hosts = [OURS[name]["environment"]["TOCSIN_OPERATIONS__HOST"] for name in ("gateway", *ROLES)]

    assert len(set(hosts)) == len(hosts)
    for name, host in zip(("gateway", *ROLES), hosts, strict=True):
        assert OURS[name]["networks"]["operations"] == {"aliases": [host]}


def test_the_broker_is_the_one_that_is_tested() -> None:
    assert SERVICES["kafka"]["image"].startswith(f"apache/kafka:{kafka_jars.VERSION}@sha256:")
