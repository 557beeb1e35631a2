"""LIVE: what a client saw is the inbox, in order and each change once: whatever comes twice, late, never, or from an
owner that lags; however often the client breaks off and comes back, and at whichever gateway."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.problems import Problem
from app.api.streams import Ending, Stream, Streams
from app.domain.inbox_events import Event
from app.store.owner_client import OwnerUnavailableError
from schemas.instants import rfc3339
from schemas.requests import Content, InboxOptions
from tables.inbox import MOST_CHANGES
from tests.agents.stage import HOUR
from tests.live import Inbox

MARKS = ("seen", "read", "unread", "archived")


@pytest.fixture(scope="module", autouse=True)
def short_lag() -> Iterator[None]:
    """Nobody waits for an owner here that never was further."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.api.streams._SHOWN_S", (0.01, 0.01))
        patch.setattr("app.api.streams._NAMED_S", (0.01, 0.01))
        yield


@dataclass
class Client:
    """What an app makes of a stream: a list of items, and two counts."""

    items: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    last_id: int | None = None
    #: The page has all changes up to this one.
    page_id: int = 0
    resets: int = 0
    saw: list[tuple[str, str, bytes]] = field(default_factory=list)

    def take(self, event: Event) -> None:
        data = json.loads(event.data)
        self.saw.append(event)
        self.last_id = int(event.id)
        if event.name == "reset":
            self.resets += 1
        elif self.last_id <= self.page_id and event.name != "count":
            return
        elif event.name == "count":
            self.counts = data
        elif event.name == "notification":
            assert data["id"] not in [item["id"] for item in self.items]
            self.items.insert(0, data)
        elif "all" in data:
            marks = {name: mark for name, mark in data.items() if name != "all"}
            woken = {"snoozed_until": None} if marks.get("archived") else {}
            self.items = [item | marks | woken for item in self.items]
        elif "removed" in data:
            self.items = [item for item in self.items if item["id"] != data["id"]]
        else:
            self.items = [self._updated(item, data) if item["id"] == data["id"] else item for item in self.items]

    def read_anew(self, inbox: Inbox) -> None:
        """After a reset, and before the first stream."""
        self.items = inbox.shown()
        self.page_id = int(inbox.page()["last_event_id"])
        self.resets = 0

    @staticmethod
    def _updated(item: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        assert item != item | data, "the change was there already"
        return item | data


class Gateway:
    """Streams that hear of changes as the test lets them."""

    def __init__(self, inbox: Any, **limits: Any) -> None:
        self.inbox = inbox
        self.streams = Streams(inbox, **{"most": 10, "most_of_user": 10, **limits})

    async def follow(self, client: Client, *, breaks_after: int | None = None) -> None:
        """Until nothing comes any more, or the connection breaks after so many events."""
        left = [breaks_after if breaks_after is not None else 1_000_000]

        def take(events: Sequence[Event]) -> bool:
            for event in events:
                if left[0] == 0:
                    return False
                left[0] -= 1
                client.take(event)
            return True

        with self.streams.opened("u1", 1e9) as stream:
            is_new = client.last_id is None
            first = await stream.begin(client.last_id)
            assert first[0].name == "count"
            whole = take(first)
            if is_new or client.resets or len(first) > 1:
                client.read_anew(self.inbox)
            if not whole:
                return
            async for events in stream.events(0.0):
                if not events or not take(events):
                    return


steps = st.lists(
    st.one_of(
        st.tuples(st.just("item"), st.sampled_from([None, "k"]), st.sampled_from([None, HOUR])),
        st.tuples(st.just("mark"), st.integers(0, 5), st.sampled_from(MARKS)),
        st.tuples(st.just("all"), st.sampled_from(MARKS)),
        st.tuples(st.just("snooze"), st.integers(0, 5), st.sampled_from([-1, HOUR, 2 * HOUR])),
        st.tuples(st.just("wait"), st.sampled_from([1, HOUR])),
        st.tuples(st.just("erase")),
        st.tuples(st.just("hear"), st.integers(0, 2**20)),
        st.tuples(st.just("connect"), st.integers(0, 1), st.none() | st.integers(0, 6)),
    ),
    max_size=30,
)


def play(inbox: Inbox, step: tuple[Any, ...]) -> None:
    ids = [item["id"] for item in inbox.page()["notifications"]]
    match step:
        case ("item", key, expires):
            options = None if expires is None else InboxOptions(expires_at=rfc3339(inbox.now + expires))
            inbox.item(collapse_key=key, inbox=options)
        case ("mark", place, mark) if place < len(ids):
            inbox.mark(ids[place], mark)
        case ("all", mark):
            inbox.command("inbox.mark", all=True, **{"as": mark})
        case ("snooze", place, ms) if place < len(ids):
            until = None if ms < 0 else rfc3339(inbox.now + ms)
            inbox.command("inbox.snooze", notification_id=ids[place], until=until)
        case ("wait", ms):
            inbox.wait(ms)
        case ("erase",):
            inbox.command("user.erase")
            inbox.wait(1)
            inbox.command("profile.set", name="Ada")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_what_a_client_saw_is_the_inbox_in_order_and_once(script: list[tuple[Any, ...]]) -> None:
    async def played() -> None:
        inbox = Inbox()
        gateways = [Gateway(inbox), Gateway(inbox)]
        client, seen = Client(), dict[tuple[str, str], set[bytes]]()
        for step in script:
            match step:
                case ("connect", which, breaks_after):
                    await gateways[which].follow(client, breaks_after=breaks_after)
                case ("hear", seed):  # the topic, from anywhere on, with holes
                    chance = random.Random(seed)
                    for change in inbox.changes[chance.randrange(len(inbox.changes) + 1) :]:
                        if chance.random() < 0.8:
                            gateways[seed % 2].streams.take_change(change)
                case _:
                    play(inbox, step)
        await gateways[0].follow(client)

        assert client.counts == inbox.counts()
        assert client.items == inbox.shown()
        assert client.last_id == int(inbox.page()["last_event_id"])
        for version, name, data in client.saw:  # all that carries one id and name at one gateway, it does at the other
            seen.setdefault((version, name), set()).add(data)
        assert all(len(said) == 1 for (_, name), said in seen.items() if name == "count")

    asyncio.run(played())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.integers(0, 2**20))
