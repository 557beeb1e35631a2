"""Whatever lies in a topic that is followed, or read without a role's guard, harms only itself."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from aiokafka import TopicPartition
from clickhouse_connect.driver.exceptions import DatabaseError, DataError, OperationalError
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

import app.store.config_follower
from app.campaigns.jobs import Jobs
from app.domain import announcing
from app.domain.catalog import Catalog
from app.kafka.records import Unreadable
from app.store.api_keys import KeysFollower
from app.store.config_follower import ConfigFollower
from app.store.dead_letters import _letter, is_of_erased
from app.store.erased import ErasedUsers, follow_erased
from app.store.follower import TopicFollower
from app.store.hooks import HooksFollower
from app.store.lifecycle_rows import read_rows
from app.store.lifecycle_sink import LifecycleSink, SinkMetrics
from app.store.owners import Owner, OwnersFollower
from app.streaming.poison import BLOCKED_S, PoisonGuard
from schemas.campaigns import CampaignControl, CampaignState, Listed, Upload, encode_campaign
from schemas.config import PolicyVersion, Template, TemplateVersion, encode_config
from schemas.dead import dead_letter, encode_dead, read_dead
from schemas.erasures import REDACT, REDACTED, USER, Erased, Redacted, ToRedact, encode_erasure
from schemas.hooks import HookDisabled, HookReplay, encode_hook_record
from schemas.keys import KeyRevoked, KeyUsed, encode_key_record
from schemas.lifecycle import encode_lifecycle
from schemas.topics import CAMPAIGNS, CONFIG, DEAD, ERASURES, HOOKS, KEYS, LIFECYCLE, OWNERS
from tests.campaigns import job_at
from tests.hook_topic import a_hook
from tests.hostile import REFUSED, TAKEN, texts
from tests.key_topic import a_key
from tests.records import Record
from tests.unit.store.conftest import T0, event, recorded

SECRET = b"a secret of thirty-two characters"
POLICY = "defaults: {category: other}\ncategories: {other: {channels: [in_app]}}\n"
HASH = b"ab" * 16
OWNER = Owner(role="router", instance="1", partitions=[0, 1], url="http://127.0.0.1:1", policy_version=1, at=T0)
HOOK = a_hook("ab")
KEY = a_key("ab", "ab.secret")
KEY_REVOKED = KeyRevoked(id="cd", creation="c", version=1, at=T0)
KEY_USED = KeyUsed(id="ab", number=1, at=T0)
HOOK_DISABLED = HookDisabled(id="ab", at=T0, why="it answered 410")
HOOK_REPLAY = HookReplay(id="ab", replay_id="cd", from_ms=0, to_ms=T0, at=T0)
PARTS: Any = {"push": {"en": {"title": "t", "body": "b"}}}

CAMPAIGN = job_at(T0)

#: A good record of each topic: key, value, and the headers that go with them.
GOOD: dict[str, list[tuple[bytes, bytes]]] = {
    CONFIG: [
        (b"policy", encode_config(PolicyVersion(version=1, text=POLICY, at="2026-03-04T12:00:00Z"))),
        (
            b"template/t",
            encode_config(
                TemplateVersion(version=1, template=Template(id="t", channels=PARTS), at="2026-03-04T12:00:00Z")
            ),
        ),
    ],
    OWNERS: [(b"router/1", msgspec.json.encode(OWNER))],
    ERASURES: [
        (USER + HASH, encode_erasure(Erased(erased_at=T0))),
        (REDACT + b"e1", encode_erasure(ToRedact(user_id="ann", partition=0, erased_at=T0))),
        (REDACTED + b"e1", encode_erasure(Redacted(at=T0, by="analytics-1", partition=0))),
    ],
    CAMPAIGNS: [
        (f"{kind}/{CAMPAIGN.notification_id}{part}".encode(), encode_campaign(value))
        for kind, part, value in (
            ("job", "/1", CAMPAIGN),
            ("upload", "/1", Upload(at=T0, open=False)),
            ("listed", "", Listed(at=T0)),
            ("wish", "", CampaignControl(act="pause", by="shop", at=T0)),
            ("state", "", CampaignState(phase="running", at=T0, produced=1)),
        )
    ],
    HOOKS: [(each.key, encode_hook_record(each)) for each in (HOOK, HOOK_DISABLED, HOOK_REPLAY)],
    KEYS: [(each.key, encode_key_record(each)) for each in (KEY, a_key("cd", "cd.secret"), KEY_REVOKED, KEY_USED)],
    LIFECYCLE: [(b"u", encode_lifecycle(event("accepted")))],
    DEAD: [(b"u", encode_dead(dead_letter(Record(key=b"u", value=b"{"), "undecodable", "is bad", None, "router", T0)))],
}


def _with_field(good: bytes, number: int, text: str) -> bytes:
    """The record with one of its fields written as ``text``."""
    members: dict[str, msgspec.Raw] = msgspec.json.decode(good, type=dict[str, msgspec.Raw])
    names = sorted(members)
    changed = {name: bytes(value) for name, value in members.items()}
    changed[names[number % len(names)]] = text.encode(errors="surrogatepass")
    return b"{" + b",".join(msgspec.json.encode(name) + b":" + value for name, value in changed.items()) + b"}"


def _records(topic: str) -> st.SearchStrategy[Record]:
    keys = st.one_of(st.none(), st.binary(max_size=40), st.sampled_from([key for key, _ in GOOD[topic]]))
    written = st.one_of(texts, st.sampled_from(REFUSED + TAKEN))
    spoilt = st.builds(_with_field, st.sampled_from([v for _, v in GOOD[topic]]), st.integers(0, 99), written)
    values = st.one_of(st.none(), st.binary(max_size=80), written.map(lambda t: t.encode(errors="replace")), spoilt)
    names = st.one_of(st.text(max_size=5), st.sampled_from([announcing.HEADER, "a\udcff"]))
    headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=90)), max_size=3)
    moments = st.one_of(st.sampled_from([-1, 0, T0, 2**63 - 1]), st.integers(-1, 2**63 - 1))

    def made(key: bytes | None, value: bytes | None, headers: Any, timestamp: int, signs: bool) -> Record:
        if signs:  # by one of our own processes, of another version perhaps
            signed = announcing.signed(SECRET, key or b"", value, T0)
            headers = [*headers, (announcing.HEADER, signed)]
        return Record(topic, 0, 7, timestamp, key, value, headers)

    return st.builds(made, keys, values, headers, moments, st.booleans())


def _owners() -> tuple[TopicFollower, Callable[[], Any]]:
    owners = OwnersFollower({}, SECRET, lambda: T0)
    return owners._follower, lambda: [owner.name for owner in owners.everyone()]


def _config() -> tuple[TopicFollower, Callable[[], Any]]:
    config = ConfigFollower({})
    return config._follower, lambda: ("t" in config.catalog.templates, config.catalog.policy_version)


def _erased() -> tuple[TopicFollower, Callable[[], Any]]:
    users, follower = follow_erased({})
    return follower, lambda: (bool(users._users), "e1" in users.to_redact, "e1" in users.redacted)


def _campaigns() -> tuple[TopicFollower, Callable[[], Any]]:
    jobs = Jobs({}, cast(Any, None), lambda: T0)
    name = CAMPAIGN.notification_id

    def known() -> Any:
        jobs.newest()
        found = jobs.get(name)
        return found is not None and (found.status(T0), len(found.jobs) > 0)

    return jobs._follower, known


def _hooks() -> tuple[TopicFollower, Callable[[], Any]]:
    hooks = HooksFollower({}, [SECRET])
    return hooks._follower, lambda: (hooks.all(), hooks.disabled(HOOK.id), hooks.replay(HOOK.id))


def _keys() -> tuple[TopicFollower, Callable[[], Any]]:
    keys = KeysFollower({}, [SECRET])
    return keys._follower, lambda: (keys.all(), keys.find(KEY.id), keys.used_at(KEY.id, 1), keys.to_rewrite())


FOLLOWERS = {
    CONFIG: _config,
    OWNERS: _owners,
    ERASURES: _erased,
    CAMPAIGNS: _campaigns,
    HOOKS: _hooks,
    KEYS: _keys,
}


def good(topic: str) -> list[Record]:
    return [
        Record(topic, 0, 8, T0, k, v, [(announcing.HEADER, announcing.signed(SECRET, k, v, T0 + 1))])
        for k, v in GOOD[topic]
    ]


@pytest.mark.parametrize("topic", FOLLOWERS)
def test_no_record_keeps_a_follower_from_the_next(topic: str) -> None:
    @given(st.lists(_records(topic), min_size=1, max_size=3))
    def whatever_comes(records: list[Record]) -> None:
        follower, known = FOLLOWERS[topic]()
        with capture_logs() as logs:
            for record in [*records, *good(topic)]:
                follower.hand_over(record)
            asyncio.run(follower.settle())
            known()
        assert not [
            said for said in logs if said["event"] in ("a record was passed over", "what was read is not taken over")
        ]

    whatever_comes()


@pytest.mark.parametrize("topic", FOLLOWERS)
async def test_what_is_good_is_taken_after_what_is_not(topic: str) -> None:
    follower, known = FOLLOWERS[topic]()
    for record in good(topic):
        follower.hand_over(record)
    await follower.settle()
    alone = known()

    follower, known = FOLLOWERS[topic]()
    for value in (b"\xff", b"{}", b'{"kind": "policy", "version": 99999999999999}', None):
        follower.hand_over(Record(topic, 0, 1, T0, good(topic)[0].key, value))
    for record in good(topic):
        follower.hand_over(record)
    await follower.settle()
    assert known() == alone


ERRORS = [ZeroDivisionError(), KeyError("x"), LookupError(), RecursionError(), MemoryError(), OverflowError()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_a_bug_costs_a_follower_one_record(error: Exception) -> None:
    """A KeyError in particular isn't taken for a topic that is missing, which has the follower begin anew for ever."""
    taken: list[int] = []

    def take(record: Any) -> None:
        if record.offset == 1:
            raise error
        taken.append(record.offset)

    async def settle() -> None:
        raise error

    follower = TopicFollower({}, CONFIG, take, settle)
    with capture_logs() as logs:
        for offset in range(3):
            follower.hand_over(Record(CONFIG, 0, offset, T0, b"k"))
        await follower.settle()
    assert taken == [0, 2]
    assert [said.get("offset") for said in logs] == [1, None]


