"""The longest pause of a partition."""

from bench.stopping import longest_gap


def test_the_longest_gap_is_between_neighbours_in_time() -> None:
    assert longest_gap([130, 100, 190, 140], 100, 200) == 50


def test_what_lies_outside_doesnt_count_and_the_edges_do() -> None:
    assert longest_gap([10, 120, 900], 100, 200) == 80
    assert longest_gap([], 100, 200) == 100