def test_two_open_streams_show_the_inbox_as_it_changes(script: list[tuple[Any, ...]], seed: int) -> None:
    """At two gateways, which hear of each change twice, or never, or before the owner has stored it."""

    async def played() -> None:
        chance = random.Random(seed)
        inbox = Inbox()
        gateways = [Gateway(Lagging(inbox, chance)), Gateway(inbox)]
        clients = [Client(), Client()]
        following = [asyncio.create_task(_keep(g, c, inbox)) for g, c in zip(gateways, clients, strict=True)]
        await asyncio.sleep(0)
        for step in script:
            before = len(inbox.changes)
            play(inbox, step)
            for gateway in gateways:
                for change in [*inbox.changes[before:], *inbox.changes[-2:]]:
                    if chance.random() < 0.9:
                        gateway.streams.take_change(change)
            if chance.random() < 0.5:
                await asyncio.sleep(0)
        for gateway in gateways:  # the last one is heard of in the end
            for change in inbox.changes[-1:]:
                gateway.streams.take_change(change)
        async with asyncio.timeout(60):
            while any(client.items != inbox.shown() or client.counts != inbox.counts() for client in clients):
                await asyncio.sleep(0.001)
        for gateway in gateways:
            gateway.streams.stop()
        await asyncio.gather(*following)

    asyncio.run(played())


class Lagging:
    """An owner that sometimes answers as it was, or not at all."""

    def __init__(self, inbox: Inbox, chance: random.Random) -> None:
        self._inbox = inbox
        self._chance = chance
        self._before: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inbox, name)

    async def read(self, role: str, user_id: str, view: str, params: Mapping[str, str] | None = None) -> Any:
        asked = repr(params)
        answer = await self._inbox.read(role, user_id, view, params)
        before, self._before[asked] = self._before.get(asked, answer), answer
        if self._chance.random() < 0.1:
            raise OwnerUnavailableError("a rebalance")
        return before if self._chance.random() < 0.3 else answer


