"""What breaks the invariant AUDIT: differences and checks that can't be made, but not what experiments plant."""

from typing import Any

from faults.auditing import broken, verdict


def said(*whats: str, failed: str | None = None, more: int = 0) -> dict[str, Any]:
    differences = [{"where": "t", "partition": 1, "position": 2, "key": "ann", "what": what} for what in whats]
    count = len(differences) + more
    check = {"check": "balance", "failed": failed, "differences": differences, "difference_count": count}
    return {"checks": [check]}


def test_a_difference_breaks_it_with_its_place() -> None:
    assert broken(said("never accepted")) == ["balance: t:1:2 ann: never accepted"]
    assert verdict(broken(said("never accepted")))["verdict"] == "FAIL"


def test_what_an_experiment_writes_itself_breaks_nothing() -> None:
    assert verdict(broken(said("can't be read as an event")))["verdict"] == "pass"
    assert broken(said("nobody decided it"), {("t", 1, 2)}) == []
    assert len(broken(said("nobody decided it"), {("t", 1, 3)})) == 1


def test_a_check_that_can_not_be_made_breaks_it() -> None:
    assert broken(said(failed="no worker answers")) == ["balance: no worker answers"]


def test_differences_that_are_not_shown_count() -> None:
    assert len(broken(said("never accepted", more=2))) == 3
