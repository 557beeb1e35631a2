"""The inbox's rows against the obvious model: a list of items, counted by looking at all of them."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.commands import Mark
from tables.inbox import KEPT_MS, Inbox, Item, marked
from tables.rows import MemoryRows

MARKS = ("seen", "read", "unread", "archived")


def an_item(name: str, arrived_at: int = 0) -> Item:
    return Item(name, b"", "t", "b", None, None, b"{}", 0, arrived_at)


def stored(inbox: Inbox, rows: MemoryRows) -> None:
    """What the runner does after every batch."""
    for table in (inbox.items, inbox.counts, inbox.changes):
        rows.write(table.spec.name, table.changes())
        table.clear()


actions = st.lists(
    st.one_of(
        st.tuples(st.just("add")),
        st.tuples(st.just("mark"), st.integers(0, 9), st.sampled_from(MARKS)),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("erase")),
        st.tuples(st.just("store")),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(actions)
def test_items_and_counts_are_those_of_a_plain_list(script: list[tuple[Any, ...]]) -> None:
    rows = MemoryRows()
    inbox = Inbox(rows)
    model: list[Item] = []
    now = 0
    for step in script:
        now += KEPT_MS // 4
        match step:
            case ("add",):
                item = an_item(str(now), now)
                inbox.add("u", item)
                model.insert(0, item)
            case ("mark", place, mark) if place < len(model):
                number, item = inbox.all("u")[place]
                inbox.change("u", number, item, marked(item, mark))
                model[place] = marked(model[place], mark)
            case ("remove", place) if place < len(model):
                inbox.remove("u", [inbox.all("u")[place]])
                del model[place]
            case ("sweep",):
                inbox.remove("u", inbox.overdue("u", now, 1_000))
                inbox.swept("u", now)
                model = [item for item in model if item.arrived_at + KEPT_MS > now]
            case ("erase",):
                inbox.erase("u")
                model = []
            case ("store",):
                stored(inbox, rows)

        count = inbox.count("u")
        assert [item for _, item in inbox.all("u")] == model
        assert count.total == len(model)
        assert count.unread == sum(not item.read and not item.archived for item in model)
        assert count.unseen == sum(not item.seen and not item.archived for item in model)


@given(st.lists(st.sampled_from(MARKS)))
def test_whoever_has_read_has_seen(marks: list[Mark]) -> None:
    item = an_item("n")
    for mark in marks:
        item = marked(item, mark)

    assert item.seen or not item.read


def test_pages_join_without_gap_or_overlap() -> None:
    inbox = Inbox(MemoryRows())
    for number in range(7):
        inbox.add("u", an_item(str(number)))
    names, before = [], None
    while page := inbox.newest("u", 3, before):
        names += [item.notification_id for _, item in page]
        before = page[-1][0]

    assert names == ["6", "5", "4", "3", "2", "1", "0"]


def test_users_whose_names_begin_alike_are_apart() -> None:
    inbox = Inbox(MemoryRows())
    inbox.add("u", an_item("mine"))
    inbox.add("u1", an_item("theirs"))

    assert [item.notification_id for _, item in inbox.all("u")] == ["mine"]


def test_nothing_is_written_for_a_user_who_has_no_inbox() -> None:
    inbox = Inbox(MemoryRows())
    inbox.swept("u", 10**15)
    inbox.erase("u")

    assert not inbox.counts.changes()


# --- marks of all items ---


@given(st.lists(st.sampled_from(MARKS), max_size=6), st.lists(st.sampled_from(MARKS), max_size=6))
def test_pending_marks_may_be_written_into_an_item_again(before: list[Mark], pending: list[Mark]) -> None:
    """A slice writes them, and they stay pending until the round is over."""
    item = an_item("n")
    for mark in before:
        item = marked(item, mark)
    once = item
    for mark in pending:
        once = marked(once, mark)
    twice = once
    for mark in pending:
        twice = marked(twice, mark)

    assert once == twice


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=8), st.lists(st.sampled_from(MARKS)))
def test_rows_of_the_revision_before_are_marked_and_counted(
    items: list[tuple[bool, bool, bool]], marks: list[Mark]
) -> None:
    rows = MemoryRows()
    encode = msgspec.msgpack.encode
    stored_items = {}
    for number, (seen, read, archived) in enumerate(items, start=1):
        item: list[object] = [str(number), b"", "t", "b", None, None, b"{}", 0, 0, None, seen, read, archived, []]
        stored_items[b"u\0" + (2**63 - number).to_bytes(8, "big")] = b"\1" + encode(item)
    rows.write("inbox", stored_items)
    unread = sum(not read and not archived for _, read, archived in items)
    unseen = sum(not seen and not archived for seen, _, archived in items)
    rows.write("inbox_counts", {b"u": b"\1" + encode([len(items), len(items), unread, unseen, KEPT_MS])})
    inbox = Inbox(rows)
    assert (inbox.count("u").unread, inbox.count("u").unseen) == (unread, unseen)

    inbox.add("u", an_item("new"))
    for mark in marks:
        inbox.mark_all("u", mark, "c", 0)
    shown, count = [item for _, item in inbox.all("u")], inbox.count("u")
    assert count.unread == sum(item.unread for item in shown)
    assert count.unseen == sum(item.unseen for item in shown)
    assert count.archived in (None, sum(item.archived for item in shown))


def test_a_mark_of_all_of_an_empty_inbox_writes_nothing() -> None:
    inbox = Inbox(MemoryRows())
    inbox.mark_all("u", "read", "c", 0)

    assert not inbox.passed("u", None, 0)
    assert not inbox.counts.changes()
