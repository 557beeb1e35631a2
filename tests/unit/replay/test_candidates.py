"""Which sends are candidates: from what happened to them and the sends as they were queued."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.replay.candidates import Candidates
from schemas.instants import rfc3339
from schemas.lifecycle import LifecycleEvent
from schemas.replay_jobs import ReplayFilters, ReplayJob
from schemas.replays import ReplayRequest
from schemas.sends import Send

FROM, TO = 1_000_000, 2_000_000
RID = "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"


def job(**said: Any) -> ReplayJob:
    of = {"expires_after_ms": said.pop("expires_after_ms", None), "as_decided": said.pop("as_decided", False)}
    bounds = {"from_ms": said.pop("from_ms", FROM), "to_ms": said.pop("to_ms", TO)}
    channel = said.pop("channel", "push")
    filters = ReplayFilters(**bounds, **said)
    return ReplayJob(replay_id=RID, by="ops", at=TO, channel=channel, filters=filters, rate=1, per_ms=1000, **of)


def event(send_id: str, status: Any, at: int = FROM, **said: Any) -> LifecycleEvent:
    said = {"channel": "push", "user_id": "ada", "notification_id": "n-" + send_id, **said}
    return LifecycleEvent(
        event_id=f"{send_id}{status}{at}", send_id=send_id, status=status, occurred_at=rfc3339(at), **said
    )


def ended(send_id: str, status: Any = "expired", queued: int = FROM, **said: Any) -> list[LifecycleEvent]:
    return [event(send_id, "queued", queued, template_version=1), event(send_id, status, queued + 10, **said)]


def send(send_id: str, **said: Any) -> Send:
    made = {
        "notification_id": "n-" + send_id,
        "user_id": "ada",
        "channel": "push",
        "device_id": "d",
        "event_type": "order.shipped",
        "category": "orders",
        "priority": "normal",
        "policy_version": 1,
        "created_at": FROM,
        "accepted_at": FROM,
        "expires_at": TO,
        "provider": "fcm",
        **said,
    }
    return Send(send_id=send_id, **made)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert not list(tmp_path.iterdir()), "the file goes with the partition"


def found(
    folder: Path, events: Sequence[LifecycleEvent], sends: Sequence[Send], of: ReplayJob | None = None
) -> list[ReplayRequest]:
    with Candidates(of or job(), folder / "c.db", ("fcm",)) as candidates:
        candidates.take_events(events)
        candidates.take_sends(sends)
        requests = list(candidates.requests())
        assert len(candidates) == len(requests)
        return requests


def ids(requests: Sequence[ReplayRequest]) -> list[str]:
    return [request.send.send_id for request in requests]


@pytest.mark.parametrize(
    ("queued", "is_one"), [(FROM - 1, False), (FROM, True), (TO - 1, True), (TO, False), (TO + 10_000, False)]
)
def test_the_first_queued_lies_in_the_range(folder: Path, queued: int, is_one: bool) -> None:
    assert ids(found(folder, ended("a", queued=queued), [send("a")])) == (["a"] if is_one else [])


def test_a_send_that_was_queued_again_within_the_range_is_none(folder: Path) -> None:
    events = [event("a", "queued", FROM - 5), event("a", "held", FROM - 1), *ended("a", queued=FROM + 5)]

    assert found(folder, events, [send("a")]) == []


def test_one_that_has_no_end_or_another_is_none(folder: Path) -> None:
    events = [event("a", "queued"), *ended("b", "sent"), *ended("c", "failed", reason="permanent")]

    assert found(folder, events, [send(name) for name in "abc"]) == []


def test_an_end_stays_what_it_is_whatever_comes_back(folder: Path) -> None:
    events = [*ended("a"), event("a", "delivered", FROM + 20), event("a", "bounced", FROM + 30, reason="hard")]

    assert ids(found(folder, events, [send("a")])) == ["a"]


def test_another_channels_sends_are_none(folder: Path) -> None:
    events = [*ended("a"), event("b", "queued", channel="email"), event("b", "expired", channel="email")]

    assert ids(found(folder, events, [send("a"), send("b", channel="email", device_id=None)])) == ["a"]


def test_a_provider_is_that_of_the_last_attempt(folder: Path) -> None:
    events = [
        event("a", "queued"),
        event("a", "sending", provider="ses", channel="email"),
        *ended("b", channel="email"),
    ]
    events = [
        event("a", "queued", channel="email"),
        event("a", "sending", FROM + 1, provider="ses", channel="email"),
        event("a", "retrying", FROM + 2, channel="email"),
        event("a", "sending", FROM + 3, provider="sendgrid", channel="email"),
        event("a", "failed", FROM + 4, reason="retries_exhausted", channel="email"),
    ]
    mail = send("a", channel="email", device_id=None, provider="ses")

    assert ids(found(folder, events, [mail], job(channel="email", provider=("sendgrid",)))) == ["a"]
    assert ids(found(folder, events, [mail], job(channel="email", provider=("ses",)))) == []


def test_without_an_attempt_it_is_the_first_that_could_have_carried_it(folder: Path) -> None:
    sends = [send("a"), send("b", provider="apns"), send("c", provider=None)]
    events = [*ended("a"), *ended("b"), *ended("c")]

    assert ids(found(folder, events, sends, job(provider=("fcm",)))) == ["a"]
    assert [each.provider for each in found(folder, events, sends)] == [None] * 3


def test_mails_of_an_earlier_version_are_the_first_providers(folder: Path) -> None:
    events = [event("a", "queued", channel="email"), event("a", "expired", channel="email")]
    mail = send("a", channel="email", device_id=None, provider=None)

    assert ids(found(folder, events, [mail], job(channel="email", provider=("fcm",)))) == ["a"]


def test_of_several_sends_to_one_device_the_last_is_the_candidate(folder: Path) -> None:
    events = [*ended("a", queued=FROM + 5), *ended("b", queued=FROM), *ended("c", queued=FROM + 1)]
    sends = [send(name, notification_id="n") for name in "abc"]
    other = send("d", notification_id="n", device_id="another")

    assert ids(found(folder, [*events, *ended("d")], [*sends, other])) == ["a", "d"]


def test_the_last_is_among_those_that_the_filters_name(folder: Path) -> None:
    events = [*ended("a"), *ended("b", "sent", queued=FROM + 5), *ended("c", queued=TO)]

    assert ids(found(folder, events, [send(name, notification_id="n") for name in "abc"])) == ["a"]


def test_they_come_in_the_order_of_their_acceptance(folder: Path) -> None:
    times = {"a": 3, "b": 1, "c": 2}
    sends = [send(name, accepted_at=FROM + at) for name, at in times.items()]

    assert ids(found(folder, [e for name in "abc" for e in ended(name)], sends)) == ["b", "c", "a"]


def test_the_newer_of_a_collapse_key_is_named(folder: Path) -> None:
    sends = [
        send("a", collapse_key="k", accepted_at=FROM),
        send("b", collapse_key="k", accepted_at=FROM + 2),
        send("c", collapse_key="k", accepted_at=FROM + 1),
        send("d", collapse_key="k", accepted_at=FROM + 3, user_id="bob"),
        send("e", accepted_at=FROM + 3),
        send("f", collapse_key="k", accepted_at=FROM + 9, notification_id="n-b", device_id="another"),
    ]
    requests = found(folder, [e for name in "abcdef" for e in ended(name)], sends)

    assert {each.send.send_id: each.newer for each in requests} == {
        "a": "n-b",
        "c": "n-b",
        "b": None,
        "d": None,
        "e": None,
        "f": None,
    }


def test_the_template_version_is_of_the_last_call_else_of_the_queue(folder: Path) -> None:
    events = [
        *ended("a"),
        event("b", "queued", template_version=1),
        event("b", "sending", template_version=2, provider="fcm"),
        event("b", "expired", template_version=2),
    ]

    assert [each.template_version for each in found(folder, events, [send("a"), send("b")])] == [1, 2]


def test_a_request_says_what_was_asked_of_the_replay(folder: Path) -> None:
    of = job(as_decided=True, expires_after_ms=3_600_000)
    [request] = found(folder, ended("a"), [send("a")], of)

    assert request == ReplayRequest(
        replay_id=RID,
        user_id="ada",
        send=send("a"),
        dry_run=True,
        as_decided=True,
        template_version=1,
        expires_at=of.at + 3_600_000,
    )


def test_what_was_asked_about_before_a_restart_is_left_out_but_still_replaces(folder: Path) -> None:
    sends = [send("a", collapse_key="k"), send("b", collapse_key="k", accepted_at=FROM + 1)]
    with Candidates(job(), folder / "c.db", ()) as candidates:
        candidates.take_events([*ended("a"), *ended("b")])
        candidates.take_sends(sends)
        candidates.leave_out(["b", "unknown"])

        assert [(each.send.send_id, each.newer) for each in candidates.requests()] == [("a", "n-b")]


def test_a_file_that_a_killed_process_left_is_no_hindrance(folder: Path) -> None:
    (folder / "c.db").write_bytes(b"torn")

    assert ids(found(folder, ended("a"), [send("a")])) == ["a"]


_history = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(["queued", "sending", "held", "retrying", "expired", "sent", "delivered"]),
        st.integers(FROM - 3, TO + 3),
    ),
    max_size=30,
)


@given(_history, st.integers(1, 5))
def test_a_candidate_is_one_however_events_are_read_and_repeated(
    tmp_path_factory: Any, history: list[tuple[str, str, int]], pieces: int
) -> None:
    events = [event(name, status, at) for name, status, at in sorted(history, key=lambda each: each[2])]
    sends, folder = [send(name) for name in "abcd"], tmp_path_factory.mktemp("c")
    once = ids(found(folder, events, sends))
    with Candidates(job(), folder / "c.db", ()) as candidates:
        size = len(events) // pieces + 1
        for start in range(0, len(events), size):
            candidates.take_events(events[start : start + size])
        candidates.take_sends(sends)
        candidates.take_sends(sends)

        assert ids(list(candidates.requests())) == once
    first = {
        name: min(
            (e for e in events if e.send_id == name and e.status == "queued"), key=lambda e: e.occurred_at, default=None
        )
        for name in once
    }
    assert all(each is not None and rfc3339(FROM) <= each.occurred_at < rfc3339(TO) for each in first.values())
