"""The pipe: what a notification took of each process, topic and checkpoint, beside the same of another revision."""

from pathlib import Path

import pytest

from bench.carrying import Load, Logs, Sample
from bench.pipe import OURS, CannotMeasure, beside, built, figures


def load(cpu_s: float = 1.0, latencies_ms: tuple[float, ...] = ()) -> Load:
    """1,000 notifications in 10 s, with so much CPU in each process."""
    processes = dict.fromkeys((*OURS, "sandbox"), 5.0)
    topics = {"notify_events": 1_000, "tocsin_router-journal": 20, "tocsin_push-journal": 10, "notify_dead": 7}
    after = {"notify_events": 2_000, "tocsin_router-journal": 60, "tocsin_push-journal": 30, "notify_dead": 7}
    begin = Sample(processes, topics, {name: 100 * count for name, count in topics.items()})
    end = Sample(
        {name: seconds + cpu_s for name, seconds in processes.items()},
        after,
        {name: 100 * count for name, count in after.items()},
    )
    return Load(1_000, begin, end, 10.0, list(latencies_ms))


def test_cost_is_what_a_notification_took_between_two_samples() -> None:
    found = {figure.name: figure.value for figure in figures("waiting", [load(cpu_s=0.5)])}

    assert found["router"] == pytest.approx(500)
    assert found["all of ours"] == pytest.approx(500 * len(OURS))
    assert found["notify_events: records"] == 1
    assert found["notify_events: bytes"] == 100
    assert found["router: checkpoints"] == pytest.approx(4)
    assert found["router: notifications a checkpoint"] == pytest.approx(25)


def test_a_topic_that_took_nothing_is_left_out() -> None:
    assert not any(figure.name.startswith("notify_dead") for figure in figures("waiting", [load()]))


def test_a_figure_is_the_median_of_its_turns_and_names_each() -> None:
    whole = figures("waiting", [load(0.1), load(9.0), load(0.2)])[0]

    assert whole.value == pytest.approx(800)
    assert whole.detail["turns"] == pytest.approx([400, 36_000, 800])


def test_latencies_are_shown_of_what_came_singly() -> None:
    found = {figure.name: figure.value for figure in figures("singly", [load(latencies_ms=(5.0, 7.0, 90.0))])}

    assert (found["p50"], found["p99"]) == (7.0, 90.0)


def test_only_the_whole_is_held_to_a_bound() -> None:
    whole, *parts = beside(figures("now", [load(0.6)]), figures("then", [load(1.0)]), at_most=0.5)

    assert whole.ratio == pytest.approx(0.6)
    assert whole.holds is False
    assert {figure.holds for figure in parts} == {None}


def test_a_cleaned_segment_counts_with_what_it_had(tmp_path: Path) -> None:
    (tmp_path / "tocsin_router-journal-3").mkdir()
    segment = tmp_path / "tocsin_router-journal-3" / "00000000000000000000.log"
    logs = Logs(tmp_path)
    for size in (400, 900, 20):
        segment.write_bytes(b"." * size)
        logs.look()

    assert logs.bytes() == {("tocsin_router-journal", 3): 900}


@pytest.mark.parametrize("folder", ["__consumer_offsets-0", "notify_events-0.1f-delete", "notify_events-1.ab-future"])
def test_what_is_no_partition_of_ours_is_not_counted(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "00000000000000000000.log").write_bytes(b"...")
    logs = Logs(tmp_path)
    logs.look()

    assert logs.bytes() == {}


def test_an_unknown_revision_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CannotMeasure, match="no-such-revision"):
        built("no-such-revision", tmp_path)
