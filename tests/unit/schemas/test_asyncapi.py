"""The AsyncAPI document: valid by the official parser, whole, and of the records and topics that there are."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from app.api.documents import as_yaml
from app.config import Kafka
from app.dev.__main__ import ASYNCAPI
from app.store.rights import SERVICES
from app.store.topics import declare
from schemas.asyncapi import CHANNELS, MESSAGES, asyncapi
from schemas.published import RECORDS
from tests import npm
from tests.unit.schemas.test_published import real

PARSER = Path(__file__).parents[2] / "asyncapi"
READ_S = 600
DOCUMENT = asyncapi()


@pytest.fixture(scope="module")
def node() -> dict[str, str]:
    return npm.environment()


@pytest.fixture(scope="module")
def parser(node: dict[str, str]) -> Path:
    """A folder with the official parser (54 MB), of the versions that are pinned."""
    with npm.installed(PARSER, "asyncapi-parser", node) as folder:
        shutil.copy(PARSER / "check.mjs", folder)
    return folder


def parsed(parser: Path, node: dict[str, str], file: Path) -> dict[str, Any]:
    command = ["node", "check.mjs", str(file)]
    shown = subprocess.run(command, cwd=parser, env=node, capture_output=True, text=True, timeout=READ_S, check=True)
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


#: Advice that is no fault: that there is a newer version of AsyncAPI.
ADVICE = ("asyncapi-latest-version",)


def test_the_official_parser_finds_nothing_wrong(parser: Path, node: dict[str, str]) -> None:
    found = parsed(parser, node, ASYNCAPI)

    assert [each for each in found["found"] if each["code"] not in ADVICE] == []
    assert set(found["channels"]) == set(CHANNELS)


def test_the_official_parser_would_find_a_fault(parser: Path, node: dict[str, str], tmp_path: Path) -> None:
    spoilt = asyncapi()
    spoilt["operations"]["receive_notify_events"]["channel"]["$ref"] = "#/channels/nowhere"
    (tmp_path / "spoilt.yaml").write_text(as_yaml(spoilt))

    assert [each for each in parsed(parser, node, tmp_path / "spoilt.yaml")["found"] if each["code"] not in ADVICE]


def test_the_file_is_of_the_records_of_now() -> None:
    assert ASYNCAPI.read_text() == as_yaml(DOCUMENT), "run `.venv/bin/python -m app.dev asyncapi`"
    assert yaml.safe_load(ASYNCAPI.read_text()) == DOCUMENT


def test_every_public_topic_is_a_channel_as_it_is_declared() -> None:
    declared = {topic.name: topic for topic in declare(Kafka(), {}) if topic.name.startswith("notify_")}

    assert declared.keys() == DOCUMENT["channels"].keys()
    for name, channel in DOCUMENT["channels"].items():
        its = channel["bindings"]["kafka"]
        assert its["partitions"] == declared[name].partitions
        for key, value in its["topicConfiguration"].items():
            shown = ",".join(value) if isinstance(value, list) else str(value)
            assert declared[name].config[key] == shown


def test_what_tocsin_receives_is_what_services_may_write() -> None:
    assert {name for name, channel in CHANNELS.items() if channel.action == "receive"} == set(SERVICES.writes)


def test_every_kind_of_record_lies_on_some_topic() -> None:
    used = {name for channel in CHANNELS.values() for name in channel.messages}

    assert used == MESSAGES.keys()
    assert {MESSAGES[name].record for name in used} - {"data"} == RECORDS.keys()


def resolved(schema: Any) -> Any:
    """With the components that its references name."""
    return {**schema, "components": DOCUMENT["components"]}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_messages_examples_are_valid(name: str) -> None:
    message = DOCUMENT["components"]["messages"][name]
    examples = message["examples"]
    assert examples
    for example in examples:
        Draft7Validator(resolved(message["payload"])).validate(example["payload"])
        if "headers" in example:
            Draft7Validator(resolved(message["headers"])).validate(example["headers"])


@pytest.mark.parametrize("name", RECORDS)
def test_real_records_are_valid_in_it_too(name: str) -> None:
    validator = Draft7Validator(resolved({"$ref": f"#/components/schemas/{name}"}))

    for record in real(name)[:20]:
        assert [error.message for error in validator.iter_errors(record)] == []


def refs(part: Any) -> Iterator[str]:
    match part:
        case dict():
            yield from ([part["$ref"]] if isinstance(part.get("$ref"), str) else [])
            for each in part.values():
                yield from refs(each)
        case list():
            for each in part:
                yield from refs(each)


def test_every_reference_leads_somewhere() -> None:
    for ref in refs(DOCUMENT):
        at: Any = DOCUMENT
        for step in ref.removeprefix("#/").split("/"):
            at = at[step]
