"""Rows of sends: kept while open, nearly empty once ended."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempts import Tries
from schemas.decode import Invalid
from schemas.sends import Withdraw
from tables.attempts import ATTEMPTS, KEPT_MS, Attempts, OpenSend, SendRow, Timer, send_key
from tables.pauses import PAUSES, Pause, Pauses, pause_key
from tables.rows import MemoryRows

SEND = "5f1c9a52-0d57-8b0e-9a39-5f5c1d3f0003"
KEY = send_key(SEND)

rows = st.builds(
    SendRow,
    state=st.sampled_from(["held", "calling", "in_doubt", "retrying"]),
    expires=st.none() | st.integers(0, 2**50),
    open=st.builds(
        OpenSend,
        send=st.binary(),
        queued_at=st.integers(0, 2**50),
        tries=st.builds(Tries, used=st.integers(0, 9), provider=st.sampled_from([None, "apns", "sns"])),
        timer=st.none() | st.builds(Timer, kind=st.sampled_from(["retry", "settle"]), due_ms=st.integers(0, 2**50)),
        proven=st.none() | st.text(),
        withdrawn=st.none() | st.just(Withdraw(send_id=SEND, user_id="u", status="cancelled", by="n")),
    ),
)


@given(rows)
def test_a_row_is_read_as_it_was_written(row: SendRow) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=SendRow) == row


def test_a_key_is_the_uuids_bytes_whatever_its_case() -> None:
    assert send_key(SEND.upper()) == KEY
    assert len(KEY) == 16


@pytest.mark.parametrize("send_id", ["", "x", SEND[:-1], SEND + "00"])
def test_what_is_no_uuid_is_refused_by_name(send_id: str) -> None:
    with pytest.raises(Invalid) as refused:
        send_key(send_id)
    assert refused.value.field == "send_id"


def test_an_ended_row_outlives_the_topics_and_then_expires() -> None:
    rows = MemoryRows()
    table = Attempts(ATTEMPTS, rows)
    table.put(KEY, SendRow(state="calling", open=OpenSend(b"secret", 1)))
    table.end(KEY, "sent", 1_000)
    row = table.get(KEY)
    rows.write("attempts", table.changes())
    table.clear()

    assert row == SendRow(state="sent", expires=1_000 + KEPT_MS)
    assert table.expired(b"", 10, 1_000 + KEPT_MS) == ([], None)
    assert table.expired(b"", 10, 1_001 + KEPT_MS) == ([KEY], None)


def test_an_open_row_never_expires() -> None:
    rows = MemoryRows()
    table = Attempts(ATTEMPTS, rows)
    table.put(KEY, SendRow(state="held", open=OpenSend(b"", 1)))
    rows.write("attempts", table.changes())
    table.clear()

    assert table.expired(b"", 10, 2**62) == ([], None)


def test_a_users_pauses_come_in_order_of_acceptance_and_are_theirs_alone() -> None:
    table = Pauses(PAUSES, MemoryRows())
    for user, accepted_at, offset, last in (("u", 300, 0, 1), ("u", 20, 7, 2), ("u", 20, 6, 3), ("u1", 1, 0, 4)):
        table.put(pause_key(user, accepted_at, offset, KEY[:-1] + bytes([last])), Pause(False, f"n{last}"))

    assert [(key[-1], pause.notification_id) for key, pause in table.of("u")] == [(3, "n3"), (2, "n2"), (1, "n1")]
