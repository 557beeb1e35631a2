"""Who is first: what is remembered of it is what a scan would find, whatever changes meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from tables.pauses import (
    PAUSES,
    Pause,
    Pauses,
    doubt_age_key,
    doubt_key,
    line_key,
    line_of,
    pause_key,
    recovery_key,
    resumption_key,
    slot_key,
)
from tables.rows import MemoryRows

WAIT = Pause(False, "n")
USERS, DEVICES, PROVIDERS = ("u", "u1"), (None, "d", "d1"), ("apns", "fcm")
LINES = [line_of(user, device, urgent=urgent) for user in USERS for device in DEVICES for urgent in (False, True)]

times, offsets, yes_or_no = st.integers(0, 3), st.integers(0, 3), st.booleans()
sends = st.integers(0, 3).map(lambda n: bytes(15) + bytes([n]))
users, providers = st.sampled_from(USERS), st.sampled_from(PROVIDERS)
#: Every kind of row that the table has.
keys = st.one_of(
    st.builds(line_key, st.sampled_from(LINES), yes_or_no, times, offsets, sends),
    *(
        st.builds(kind, providers, yes_or_no, yes_or_no, times, offsets, sends)
        for kind in (slot_key, resumption_key, recovery_key)
    ),
    st.builds(pause_key, users, times, offsets, sends),
    st.builds(doubt_key, users, sends),
    st.builds(doubt_age_key, providers, times, sends),
)
steps = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "record", "undo", "stored", "abandon"]), keys), max_size=40
)


@given(steps)
def test_the_first_that_is_remembered_is_the_first_there_is(taken: list[tuple[str, bytes]]) -> None:
    rows = MemoryRows()
    table = Pauses(PAUSES, rows)
    for step, key in taken:
        match step:
            case "put":
                table.put(key, WAIT)
            case "delete":
                table.delete(key)
            case "record":
                table.begin()
            case "undo":
                table.rollback()
            case "stored":
                rows.write("pauses", table.changes())
                table.stored()
            case "abandon":
                table.clear()
        remembered = [table.first_in(line) for line in LINES], [table.first_for(each) for each in PROVIDERS]
        table._firsts.clear()
        assert remembered == ([table.first_in(line) for line in LINES], [table.first_for(each) for each in PROVIDERS])


class Counted(MemoryRows):
    def __init__(self) -> None:
        super().__init__()
        self.scans = 0

    def scan(self, table: str, start: bytes, end: bytes | None):  # type: ignore[no-untyped-def]
        self.scans += 1
        return super().scan(table, start, end)


def test_nobody_waiting_is_asked_of_the_store_once() -> None:
    rows = Counted()
    table = Pauses(PAUSES, rows)
    for _ in range(5):
        assert table.first_in(LINES[0]) is None
        table.stored()

    assert rows.scans == 1
