"""The page: figures are written between its markers and nowhere else; the picture has a bar for each."""

from xml.etree import ElementTree

import pytest

from bench.figures import Figure, compared, held, results
from bench.page import BEGIN, END, NoPlace, picture, with_figures
from bench.plot import Bar, Panel, plot

PAGE = f"# Title\n\nProse.\n\n{BEGIN}\nold figures\n{END}\n\nMore prose.\n"


def figure(benchmark: str, case: str, name: str, value: float, unit: str) -> Figure:
    return Figure(benchmark=benchmark, case=case, name=name, value=value, unit=unit)


MEMORY = figure("comparison", "memory", "cpu", 30.0, "µs/event")
ROUTER = compared(figure("comparison", "router", "cpu", 75.0, "µs/event"), MEMORY, at_most=2)
LATE = held(figure("latency", "50 % of capacity", "p99", 120.0, "ms"), at_most=250)
RUN = results([], {"recovery": "no disk <left>"}, form="long", seconds=900)


def test_figures_replace_the_old_ones_and_leave_the_prose() -> None:
    page = with_figures(PAGE, [MEMORY, ROUTER, LATE], RUN)

    assert page.startswith("# Title\n\nProse.\n")
    assert page.endswith("More prose.\n")
    assert "old figures" not in page
    assert "| router | cpu | 75 µs/event | 30 (memory) | 2.50 | ≤ 2 ×: **not kept** |" in page
    assert "| 50 % of capacity | p99 | 120 ms |  |  | ≤ 250 ms: kept |" in page


def test_writing_the_same_figures_again_changes_nothing() -> None:
    once = with_figures(PAGE, [MEMORY], RUN)

    assert with_figures(once, [MEMORY], RUN) == once


def test_what_failed_and_where_it_was_measured_is_said() -> None:
    page = with_figures(PAGE, [MEMORY], RUN)

    assert "`recovery` could not be measured: no disk <left>" in page
    assert f"{RUN['machine']['cores']} cores" in page
    assert RUN["revision"] in page


def test_a_page_without_a_place_for_figures_is_refused() -> None:
    with pytest.raises(NoPlace):
        with_figures("# Title\n", [MEMORY], RUN)


def test_bars_are_as_long_as_their_values() -> None:
    drawn = ElementTree.fromstring(plot([Panel("a & b", "µs", [Bar("one", 10.0), Bar("two", 40.0)])]))
    bars = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    lengths = [float(bar.get("width", "")) for bar in bars]

    assert lengths[1] == pytest.approx(4 * lengths[0], rel=0.01)


def test_the_picture_has_a_bar_for_each_figure_that_it_shows() -> None:
    drawn = ElementTree.fromstring(picture([MEMORY, ROUTER, LATE]))

    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}rect"))) == 1 + 3