async def _keep(gateway: Gateway, client: Client, inbox: Inbox) -> None:
    """As an app does: it comes back whenever its stream ends."""
    while True:
        try:
            with gateway.streams.opened("u1", 1e9) as stream:
                is_new = client.last_id is None
                for event in await stream.begin(client.last_id):
                    client.take(event)
                if is_new or client.resets:
                    client.read_anew(inbox)
                async for events in stream.events(30.0):
                    for event in events:
                        client.take(event)
                        if client.resets:
                            client.read_anew(inbox)
        except Ending as ending:
            if ending.why == "stopping":
                return
        except OwnerUnavailableError:
            pass
        except Problem:
            return


# --- where one can resume


async def begun(inbox: Inbox, after: int | None) -> list[tuple[str, str, Any]]:
    with Gateway(inbox).streams.opened("u1", 1e9) as stream:
        first = await stream.begin(after)
        events = [event async for events in _until_silent(stream) for event in events]
    return [(event.id, event.name, json.loads(event.data)) for event in [*first, *events]]


async def _until_silent(stream: Stream) -> Any:
    async for events in stream.events(0.0):
        if not events:
            return
        yield events


async def test_a_stream_begins_with_the_counts_and_where_one_can_resume() -> None:
    inbox = Inbox()
    assert await begun(inbox, None) == [("0", "count", {"unread": 0, "unseen": 0})]
    inbox.item()
    [count] = await begun(inbox, None)
    assert count == (inbox.page()["last_event_id"], "count", {"unread": 1, "unseen": 1})
    assert await begun(inbox, int(count[0])) == [count]


async def test_a_resumed_stream_begins_with_the_counts_of_then() -> None:
    inbox = Inbox()
    first = inbox.item()
    last_id = int(inbox.page()["last_event_id"])
    inbox.mark(first, "read")
    second = inbox.item()
    gateway = Gateway(inbox)
    with gateway.streams.opened("u1", 1e9) as stream:
        [count] = await stream.begin(last_id)
        gateway.streams.take_change(inbox.changes[-1])
        events = [e async for events in _until_silent(stream) for e in events]

    assert (int(count.id), json.loads(count.data)) == (last_id, {"unread": 1, "unseen": 1})
    assert [(int(e.id) - last_id, e.name) for e in events] == [
        (1, "update"),
        (1, "count"),
        (2, "notification"),
        (2, "count"),
    ]
    assert json.loads(events[0].data) == {"id": first, "seen": True, "read": True, "archived": False}
    assert json.loads(events[2].data)["id"] == second


@pytest.mark.parametrize(("behind", "resets"), [(0, False), (999, False), (1000, False), (MOST_CHANGES + 1, True)])
async def test_resuming_reaches_back_a_thousand_changes(behind: int, resets: bool) -> None:
    inbox = Inbox()
    item = inbox.item()
    for number in range(MOST_CHANGES + 10):
        inbox.mark(item, "unread" if number % 2 else "read")
    client = Client(last_id=int(inbox.page()["last_event_id"]) - behind)
    gateway = Gateway(inbox)
    with gateway.streams.opened("u1", 1e9) as stream:
        first = await stream.begin(client.last_id)
        gateway.streams.take_change(inbox.changes[-1])
        events = [e async for events in _until_silent(stream) for e in events]

    assert [e.name for e in first] == (["count", "reset"] if resets else ["count"])
    assert len({e.id for e in events}) == (0 if resets else behind)


@pytest.mark.parametrize("hours", [23, 26])
async def test_resuming_reaches_back_a_day(hours: int) -> None:
    inbox = Inbox()
    inbox.item()
    last_id = int(inbox.page()["last_event_id"])
    inbox.item()
    inbox.wait(hours * HOUR)
    inbox.partition.sweep(inbox.now)

    names = [name for _, name, _ in await begun(inbox, last_id)]
    assert names[:2] == ["count", "notification" if hours == 23 else "reset"]


