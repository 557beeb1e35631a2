"""Counters and histograms of our own: what they show, and that they never show more than so many series."""

from collections import Counter as Tallied

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from app.metrics.counts import OTHER, Counts, Durations, LatestCounts

LABELS = st.tuples(st.text(max_size=20), st.text(max_size=20))


def series(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels.values()): sample.value for family in registry.collect() for sample in family.samples}


@given(st.lists(LABELS, max_size=200), st.integers(1, 30))
def test_a_counter_counts_everything_in_no_more_than_so_many_series(counted: list[tuple[str, str]], most: int) -> None:
    registry = CollectorRegistry()
    counts = Counts(registry, "tocsin_things", "Things", ("a", "b"), most)
    for labels in counted:
        counts.inc(labels)

    seen = series(registry)
    assert sum(seen.values()) == len(counted)
    assert len(seen.keys() - {(OTHER, OTHER)}) <= most
    expected = Tallied(counted)
    assert all(value == expected[labels] for labels, value in seen.items() if labels != (OTHER, OTHER))  # type: ignore[index]


@given(st.lists(LABELS, max_size=200), st.integers(1, 30))
def test_of_the_latest_only_so_many_are_shown(counted: list[tuple[str, str]], most: int) -> None:
    registry = CollectorRegistry()
    counts = LatestCounts(registry, "tocsin_things", "Things", ("a", "b"), most)
    for labels in counted:
        counts.inc(labels)

    latest = list(dict.fromkeys(reversed(counted)))[:most]
    assert series(registry).keys() == set(latest)


def test_a_series_that_is_shown_from_the_beginning_is_zero() -> None:
    registry = CollectorRegistry()
    counts = Counts(registry, "tocsin_things", "Things", ("a", "b"))
    counts.inc(("x", "y"), 3)
    counts.show([("x", "y"), ("x", "z")])

    assert series(registry) == {("x", "y"): 3, ("x", "z"): 0}


@given(st.lists(st.floats(0, 5_000), max_size=50))
def test_a_histogram_reads_as_the_librarys_own(seconds: list[float]) -> None:
    bounds = (0.1, 1, 10, 3600)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations = Durations(ours, "tocsin_took_seconds", "Took", ("a",), bounds)
    histogram = Histogram("tocsin_took_seconds", "Took", ["a"], buckets=bounds, registry=theirs)
    for each in seconds:
        durations.observe(("x",), each)
        histogram.labels("x").observe(each)

    def lines(registry: CollectorRegistry) -> list[bytes]:
        said = generate_latest(registry).splitlines()
        return sorted(line for line in said if b"created" not in line and b"_sum" not in line)

    assert lines(ours) == lines(theirs)


def test_a_histogram_has_no_more_than_so_many_series() -> None:
    registry = CollectorRegistry()
    durations = Durations(registry, "tocsin_took_seconds", "Took", ("a",), (1.0,), most=3)
    for number in range(50):
        durations.observe((str(number),), 0.5)

    [family] = registry.collect()
    counts = {s.labels["a"]: s.value for s in family.samples if s.name.endswith("_count")}
    assert counts == {"0": 1, "1": 1, "2": 1, OTHER: 47}


@pytest.mark.parametrize("hostile", ['"', "\\", "\n", "}", '",x="1'])
def test_a_label_can_break_no_line(hostile: str) -> None:
    registry = CollectorRegistry()
    Counts(registry, "tocsin_things", "Things", ("a", "b")).inc((hostile, "b"))

    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert len(lines) == 1
    assert lines[0].endswith(" 1.0")
