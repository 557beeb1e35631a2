"""What experiments found is kept once for each seed, and summed up where the document has a place for it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from faults.report import BEGIN, END, add_result, brief, passed, read_results, write_table
from faults.running import Result

HOLDS = {"name": "LOST", "means": "", "value": 0, "bound": 0, "verdict": "pass"}
BROKEN = {"name": "DUP", "means": "", "value": 2, "bound": 0, "verdict": "FAIL"}
IN_DOUBT = {"name": "D", "means": "", "value": 3, "bound": 200, "verdict": "pass"}


def result(seed: int, *invariants: dict[str, Any], error: str | None = None) -> Result:
    return Result(
        "zombies",
        seed,
        "long",
        "abc",
        "2026-01-02T03:04:05Z",
        60.0,
        {"notifications": 1000},
        list(invariants),
        error,
    )


def table(folder: Path, *results: Result) -> str:
    kept, document = folder / "results.json", folder / "page.md"
    for each in results:
        add_result(kept, asdict(each))
    document.write_text(f"before\n{BEGIN}\nstale words\n{END}\nafter\n")
    write_table(document, read_results(kept))
    return document.read_text()


def test_a_seed_that_is_run_again_replaces_what_it_found(tmp_path: Path) -> None:
    kept = tmp_path / "results.json"
    for invariants in ((BROKEN,), (HOLDS,)):
        add_result(kept, asdict(result(1, *invariants)))

    assert [each["invariants"] for each in json.loads(kept.read_text())] == [[HOLDS]]


def test_git_keeps_each_verdict_and_examples_only_of_what_broke(tmp_path: Path) -> None:
    found = result(1, IN_DOUBT | {"examples": ["a"], "listed": [{"send_id": "x"}]}, BROKEN | {"examples": ["b"]})

    assert brief(found)["invariants"] == [
        {"name": "D", "value": 3, "bound": 200, "verdict": "pass"},
        {"name": "DUP", "value": 2, "bound": 0, "verdict": "FAIL", "examples": ["b"]},
    ]
    assert "listed" in found.invariants[0]  # (the whole keeps it)


def test_the_table_sums_the_seeds_up_and_leaves_the_rest_of_the_document(tmp_path: Path) -> None:
    text = table(tmp_path, result(1, HOLDS, IN_DOUBT), result(2, HOLDS, IN_DOUBT))

    assert "| zombies | 1 2 | 2000 | 0 | ? | 6 of 400 |" in text
    assert "2 of 2 runs passed, in 2 minutes" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale" not in text


def test_what_failed_is_named_with_its_seed(tmp_path: Path) -> None:
    text = table(tmp_path, result(1, HOLDS), result(2, HOLDS, BROKEN), result(3, error="TimeoutError: too long"))

    assert "**FAIL** with seed 2 3" in text


def test_only_what_was_run_to_its_end_and_held_has_passed() -> None:
    told = {"error": None, "invariants": [HOLDS]}

    assert passed(told)
    assert not passed(told | {"invariants": [HOLDS, BROKEN]})
    assert not passed(told | {"error": "TimeoutError"})
    assert not passed({"error": None, "invariants": []})


def test_a_document_without_a_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("nothing here")

    with pytest.raises(ValueError, match=r"page\.md: has no place for the table"):
        write_table(tmp_path / "page.md", [])