async def test_an_owner_that_has_not_stored_the_id_yet_is_asked_again() -> None:
    """The topic shows a change a moment before its owner stores it; the client may break off just then."""
    inbox = Inbox()
    item = inbox.item()
    stored = inbox.read
    before = await stored("in_app", "u1", "inbox_changes", {"behind": "0"})
    inbox.mark(item, "read")
    answers = [before | {"changes": None}]

    class Late:
        async def read(self, *asked: Any) -> Any:
            return answers.pop() if answers else await stored(*asked)

    with Gateway(Late()).streams.opened("u1", 1e9) as stream:
        [count] = await stream.begin(inbox.changes[-1].version)
    assert (int(count.id), json.loads(count.data)) == (inbox.changes[-1].version, {"unread": 0, "unseen": 0})


@pytest.mark.parametrize("after", [1, 2**59])
async def test_an_id_that_never_was_is_a_reset(after: int) -> None:
    inbox = Inbox()
    inbox.item()
    assert [name for _, name, _ in await begun(inbox, after)] == ["count", "reset"]


class Asked:
    """An owner that notes what it is asked, and how large its answers are. ``silent``: it never answers."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.silent = False
        self.asked: list[Mapping[str, str]] = []
        self.sizes: list[int] = []

    async def read(self, role: str, user_id: str, view: str, params: Mapping[str, str]) -> Any:
        self.asked.append(params)
        if self.silent:
            await asyncio.Event().wait()
        answer = await self._inbox.read(role, user_id, view, params)
        self.sizes.append(len(msgspec.json.encode(answer)))
        return answer


@pytest.mark.parametrize("made_up", [False, True])
async def test_whoever_names_an_id_costs_a_few_small_reads(made_up: bool) -> None:
    inbox = Inbox()
    last_id = int(inbox.page()["last_event_id"])
    for _ in range(5):
        inbox.item()
    owner = Asked(inbox)
    with Gateway(owner).streams.opened("u1", 1e9) as stream:
        await stream.begin(2**59 if made_up else last_id)

    assert [params["limit"] for params in owner.asked] == (["1"] * 3 if made_up else ["1"])


async def test_a_stream_catches_up_in_small_pages_and_its_feed_keeps_nothing() -> None:
    inbox = Inbox()
    owner = Asked(inbox)
    gateway = Gateway(owner)
    client = Client()
    with gateway.streams.opened("u1", 1e9) as stream:
        for event in await stream.begin(None):
            client.take(event)
        for _ in range(20):
            inbox.item(template_id=None, content=Content("t", "x" * 20_000))
        for change in inbox.changes[-2:]:
            gateway.streams.take_change(change)
        async with asyncio.timeout(60):
            while len(client.items) < 20:
                async for events in _until_silent(stream):
                    for event in events:
                        client.take(event)
        [feed] = gateway.streams._feeds.values()
        assert not feed.recent._changes
    assert max(owner.sizes) < 96 << 10


async def test_nobody_resumes_behind_an_erasure() -> None:
    inbox = Inbox()
    inbox.item()
    before = int(inbox.page()["last_event_id"])
    inbox.command("user.erase")
    inbox.wait(1)
    inbox.command("profile.set", name="Bob")
    for _ in range(3):
        inbox.item()

    assert [name for _, name, _ in await begun(inbox, before)] == ["count", "reset"]
    assert inbox.changes[1].kind == "erased"
    assert inbox.changes[2].version > inbox.changes[1].version


def _replaced(inbox: Inbox) -> None:
    inbox.item(collapse_key="k")


def _expired(inbox: Inbox) -> None:
    inbox.wait(HOUR)


def _over_the_cap(inbox: Inbox) -> None:
    inbox.item()
    inbox.item()


def _erased(inbox: Inbox) -> None:
    inbox.command("user.erase")
    inbox.wait(1)


@pytest.mark.parametrize("leaves", [_replaced, _expired, _over_the_cap, _erased])
async def test_an_item_that_leaves_is_removed_whatever_makes_it_leave(leaves: Callable[[Inbox], None]) -> None:
    inbox = Inbox(inbox={"items": 2})
    first = inbox.item(collapse_key="k", inbox=InboxOptions(expires_at=rfc3339(inbox.now + HOUR)))
    gateway = Gateway(inbox)
    with gateway.streams.opened("u1", 1e9) as stream:
        await stream.begin(None)
        before = len(inbox.changes)
        leaves(inbox)
        for change in inbox.changes[before:]:
            gateway.streams.take_change(change)
        async with asyncio.timeout(60):
            events = [event for _ in range(2) async for events in _until_silent(stream) for event in events]
    removed = [event for event in events if json.loads(event.data) == {"id": first, "removed": True}]
    assert [event.name for event in removed] == ["update"]
    left = [item["id"] for item in inbox.shown()]
    assert first not in left
    count = [event for event in events if event.id == removed[0].id and event.name == "count"]
    assert len(count) == 1
    assert json.loads(events[-1].data) == inbox.counts() == {"unread": len(left), "unseen": len(left)}


# --- limits


async def _to_its_end(gateway: Gateway, lasts_s: float = 1e9, meanwhile: Callable[[], Any] = lambda: None) -> None:
    with gateway.streams.opened("u1", lasts_s) as stream:
        await stream.begin(None)
        asyncio.get_running_loop().call_soon(meanwhile)
        async for _ in stream.events(60.0):
            pass


async def test_a_stream_ends_with_its_token() -> None:
    with pytest.raises(Ending, match="token"):
        await _to_its_end(Gateway(Inbox()), 0.01)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("why", ["token", "stopping"])
async def test_a_stream_ends_though_its_owner_does_not_answer(begun: bool, why: str) -> None:
    inbox = Inbox()
    owner = Asked(inbox)
    gateway = Gateway(owner)

    async def followed(stream: Stream) -> None:
        if begun:
            await stream.begin(None)
            inbox.mark(inbox.item(), "read")
            gateway.streams.take_change(inbox.changes[-1])
        owner.silent = True
        if why == "stopping":
            asyncio.get_running_loop().call_later(0.01, gateway.streams.stop)
        await (anext(stream.events(60.0)) if begun else stream.begin(None))

    with gateway.streams.opened("u1", 0.1 if why == "token" else 1e9) as stream, pytest.raises(Ending, match=why):
        await asyncio.wait_for(followed(stream), 60)


async def test_streams_end_at_once_when_the_gateway_stops_and_no_other_opens() -> None:
    gateway = Gateway(Inbox())
    with pytest.raises(Ending, match="stopping"):
        await _to_its_end(gateway, meanwhile=gateway.streams.stop)
    assert gateway.streams.open == 0
    with pytest.raises(Problem) as refused, gateway.streams.opened("u1", 1e9):
        pass
    assert refused.value.status == 503


@pytest.mark.parametrize(("limits", "status"), [({"most_of_user": 1}, 429), ({"most": 1}, 503)])
async def test_there_are_so_many_streams_and_no_more(limits: dict[str, int], status: int) -> None:
    streams = Gateway(Inbox(), **limits).streams
    with streams.opened("u1", 1e9):
        with pytest.raises(Problem) as refused, streams.opened("u1", 1e9):
            pass
        assert (refused.value.status, "Retry-After" in refused.value.headers) == (status, True)
    with streams.opened("u1", 1e9):
        assert streams.open == 1


async def test_an_owner_that_never_answers_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.streams._PATIENCE_S", 0.05)
    inbox = Inbox()
    gateway = Gateway(inbox)
    inbox.item()
    ahead = msgspec.structs.replace(inbox.changes[-1], version=inbox.changes[-1].version + 5, kind="marked")
    with pytest.raises(Ending, match="unavailable"):
        await _to_its_end(gateway, meanwhile=lambda: gateway.streams.take_change(ahead))


async def test_a_feed_keeps_little_for_a_client_that_does_not_keep_up() -> None:
    inbox = Inbox()
    gateway = Gateway(inbox)
    client = Client()
    with gateway.streams.opened("u1", 1e9) as stream:
        for event in await stream.begin(None):
            client.take(event)
        item = inbox.item()
        for number in range(300):
            inbox.mark(item, "unread" if number % 2 else "read")
        for change in inbox.changes[1:]:
            gateway.streams.take_change(change)
        [feed] = gateway.streams._feeds.values()
        assert len(feed.recent._changes) <= 32
        async for events in _until_silent(stream):
            for event in events:
                client.take(event)
    assert client.items == inbox.shown()
