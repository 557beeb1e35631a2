"""The inbox's rows against the obvious model: a list of items, counted by looking at all of them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tables.inbox import KEPT_MS, Inbox, Item, marked
from tables.rows import MemoryRows

MARKS = ("seen", "read", "unread", "archived")


def an_item(name: str, arrived_at: int = 0) -> Item:
    return Item(name, b"", "t", "b", None, None, b"{}", 0, arrived_at)


def stored(inbox: Inbox, rows: MemoryRows) -> None:
    """What the runner does after every batch."""
    for table in (inbox.items, inbox.counts):
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
def test_items_and_counts_are_those_of_a_plain_list(script):
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
                inbox.sweep("u", now)
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
def test_whoever_has_read_has_seen(marks):
    item = an_item("n")
    for mark in marks:
        item = marked(item, mark)

    assert item.seen or not item.read


def test_pages_join_without_gap_or_overlap():
    inbox = Inbox(MemoryRows())
    for number in range(7):
        inbox.add("u", an_item(str(number)))
    names, before = [], None
    while page := inbox.newest("u", 3, before):
        names += [item.notification_id for _, item in page]
        before = page[-1][0]

    assert names == ["6", "5", "4", "3", "2", "1", "0"]


def test_users_whose_names_begin_alike_are_apart():
    inbox = Inbox(MemoryRows())
    inbox.add("u", an_item("mine"))
    inbox.add("u1", an_item("theirs"))

    assert [item.notification_id for _, item in inbox.all("u")] == ["mine"]


def test_nothing_is_written_for_a_user_who_has_no_inbox():
    inbox = Inbox(MemoryRows())
    inbox.sweep("u", 10**15)
    inbox.erase("u")

    assert not inbox.counts.changes()