class Breaking:
    """A consumer that fails once in a way that nobody foresaw, and then again when it is stopped."""

    def __init__(self, failures: list[Exception]) -> None:
        self._failures = failures

    async def getmany(self, **_: Any) -> dict[Any, Any]:
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures.pop()
        return {}

    async def position(self, _: Any) -> int:
        return 1

    async def stop(self) -> None:
        raise RuntimeError("it can't be stopped")


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_a_follower_goes_on_whatever_its_reader_raises(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    follower, failures = TopicFollower({}, CONFIG, lambda _: None), [error]

    async def opened() -> Any:
        return Breaking(failures)

    monkeypatch.setattr("app.store.follower._BACKOFF_S", 0)
    monkeypatch.setattr(follower, "_open", opened)
    with capture_logs():
        follower._tasks = [asyncio.create_task(follower._follow(None))]
        await follower.reached(0)
        await follower.close()
    assert failures == []


@pytest.mark.parametrize("topic", [*FOLLOWERS, LIFECYCLE])
def test_what_ended_the_process_twice_is_passed_over(topic: str, tmp_path: Path) -> None:
    clock = [1e6]
    poison, innocent = good(topic)[0], Record(topic, 0, 9, T0, b"k", None)
    for _ in range(2):  # the watchdog ends it while the record is handled
        guard = PoisonGuard(lambda: clock[0])
        guard.open(tmp_path)
        guard.record(poison)
        clock[0] += BLOCKED_S
    guard = PoisonGuard(lambda: clock[0])
    guard.open(tmp_path)
    taken: list[int] = []
    if topic == LIFECYCLE:
        rows, refused, _ = read_rows(
            [poison, *[Record(LIFECYCLE, 0, 9, T0, k, v) for k, v in GOOD[LIFECYCLE]]], guard=guard
        )
        assert [refusal.code for _, refusal in refused] == ["poison"]
        assert len(rows) == 1
        return
    follower = TopicFollower({}, topic, lambda record: taken.append(record.offset), guard=guard)
    for record in (poison, innocent, poison):
        follower.hand_over(record)
    assert taken == [9]


async def test_a_policy_that_takes_for_ever_leaves_the_one_before_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, parse = asyncio.Event(), vars(app.store.config_follower)["parse_policy"]

    async def to_thread(function: Any, text: str, **options: Any) -> Any:
        return await stuck.wait() if "stuck" in text else function(text, **options)

    monkeypatch.setattr(app.store.config_follower, "COMPILED_S", 0.01)
    monkeypatch.setattr("app.store.config_follower.asyncio.to_thread", to_thread)
    changes: list[Catalog] = []
    config = ConfigFollower({}, changes.append)
    for version, text in ((1, POLICY), (2, "stuck"), (3, "category: [")):
        value = encode_config(PolicyVersion(version=version, text=text, at="2026-03-04T12:00:00Z"))
        config._follower.hand_over(Record(CONFIG, 0, version, T0, b"policy", value))
        await config._follower.settle()
    assert config.catalog.policy_version == 1
    assert parse is vars(app.store.config_follower)["parse_policy"]


# --- what is read otherwise ---------------------------------------------------------------------------------------


@given(st.lists(_records(LIFECYCLE), max_size=4))
def test_no_event_keeps_others_from_being_rows(records: list[Record]) -> None:
    [(key, value)] = GOOD[LIFECYCLE]
    rows, refused, empty = read_rows([*records, Record(LIFECYCLE, 0, 0, T0, key, value)])
    assert len(rows) + len(refused) + empty == len(records) + 1
    assert rows[-1][0] == msgspec.json.decode(value)["event_id"]
    assert "internal" not in {refusal.code for _, refusal in refused}


@given(_records(DEAD))
def test_whatever_lies_among_dead_letters_is_shown_or_passed_over(record: Record) -> None:
    shown: Any = record
    letter = _letter(shown)
    if letter is not None:
        is_of_erased(letter.letter, ErasedUsers())
        is_of_erased(letter.letter, _someone())
        msgspec.json.encode(letter)


def _someone() -> ErasedUsers:
    users = ErasedUsers()
    users.take(Record(ERASURES, 0, 0, T0, USER + HASH, GOOD[ERASURES][0][1]))
    return users


class Table:
    """A ClickHouse that can't hold some events, or isn't there."""

    def __init__(self, unfit: Sequence[str], error: Exception, *, is_there: bool = True) -> None:
        self.rows: list[str] = []
        self.tokens: list[str] = []
        self._unfit, self._error, self._is_there = set(unfit), error, is_there

    async def insert(self, _: str, columns: Any, *, settings: Any, **__: Any) -> None:
        if self._unfit & set(columns[0]):
            raise self._error
        assert settings["insert_deduplication_token"] not in self.tokens
        self.tokens.append(settings["insert_deduplication_token"])
        self.rows += columns[0]

    async def command(self, _: str) -> int:
        if not self._is_there:
            raise OperationalError("gone")
        return 1


class Letters:
    def __init__(self) -> None:
        self.codes: list[tuple[int, str | None]] = []

    async def publish(self, topic: str, key: bytes | None, value: bytes) -> None:
        letter = read_dead(value)
        self.codes.append((letter.offset, letter.code))


def a_sink(table: Table, letters: Letters) -> LifecycleSink:
    async def connect() -> Any:
        return table

    publisher: Any = letters
    metrics = SinkMetrics(CollectorRegistry())
    return LifecycleSink({}, connect, publisher, metrics, instance="1", now_ms=lambda: T0)


def a_batch(number: int) -> Any:
    records = [recorded(encode_lifecycle(event("accepted", event_id=f"e{n}")), offset=n) for n in range(number)]
    unreadable = Unreadable(LIFECYCLE, 0, number, number + 1, "a batch that is broken")
    return {TopicPartition(LIFECYCLE, 0): [*records, unreadable]}


UNFIT = [DataError("x"), struct.error("x"), OverflowError(), TypeError(), UnicodeEncodeError("utf-8", "x", 0, 1, "x")]


@pytest.mark.parametrize("error", UNFIT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("unfit", [[0], [7], [3, 4], list(range(10))], ids=str)
async def test_an_event_that_cannot_be_written_costs_the_others_nothing(error: Exception, unfit: list[int]) -> None:
    table, letters = Table([f"e{n}" for n in unfit], error), Letters()
    with capture_logs():
        await a_sink(table, letters)._settle(a_batch(10))
    assert sorted(table.rows) == [f"e{n}" for n in range(10) if n not in unfit]
    assert sorted(letters.codes) == sorted([*((n, "internal") for n in unfit), (10, "undecodable")])


@pytest.mark.parametrize(
    ("error", "is_there"), [(OperationalError("x"), True), (DatabaseError("x"), True), (DataError("x"), False)]
)
async def test_an_outage_is_no_fault_of_any_event(error: Exception, is_there: bool) -> None:
    table, letters = Table(["e3"], error, is_there=is_there), Letters()
    with pytest.raises(DatabaseError):
        await a_sink(table, letters)._settle(a_batch(10))
    assert table.rows == []
    assert letters.codes == []
