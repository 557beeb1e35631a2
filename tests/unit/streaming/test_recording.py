"""What a batch was is recorded beside what it produces, in about 100 bytes, with nothing of users."""

import msgspec
import pytest

from app.domain.out import Produce
from app.streaming.recording import _MOST_STEPS, BatchRecorder
from schemas.batches import DUE_MARK_BYTES, Drawn, Step, digest_of_outputs, due_mark, read_batch
from schemas.decode import Invalid
from schemas.topics import BATCHES, COMMANDS, EVENTS

OUTPUTS = [Produce("notify_lifecycle", b"ann", b"{}"), Produce("notify_send_push", b"ann", b"{...}")]
DRAWN = [
    Drawn(COMMANDS, 2, 1_000_000, 1_000_003),
    Drawn("", 3, dues=b"".join(map(due_mark, (b"1", b"2", b"3")))),
    Drawn(EVENTS, 50, 20_000_000, 20_000_049),
]
NOW = 1_795_168_800_000


def recorder() -> BatchRecorder:
    return BatchRecorder("in_app", lambda: b"12345678")


def test_a_batch_is_produced_with_what_it_was() -> None:
    recording = recorder()
    recording.note(NOW, DRAWN)
    *outputs, record = recording.recorded(OUTPUTS, 7)

    assert outputs == OUTPUTS
    assert (record.topic, record.key) == (BATCHES, None)
    batch = read_batch(record.value or b"")
    assert (batch.role, batch.after, batch.steps, batch.catalog) == ("in_app", 7, [Step(NOW, DRAWN)], b"12345678")
    assert (batch.outputs, batch.digest) == (2, digest_of_outputs(OUTPUTS))
    assert len(record.value or b"") < 150


def test_where_no_catalog_is_named_nothing_is_recorded() -> None:
    recording = BatchRecorder("push", None)
    recording.note(NOW, DRAWN)

    assert recording.recorded(OUTPUTS, 7) == OUTPUTS


def test_draws_that_came_to_nothing_are_recorded_with_the_next() -> None:
    recording = recorder()
    for moment in range(3):
        recording.note(NOW + moment, DRAWN)
    batch = read_batch(recording.recorded(OUTPUTS, 7)[-1].value or b"")

    assert [step.now for step in batch.steps] == [NOW, NOW + 1, NOW + 2]
    assert recording.recorded(OUTPUTS, 8) == OUTPUTS  # nothing was drawn for these: rows were swept


def test_of_many_draws_that_came_to_nothing_the_latest_are_kept() -> None:
    recording = recorder()
    for moment in range(_MOST_STEPS + 5):
        recording.note(moment, DRAWN)
    batch = read_batch(recording.recorded(OUTPUTS, 7)[-1].value or b"")

    assert (len(batch.steps), batch.steps[-1].now) == (_MOST_STEPS, _MOST_STEPS + 4)


def test_one_byte_more_is_another_digest() -> None:
    changed = [OUTPUTS[0], Produce("notify_send_push", b"ann", b"{....}")]

    assert digest_of_outputs(changed) != digest_of_outputs(OUTPUTS)
    assert digest_of_outputs(OUTPUTS[::-1]) != digest_of_outputs(OUTPUTS)


def test_a_due_row_has_a_mark_of_its_own() -> None:
    marks = {due_mark(b"%d" % number) for number in range(500)}

    assert len(marks) == 500
    assert {len(mark) for mark in marks} == {DUE_MARK_BYTES}


@pytest.mark.parametrize("value", [b"", b"{}", b"\xc1", b"\x93\x01"])
def test_what_is_no_batch_is_refused(value: bytes) -> None:
    with pytest.raises(Invalid):
        read_batch(value)


def test_a_batch_of_a_revision_that_named_no_role_is_the_routers() -> None:
    before = msgspec.msgpack.encode((7, [], b"12345678", 0, b"", b"code"))

    assert read_batch(before).role == "router"
