"""docker-compose.yml and the Dockerfile, which tests can't run, agree with the settings, the commands and the code."""

import re
import shlex
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
SERVICE_SCHEMA = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "build": {"type": "string"},
        "image": {"type": "string", "pattern": r"^[a-z0-9/._-]+(:[\w.-]+)?$"},
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
        "volumes": {"type": "array", "items": {"type": "string", "pattern": r"^[a-z_]+:/[a-z/]+$"}},
        "networks": {"type": "object"},
        "read_only": {"type": "boolean"},
        "cap_drop": STRINGS,
        "security_opt": STRINGS,
        "pids_limit": {"type": "integer"},
        "mem_limit": {"type": "string", "pattern": r"^\d+[mg]$"},
        "tmpfs": {"type": "array", "items": {"type": "string", "pattern": r"^/[a-z/]+(:[a-z]+=\d+(,[a-z]+=\d+)*)?$"}},
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
            "required": ["test"],
            "additionalProperties": False,
            "properties": {
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
        assert volume.split(":")[0] in COMPOSE["volumes"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_setting_that_is_passed_exists(name: str) -> None:
    environ = {key: re.sub(r"\$\{\w+[^}]*\}", PASSWORD, value) for key, value in OURS[name]["environment"].items()}

    settings = Settings.load(environ)

    assert all(key.startswith("TOCSIN_") for key in environ)
    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.clickhouse.url == f"clickhouse://tocsin:{PASSWORD}@clickhouse:8123/notify"


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


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_may_do_no_more_than_they_need(name: str) -> None:
    service = OURS[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert {"pids_limit", "mem_limit"} <= service.keys()
    written = [each.split(":")[1] for each in service.get("volumes", [])]
    written += [each.split(":")[0] for each in service["tmpfs"]]
    assert sorted(written) == ["/tmp", "/var/lib/tocsin"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_gets_new_privileges(name: str) -> None:
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]


def test_what_passes_in_memory_belongs_to_the_images_user() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()

    assert "--uid 10001 --gid 10001" in dockerfile
    assert "\nUSER tocsin\n" in dockerfile
    assert "CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT" not in SERVICES["clickhouse"]["environment"]


def test_roles_are_found_at_their_own_names() -> None:
    for name in ("gateway", *ROLES):
        assert OURS[name]["environment"]["TOCSIN_OPERATIONS__HOST"] in (name, OURS[name].get("hostname"))


def test_the_broker_is_the_one_that_is_tested() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka_jars.VERSION}"


def test_the_image_has_all_that_the_code_consists_of() -> None:
    lines = [line for line in (REPOSITORY / "Dockerfile").read_text().replace("\\\n", "").splitlines() if line]
    copied = {source for line in lines if line.startswith("COPY ") for source in shlex.split(line)[1:-1]}

    assert copied == {"requirements-uv.txt", "requirements.txt", "schemas", "tables", "agents", "app"}
    assert all((REPOSITORY / source).exists() for source in copied)
    assert lines[-1] == 'ENTRYPOINT ["python", "-m", "app.cli"]'
    assert all(re.match(r"(FROM|WORKDIR|COPY|RUN|USER|ENV|ENTRYPOINT|#)", line) for line in lines)
