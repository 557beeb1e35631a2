"""What a campaign's records mean together: its status, whoever reads them and whenever."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.campaigns.asking import differing
from app.campaigns.jobs import UPLOAD_KEPT_MS, Known
from app.campaigns.lane import MOST_RECORDS, is_behind
from app.campaigns.running import in_canary, is_next
from schemas.campaigns import CampaignControl, CampaignState, Listed, Place, Upload, encode_campaign
from schemas.requests import Content
from schemas.topics import CAMPAIGNS
from tests.campaigns import LocalJobs, job_at
from tests.records import Record

NOW = 1_772_625_600_000
JOB = job_at(NOW)


def known(**fields: Any) -> Known:
    return Known(**{"jobs": {"1": JOB}, "listed": Listed(at=NOW), **fields})


def control(act: Any, *, beyond: bool = False) -> CampaignControl:
    return CampaignControl(act=act, by="shop", at=NOW, beyond_canary=beyond)


def state(phase: Any = "running", **fields: Any) -> CampaignState:
    return CampaignState(phase=phase, at=NOW, **fields)


@pytest.mark.parametrize(
    ("campaign", "status"),
    [
        (known(), "running"),
        (known(listed=None), "uploading"),
        (known(jobs={"1": job_at(NOW, send_at="2026-03-05T00:00:00Z")}), "scheduled"),
        (known(control=control("pause")), "paused"),
        (known(control=control("run")), "running"),
        (known(state=state(halted_at=Place(1, 2))), "paused"),
        (known(state=state(halted_at=Place(1, 2)), control=control("run")), "paused"),
        (known(state=state(halted_at=Place(1, 2)), control=control("run", beyond=True)), "running"),
        (known(state=state(halted_at=Place(1, 2)), control=control("pause", beyond=True)), "paused"),
        (known(state=state("closing")), "running"),
        (known(state=state("done"), control=control("pause")), "done"),
        (known(state=state("cancelled")), "cancelled"),
        (known(is_cancelled=True, state=state("closing")), "cancelled"),
    ],
)
def test_status(campaign: Known, status: str) -> None:
    assert campaign.status(NOW) == status


def test_what_broke_off_is_abandoned_a_day_after_its_last_byte() -> None:
    broken = known(listed=None, uploads={"a": Upload(at=NOW + 5, open=False)})
    assert not broken.is_abandoned(NOW + UPLOAD_KEPT_MS + 4)
    assert broken.is_abandoned(NOW + UPLOAD_KEPT_MS + 5)
    assert not known().is_abandoned(NOW + 2 * UPLOAD_KEPT_MS)


def jobs_of(*records: tuple[str, Any]) -> LocalJobs:
    jobs = LocalJobs(lambda: NOW)
    for offset, (key, value) in enumerate(records):
        jobs.take(Record(CAMPAIGNS, 0, offset, NOW, key.encode(), None if value is None else encode_campaign(value)))
    return jobs


def test_of_two_that_begin_at_once_the_first_counts() -> None:
    other = job_at(NOW, priority="high")
    name = JOB.notification_id
    found = jobs_of((f"job/{name}/a", JOB), (f"job/{name}/b", other), (f"job/{name}/c", JOB)).get(name)
    assert found is not None
    assert found.job == JOB
    assert differing(JOB, other) == "priority"


def test_a_cancel_counts_unless_it_comes_after_the_end() -> None:
    name = JOB.notification_id
    begun, cancelled = (f"job/{name}/a", JOB), (f"wish/{name}", control("cancel"))
    done = (f"state/{name}", state("done"))
    first = jobs_of(begun, cancelled, done).get(name)
    late = jobs_of(begun, done, cancelled).get(name)
    assert (first and first.status(NOW), late and late.status(NOW)) == ("cancelled", "done")


_terms = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.sampled_from(["low", "high"]),
        "channels": st.sampled_from([["push"], ["push", "email"]]),
        "content": st.sampled_from([Content(title="a", body="b"), Content(title="a", body="c")]),
        "send_at": st.sampled_from(["2026-03-05T00:00:00Z", "2026-03-05T01:00:00+01:00", "2026-03-06T00:00:00Z"]),
        "rate": st.sampled_from(["60/m", "1/s", "2/s"]),
        "canary": st.sampled_from(["1%", "1.0%", "2%"]),
        "holdout": st.sampled_from(["0%", "5%"]),
        "local_time": st.sampled_from(["09:00", "10:00"]),
    },
)


@given(_terms, _terms)
def test_a_campaign_differs_from_another_in_what_was_asked_for_differently(
    a: dict[str, Any], b: dict[str, Any]
) -> None:
    first, second = job_at(NOW, **a), job_at(NOW + 1, **b)
    named = ("priority", "channels", "content", "send_at", "canary", "holdout", "local_time")
    differ = {name for name in named if getattr(first, name) != getattr(second, name)}
    if (first.rate, first.per_ms) != (second.rate, second.per_ms):
        differ.add("rate")
    found = differing(first, second)
    assert found in differ if differ else found is None


@given(st.integers(0, 10_000), st.lists(st.text(min_size=1, max_size=5), max_size=60), st.integers(0, 60))
def test_canary_and_the_rest_are_everybody_once(part: int, users: list[str], more: int) -> None:
    """``more``: so many were added after the canary had ended."""
    job = job_at(NOW, canary=f"{part / 100:.2f}%")
    places = [(Place(0, number), user) for number, user in enumerate(users)]
    then = len(places) - min(more, len(places))
    halted = state(halted_at=places[then - 1][0] if then else Place())
    first = [at for at, user in places[:then] if is_next(job, state(), at, user)]
    second = [at for at, user in places if is_next(job, halted, at, user)]
    assert sorted([*first, *second]) == [at for at, _ in places]
    assert all(in_canary(job, user) for at, user in places if at in first)


def test_a_canary_is_about_as_large_as_it_was_asked_for() -> None:
    for part in (0, 1, 10, 50, 100):
        job = job_at(NOW, canary=f"{part}%")
        count = sum(in_canary(job, f"u{n}") for n in range(10_000))
        assert abs(count - 100 * part) < 200


def test_the_lane_is_behind_by_records_or_by_age() -> None:
    assert not is_behind({}, {0: 5}, {0: 5}, {0: 5})
    assert not is_behind({0: 1}, {0: 0}, {0: MOST_RECORDS + 1}, {0: 0})
    assert is_behind({0: 0, 1: 1}, {0: 0, 1: 0}, {0: MOST_RECORDS, 1: 2}, {0: 0, 1: 0})
    assert is_behind({0: 4}, {0: 0}, {0: 9}, {0: 5})
    assert not is_behind({0: 5}, {0: 0}, {0: 9}, {0: 5})
    assert not is_behind({}, {0: 7}, {0: 9}, {0: 7}), "what retention took isn't waited for"


def test_a_topic_that_is_read_again_brings_nothing_back() -> None:
    name = JOB.notification_id
    records = [
        Record(CAMPAIGNS, 0, offset, NOW, f"{kind}/{name}".encode(), encode_campaign(value))
        for offset, (kind, value) in enumerate(
            [("job", JOB), ("state", state("running")), ("state", state("done")), ("state", state("done"))]
        )
    ]
    jobs = LocalJobs(lambda: NOW)
    for record in records:
        jobs.take(record)
    for record in records[:2]:
        jobs.take(record)
    found = jobs.get(name)
    assert found is not None
    assert found.progress.phase == "done"
