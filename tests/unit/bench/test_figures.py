"""Figures: how they are compared, held to bounds, and written down."""

import json
from pathlib import Path

import pytest

from bench.figures import Figure, compared, held, percentile, results, shown, write_results


def a_figure(value: float, case: str = "router", **given: object) -> Figure:
    return Figure(benchmark="comparison", case=case, name="cpu", value=value, unit="µs/event", **given)  # type: ignore[arg-type]


def test_the_percentile_is_the_smallest_value_that_so_many_percent_dont_exceed() -> None:
    values = [float(n) for n in range(100, 0, -1)]

    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile(values, 99.9) == 100
    assert percentile([7.0], 50) == 7.0


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_ratio_is_to_the_baseline_and_held_to_its_bound() -> None:
    found = compared(a_figure(60), a_figure(40, "memory"), at_most=2)

    assert (found.ratio, found.bound, found.holds) == (1.5, "≤ 2 ×", True)
    assert found.baseline is not None
    assert (found.baseline.case, found.baseline.value) == ("memory", 40)
    assert compared(a_figure(81), a_figure(40, "memory"), at_most=2).holds is False
    assert compared(a_figure(480), a_figure(40, "memory"), at_least=12).holds is True
    assert compared(a_figure(479), a_figure(40, "memory"), at_least=12).holds is False


def test_without_a_baseline_there_is_no_ratio() -> None:
    assert compared(a_figure(60), None, at_most=2) == a_figure(60)


def test_a_value_is_held_to_its_own_bound() -> None:
    found = held(a_figure(0.9), at_most=1)

    assert (found.bound, found.holds, found.ratio) == ("≤ 1 µs/event", True, None)


def test_numbers_are_shown_with_what_they_are_good_for() -> None:
    assert [shown(v) for v in (0.01234, 3.14159, 99.94, 1234.5)] == ["0.0123", "3.14", "99.9", "1,234"]


def test_a_run_says_what_it_was_made_with_and_what_could_not_be_measured(tmp_path: Path) -> None:
    figure = compared(a_figure(60), a_figure(40, "memory"), at_most=2)
    write_results(tmp_path / "results.json", results([figure], {"latency": "no broker"}, form="short", seconds=12.4))

    found = json.loads((tmp_path / "results.json").read_text())
    assert found["failed"] == {"latency": "no broker"}
    assert found["form"] == "short"
    assert found["machine"]["cores"] >= 1
    assert found["versions"]["faust-streaming"]
    assert found["figures"][0]["baseline"] == {"case": "memory", "value": 40}
    assert found["figures"][0]["ratio"] == 1.5
