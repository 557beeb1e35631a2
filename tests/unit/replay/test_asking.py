"""What may be asked of a replay, and which ends and sends its filters name."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.replay.asking import PROVIDERS_OF, REPEATABLE, ReplayAsked, job_of, names_end, names_send, read_asked
from app.replay.receipt import shown_filters
from schemas.decode import Invalid
from schemas.instants import parse_ms
from schemas.replay_jobs import ReplayFilters, ReplayJob
from schemas.words import ENDS

NOW = parse_ms("2026-11-30T00:00:00Z")
DAY_MS = 86_400_000
GOOD = {"channel": "push", "from": "2026-11-29T14:00:00Z", "to": "2026-11-29T15:00:00Z"}


def job(**said: Any) -> ReplayJob:
    asked = read_asked(msgspec.json.encode({**GOOD, **said}))
    return job_of(asked, replay_id="r", by="ops", now=NOW, kept_ms=7 * DAY_MS, default_rate=(50, 1000))


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"channel": "in_app"}, "channel"),
        ({"to": GOOD["from"]}, "to"),
        ({"from": "2026-11-22T23:00:00Z"}, "from"),
        ({"from": "2026-11-30T01:00:00Z", "to": "2026-11-30T02:00:00Z"}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"provider": ["ses"]}, "provider"),
        ({"provider": []}, "provider"),
        ({"status": ["sent"]}, "status"),
        ({"status": ["held"]}, "status"),
        ({"status": ["suppressed"]}, "reason"),
        ({"expires_after": "367d"}, "expires_after"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_field(said: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        job(**said)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"reasons": ["permanent"]}, "reasons"),
        ({"channel": "fax"}, "channel"),
        ({"rate": "fast"}, "rate"),
        ({"rate": "0/s"}, "rate"),
        ({"expires_after": "6"}, "expires_after"),
        ({"reason": ["a" * 101]}, "reason"),
        ({"status": ["failed"] * 101}, "status"),
        ({"dry_run": "yes"}, "dry_run"),
    ],
)
def test_what_is_malformed_or_misspelt_is_refused_with_its_field(said: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        job(**said)
    assert (refused.value.field or "").split("[")[0] == field


@pytest.mark.parametrize("missing", GOOD)
def test_a_range_and_a_channel_are_required(missing: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != missing}

    with pytest.raises(Invalid) as refused:
        read_asked(msgspec.json.encode(body))
    assert refused.value.field == missing


def test_the_oldest_that_is_kept_may_be_asked_for_a_moment_later() -> None:
    assert job(**{"from": "2026-11-22T23:59:30Z"}).filters.from_ms == NOW - 7 * DAY_MS - 30_000


def test_an_explicit_null_is_an_absent_field() -> None:
    nothing = dict.fromkeys(("provider", "status", "reason", "category", "campaign", "event_type", "rate"))

    assert job(**nothing, as_decided=None, expires_after=None, dry_run=None) == job()


def test_a_filter_is_shown_as_it_was_asked_for() -> None:
    filters = job(provider=["fcm", "fcm"], status=["failed", "expired"]).filters

    assert shown_filters(filters) == {
        "from": "2026-11-29T14:00:00.000Z",
        "to": "2026-11-29T15:00:00.000Z",
        "provider": ["fcm"],
        "status": ["failed", "expired"],
    }


# --- ends ---


def filters(**said: Any) -> ReplayFilters:
    return ReplayFilters(from_ms=0, to_ms=1, **said)


REASONS = (None, "retries_exhausted", "permanent", "invalid_token", "no_provider", "shed", "opted_out")


def named(**said: Any) -> set[tuple[str, str | None]]:
    chosen = filters(**said)
    return {end for end in itertools.product(ENDS, REASONS) if names_end(chosen, *end)}


def test_by_default_what_expired_and_what_used_up_its_retries_is_replayed() -> None:
    assert named() == {*(("expired", reason) for reason in REASONS), ("failed", "retries_exhausted")}


def test_a_status_alone_names_no_other_reason_of_a_failure() -> None:
    assert named(status=("failed",)) == {("failed", "retries_exhausted")}
    assert named(status=("unknown",)) == {("unknown", reason) for reason in REASONS}


def test_a_reason_is_named_whatever_end_has_it() -> None:
    assert named(reason=("permanent",)) == {(status, "permanent") for status in REPEATABLE}


def test_both_must_hold() -> None:
    assert named(status=("failed", "expired"), reason=("permanent", "shed")) == {
        *itertools.product(("failed", "expired"), ("permanent", "shed"))
    }


_values = st.sets(st.sampled_from(["a", "b", "c"])).map(tuple)


@given(_values, _values, _values, _values, *[st.sampled_from([*"abc", None])] * 2, *[st.sampled_from("abc")] * 2)
def test_all_filters_must_hold_and_of_one_any_value(
    provider: Any, category: Any, campaign: Any, event_type: Any, carrier: Any, of: Any, kind: str, event: str
) -> None:
    chosen = filters(provider=provider, category=category, campaign=campaign, event_type=event_type)
    holds = all(
        not values or value in values
        for values, value in ((provider, carrier), (category, kind), (campaign, of), (event_type, event))
    )

    assert names_send(chosen, provider=carrier, category=kind, campaign=of, event_type=event) == holds


def test_each_channel_that_calls_providers_can_be_replayed() -> None:
    assert set(PROVIDERS_OF) == {"push", "email", "sms"}
    assert ReplayAsked.__struct_config__.forbid_unknown_fields
