"""Who may write to ``tocsin_providers`` can neither pause a provider nor resume one, nor say how any is doing."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from app.domain import announcing
from app.store.announced import publish_signed
from app.store.provider_states import ProvidersFollower
from schemas.providers import ProviderPause, SeenProvider, WorkerReport, encode_provider_record
from tests.provider_topic import NOW, SECRET, ProviderTopic, record
from tests.records import Record

OTHER = b"another installation's secret of 32 bytes"


def signed(said: ProviderPause | WorkerReport, *, secret: bytes = SECRET, offset: int = 0) -> Record:
    value = encode_provider_record(said)
    return record(said.key, value, [(announcing.HEADER, announcing.signed(secret, said.key, value, said.at))], offset)


def paused(at: int = NOW, *, to: bool = True, why: str | None = "maintenance") -> ProviderPause:
    return ProviderPause(provider="fcm", paused=to, at=at, since=at, why=why)


def report(state: str = "closed", at: int = NOW, instance: str = "1", **seen: object) -> WorkerReport:
    each = SeenProvider(provider="fcm", state=state, since=at, **seen)  # type: ignore[arg-type]
    return WorkerReport(channel="push", instance=instance, at=at, providers=[each])


class Following:
    def __init__(self, *records: Record) -> None:
        self.now = NOW
        self.refused: list[str] = []
        self.told: list[list[str]] = []
        self.states: ProvidersFollower = ProviderTopic().follow(
            lambda: self.now,
            on_refused=self.refused.append,
            on_pauses=lambda pauses: self.told.append(sorted(pauses)),
        )
        self.take(*records)

    def take(self, *records: Record) -> None:
        for each in records:
            self.states.take(each)

    @property
    def state(self) -> str | None:
        view = next(iter(self.states.views()), None)
        return view.state if view else None


FORGERIES = {
    "unsigned": replace(signed(paused(NOW + 1, to=False)), headers=()),
    "with another secret": signed(paused(NOW + 1, to=False), secret=OTHER),
    "under another's signature": replace(signed(paused()), value=encode_provider_record(paused(to=False))),
    "without a value": record(paused().key, None),
    "without a value, signed as a pause was": replace(signed(paused()), value=None),
    "of another provider": replace(signed(paused(NOW + 1, to=False)), key=b"pause:apns"),
    "of no known kind": replace(signed(paused(NOW + 1, to=False)), key=b"fcm"),
    "without a key": replace(signed(paused(NOW + 1, to=False)), key=None),
    "a report without a signature": replace(signed(report()), headers=()),
    "a report with another secret": signed(report(), secret=OTHER),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_what_nobody_signed_changes_nothing_and_is_counted(forgery: Record) -> None:
    following = Following(signed(paused()))

    following.take(replace(forgery, offset=1))

    assert following.refused == ["untrusted"]
    assert (following.state, following.states.is_available("fcm")) == ("paused", False)


def test_a_copy_of_an_older_record_neither_pauses_nor_resumes() -> None:
    before, after = signed(paused()), signed(paused(NOW + 1, to=False), offset=1)
    following = Following(before, after)
    following.take(replace(before, offset=2))
    assert following.states.is_available("fcm")

    again = signed(paused(NOW + 2), offset=3)
    following.take(again, replace(after, offset=4))
    assert not following.states.is_available("fcm")


def test_a_pause_counts_however_old_it_is_and_a_report_for_15_seconds() -> None:
    following = Following(signed(paused(NOW - 400 * 86_400_000)), signed(report("open", instance="2"), offset=1))
    assert following.state == "open"  # not everybody has obeyed yet
    following.now += 15_001

    assert following.state == "paused"
    assert following.states.views()[0].workers == ()
    assert following.states.pauses["fcm"].why == "maintenance"


def test_a_worker_that_ends_is_gone_at_once() -> None:
    key = report().key
    leaving = record(key, None, [(announcing.HEADER, announcing.signed(SECRET, key, None, NOW + 1))], 1)
    following = Following(signed(report("open")), leaving)

    assert following.states.views() == []
    assert following.states.is_available("fcm")


def test_it_is_told_only_what_is_news() -> None:
    following = Following(
        signed(paused()),
        signed(paused(NOW + 1), offset=1),
        signed(paused(NOW + 2, why="another reason"), offset=2),
        signed(paused(NOW + 3, to=False, why=None), offset=3),
    )

    assert following.told == [["fcm"], ["fcm"], []]


async def test_a_gateway_whose_clock_is_behind_can_still_resume_what_another_paused() -> None:
    topic = ProviderTopic()
    first, second = topic.follow(), topic.follow()
    await topic.writer(first, lambda: NOW + 60_000).pause(["fcm", "apns"], "maintenance", "ops")
    await topic.writer(second, lambda: NOW).resume(["fcm"], None, "ops")

    for states in (first, second, topic.follow()):
        assert sorted(states.pauses) == ["apns"]
    await topic.writer(second, lambda: NOW - 60_000).pause(["fcm"], "again", "ops")
    assert sorted(topic.follow().pauses) == ["apns", "fcm"]


async def test_pausing_twice_keeps_the_first_moment_and_the_latest_reason() -> None:
    topic, clock = ProviderTopic(), itertools.count(NOW, 1000)
    states = topic.follow()
    writer = topic.writer(states, clock.__next__)
    await writer.pause(["fcm"], "one", "ops")
    await writer.pause(["fcm"], "two", "ada")

    pause = states.pauses["fcm"]
    assert (pause.since, pause.why, pause.by) == (NOW, "two", "ada")


async def test_what_a_worker_announces_is_what_a_gateway_shows() -> None:
    topic = ProviderTopic()
    states = topic.follow()
    for instance, state, waiting in (("1", "closed", 3), ("2", "open", 4)):
        said = report(state, instance=instance, waiting=waiting, in_flight=1, rate=5.0)
        await publish_signed(topic, "tocsin_providers", said.key, encode_provider_record(said), SECRET, said.at)

    [view] = states.views()
    assert (view.state, view.waiting, view.in_flight, view.rate) == ("open", 7, 2, 10.0)
    assert [by.worker for by in view.workers] == ["push/1", "push/2"]
    assert not states.is_available("fcm")
    assert states.is_available("apns")


@given(st.binary(max_size=200) | st.none(), st.binary(max_size=50) | st.none(), st.binary(max_size=200) | st.none())
def test_any_bytes_may_lie_there(header: bytes | None, key: bytes | None, value: bytes | None) -> None:
    following = Following(record(key, value, [(announcing.HEADER, header)]))

    assert following.refused == ["untrusted"]


@given(st.binary(max_size=100), st.sampled_from([b"pause:fcm", b"worker:push/1"]))
def test_what_is_signed_and_not_understood_changes_nothing(value: bytes, key: bytes) -> None:
    """Of another version."""
    signature = announcing.signed(SECRET, key, value, NOW + 1)
    following = Following(signed(paused()), record(key, value, [(announcing.HEADER, signature)], 1))

    assert (following.state, following.refused) == ("paused", ["unreadable"])


_PAUSES = st.builds(
    ProviderPause,
    provider=st.sampled_from(["fcm", "apns"]),
    paused=st.booleans(),
    at=st.integers(NOW, NOW + 9),
    since=st.integers(NOW, NOW + 9),
    why=st.none() | st.text(max_size=5),
    by=st.none() | st.text(max_size=5),
)


@given(_PAUSES, _PAUSES, st.sampled_from(structs.fields(ProviderPause)).map(lambda each: each.name))
def test_no_field_can_be_changed(said: ProviderPause, other: ProviderPause, name: str) -> None:
    changed = structs.replace(said, **{name: getattr(other, name)})
    forged = replace(signed(said), value=encode_provider_record(changed))
    following = Following(forged, replace(forged, key=changed.key))

    assert following.states.latest(said.provider) == (said if changed == said else None)


@given(st.lists(st.tuples(_PAUSES, st.booleans()), max_size=12))
def test_the_latest_signed_record_of_a_provider_counts_wherever_reading_begins(
    written: list[tuple[ProviderPause, bool]],
) -> None:
    records = [signed(said, secret=SECRET if ours else OTHER, offset=n) for n, (said, ours) in enumerate(written)]
    latest: dict[str, ProviderPause] = {}
    for said, ours in written:
        if ours and (said.provider not in latest or said.at > latest[said.provider].at):
            latest[said.provider] = said

    following = Following(*records)
    assert {name: said for name, said in latest.items() if said.paused} == following.states.pauses
    following.take(*records)  # read anew from its start
    assert {name: said for name, said in latest.items() if said.paused} == following.states.pauses
