"""The published schemas take what the readers take, and refuse a wrong type as they do."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from schemas import topics
from schemas.cloudevents import read_event
from schemas.commands import read_command
from schemas.config import encode_config, read_config
from schemas.dead import dead_letter, encode_dead, read_dead
from schemas.decode import Invalid
from schemas.lifecycle import read_lifecycle
from schemas.published import RECORDS, schema_of
from schemas.receipts import read_receipt
from schemas.sends import read_send
from tests.fuzz import gateway
from tests.fuzz.corpus import seeds

NOW_MS = 1_772_625_600_000
READERS: Mapping[str, Callable[[bytes], Any]] = {
    "request": lambda value: read_event(value, [], NOW_MS),
    "cloudevent": lambda value: read_event(value, [("content-type", b"application/cloudevents+json")], NOW_MS),
    "command": read_command,
    "receipt": read_receipt,
    "send": read_send,
    "lifecycle": read_lifecycle,
    "dead-letter": read_dead,
    "config": read_config,
}
VALIDATORS = {name: Draft202012Validator(schema_of(each)) for name, each in RECORDS.items()}
#: Values of every type.
OTHERS: tuple[Any, ...] = (True, 7, -1.5, "text", [], ["text"], {}, {"a": 1})


def real(name: str) -> list[Any]:
    """Records that roles and tests have made."""
    found = seeds()
    match name:
        case "request":
            return [each for each in found[topics.EVENTS] if "specversion" not in each]
        case "cloudevent":
            return [each for each in found[topics.EVENTS] if "specversion" in each]
        case "command":
            return list(found[topics.COMMANDS])
        case "receipt":
            return list(found[topics.RECEIPTS])
        case "send":
            return [each for lanes in topics.SEND_TOPICS.values() for lane in lanes for each in found.get(lane, ())]
        case "lifecycle":
            return list(found[topics.LIFECYCLE])
        case "dead-letter":
            letters = gateway._world().letters
            return [msgspec.json.decode(encode_dead(letter)) for letter in letters]
        case _:
            versions = gateway._in_force().catalog.templates.values()
            return [msgspec.json.decode(encode_config(each)) for each in versions]


def taken(name: str, record: Any) -> bool:
    try:
        READERS[name](json.dumps(record).encode())
    except Invalid:
        return False
    return True


def mutated(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each member left out, made null, and of every other type; two levels deep."""
    for name, value in record.items():
        yield {other: each for other, each in record.items() if other != name}
        for other in (None, *OTHERS):
            yield {**record, name: other}
        if isinstance(value, dict):
            for part in mutated_once(value):
                yield {**record, name: part}


def mutated_once(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in record:
        yield {other: each for other, each in record.items() if other != name}
        yield from ({**record, name: other} for other in (None, *OTHERS))


@pytest.mark.parametrize("name", RECORDS)
def test_a_schema_is_valid_by_itself(name: str) -> None:
    Draft202012Validator.check_schema(VALIDATORS[name].schema)


@pytest.mark.parametrize("name", RECORDS)
def test_the_examples_of_a_schema_are_read_and_valid(name: str) -> None:
    for example in RECORDS[name].examples:
        assert taken(name, example)
        VALIDATORS[name].validate(example)


@pytest.mark.parametrize("name", RECORDS)
def test_real_records_are_valid(name: str) -> None:
    records = [each for each in real(name) if taken(name, each)]
    assert records

    assert [(e.message, each) for each in records for e in VALIDATORS[name].iter_errors(each)] == []


@pytest.mark.parametrize("name", ["request", "cloudevent", "command", "receipt"])
def test_what_a_reader_takes_of_others_its_schema_takes(name: str) -> None:
    checked = 0
    for record in [*RECORDS[name].examples, *real(name)][:12]:
        for each in mutated(dict(record)):
            if not taken(name, each):
                continue
            checked += 1
            assert [e.message for e in VALIDATORS[name].iter_errors(each)] == [], each
    assert checked > 20


@pytest.mark.parametrize("name", RECORDS)
def test_what_a_reader_refuses_for_its_type_its_schema_refuses(name: str) -> None:
    missed = []
    for record in [*RECORDS[name].examples, *real(name)][:12]:
        for each in mutated(dict(record)):
            if VALIDATORS[name].is_valid(each):
                try:
                    READERS[name](json.dumps(each).encode())
                except Invalid as refused:
                    if "Expected" in refused.reason and name != "cloudevent":  # (attributes are strings there)
                        missed.append((refused, each))
    assert missed == []


def test_every_public_topic_has_a_schema_of_each_record() -> None:
    assert RECORDS.keys() == READERS.keys()


def test_a_letter_of_any_record_is_valid() -> None:
    class Record:
        topic, partition, offset, timestamp = "notify_events", 0, 1, NOW_MS
        key, value, headers = b"\xff", None, [("a\udcff", None), ("b", b"x")]

    letter = dead_letter(Record(), "invalid", "why", None, "router", NOW_MS)
    VALIDATORS["dead-letter"].validate(msgspec.json.decode(encode_dead(letter)))
