"""What a dead letter's page says of the schema: of the record's kind, and of the field that is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.console.helping import help_with
from schemas.published import RECORDS
from schemas.topics import COMMANDS, EVENTS, LIFECYCLE, RECEIPTS

_TOPICS = {"request": EVENTS, "cloudevent": EVENTS, "command": COMMANDS, "receipt": RECEIPTS}


@pytest.mark.parametrize(("name", "topic"), _TOPICS.items())
def test_of_each_example_every_field_has_rules(name: str, topic: str) -> None:
    for example in RECORDS[name].examples:
        for field in example:
            found = help_with(topic, field, json.dumps(example))
            assert found is not None
            assert found.name == name
            assert found.rules is not None
            assert json.loads(found.example) in RECORDS[name].examples
            assert set(found.required) <= example.keys()


@pytest.mark.parametrize(
    ("field", "holds"),
    [("content.title", '"string"'), ("channels[0]", '"push"'), ("priority", '"critical"'), ("content", '"required"')],
)
def test_a_field_within_another_is_found(field: str, holds: str) -> None:
    found = help_with(EVENTS, field, "{}")

    assert found is not None
    assert found.rules is not None
    assert holds in found.rules


def test_of_what_only_tocsin_writes_there_is_no_help() -> None:
    assert help_with(LIFECYCLE, "status", "{}") is None


_FIELDS = st.text(max_size=80) | st.sampled_from(["content.title.deep", "[0]", "content..", "$ref", "anyOf"])
_RECORDS = st.dictionaries(st.sampled_from(["type", "specversion"]), st.none() | st.text() | st.lists(st.text()))


@given(
    st.sampled_from([*_TOPICS.values()]),
    st.none() | _FIELDS,
    st.none() | st.text(max_size=80) | _RECORDS.map(json.dumps),
)
def test_whatever_was_sent_there_is_help_of_some_kind(topic: str, field: str | None, value: str | None) -> None:
    found = help_with(topic, field, value)

    assert found is not None
    assert json.loads(found.example)
