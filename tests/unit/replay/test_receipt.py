"""A receipt adds up at every moment, whatever was answered in which order and how often."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.erasure import user_hash
from app.replay.ledger import Ledger
from app.replay.receipt import DRY_RUN, OUTCOMES, receipt_of, status_of
from schemas.replay_jobs import ReplayFilters, ReplayJob, ReplayState, ReplayWish
from schemas.replays import ReplayOutcome

RID = "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"
JOB = ReplayJob(
    replay_id=RID,
    by="ops",
    at=0,
    channel="push",
    filters=ReplayFilters(from_ms=0, to_ms=1),
    rate=50,
    per_ms=1000,
)
ANSWERED = [name for name in OUTCOMES if name != "not_begun"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "answers.db")
    yield opened
    opened.close()


def said(send_id: str, outcome: Any, *, dry_run: bool = False, at: int = 5, **more: Any) -> ReplayOutcome:
    of = {"replay_id": RID, "user_id": "ada", "notification_id": "n", "send_id": send_id, **more}
    return ReplayOutcome(outcome=outcome, at=at, dry_run=dry_run, **of)


_answers = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abc"), st.sampled_from(DRY_RUN), st.just(True)),
        st.tuples(st.sampled_from("abc"), st.sampled_from(ANSWERED), st.just(False)),
    ),
    max_size=30,
)


@given(_answers, st.booleans())
def test_both_tallies_add_up_to_the_candidates_at_every_moment(
    tmp_path_factory: Any, answers: list[tuple[str, str, bool]], lost: bool
) -> None:
    file = tmp_path_factory.mktemp("l") / "answers.db"
    ledger = Ledger(file)
    latest: dict[str, dict[bool, str]] = {}
    for name, outcome, dry_run in answers:
        ledger.take([said(name, outcome, dry_run=dry_run)], {0: 1})
        if dry_run and not (name in latest and False in latest[name]):
            latest.setdefault(name, {})[True] = outcome
        elif not dry_run and name in latest:
            latest[name][False] = outcome
        receipt = receipt_of(JOB, "running", ledger.counts(RID))
        assert sum(receipt.dry_run.values()) == sum(receipt.outcomes.values()) == receipt.candidates == len(latest)
        assert set(receipt.dry_run) == set(DRY_RUN)
        assert set(receipt.outcomes) == set(OUTCOMES)
    if lost:  # read again from the log, in one go
        ledger.close()
        file.unlink()
        ledger = Ledger(file)
        ledger.take([said(name, outcome, dry_run=dry_run) for name, outcome, dry_run in answers], {})
    counts = ledger.counts(RID)
    for name in ANSWERED:
        assert sum(n for (_, o), n in counts.items() if o == name) == sum(
            each.get(False) == name for each in latest.values()
        )
    ledger.close()


def test_the_latest_answer_counts_and_a_change_is_told_once(ledger: Ledger) -> None:
    ledger.take([said("a", "would_send", dry_run=True)], {})
    changes = ledger.take([said("a", "waiting"), said("a", "waiting"), said("a", "sent", new_send_id="b")], {})

    assert [each.outcome for each in changes] == ["waiting", "sent"]
    assert ledger.counts(RID) == {("would_send", "sent"): 1}


def test_a_dry_run_that_is_answered_late_changes_nothing_of_what_began(ledger: Ledger) -> None:
    ledger.take(
        [said("a", "would_send", dry_run=True), said("a", "sent"), said("a", "replayed_before", dry_run=True)], {}
    )

    assert ledger.counts(RID) == {("would_send", "sent"): 1}


def test_what_is_asked_and_what_has_its_answer_are_told_apart(ledger: Ledger) -> None:
    ledger.take([said(name, "would_send", dry_run=True) for name in "ab"] + [said("a", "waiting")], {})

    assert ledger.unanswered(RID, ["a", "b", "c"], dry_run=True) == {"c"}
    assert ledger.unanswered(RID, ["a", "b", "c"], dry_run=False) == {"b", "c"}


def test_positions_move_with_what_was_taken(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "answers.db")
    first.take([said("a", "expired", dry_run=True)], {0: 7, 3: 2})
    first.close()
    again = Ledger(tmp_path / "answers.db")

    assert again.positions() == {0: 7, 3: 2}
    assert again.counts(RID) == {("expired", "not_begun"): 1}
    again.close()


@pytest.mark.parametrize("torn", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 200])
def test_a_file_that_cannot_be_read_is_made_anew(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "answers.db").write_bytes(torn)
    ledger = Ledger(tmp_path / "answers.db")

    assert ledger.positions() == {}
    ledger.close()


def test_pages_hold_each_candidate_once(ledger: Ledger) -> None:
    names = [f"{n:04d}" for n in range(25)]
    ledger.take([said(name, "would_send", dry_run=True) for name in names], {})
    ledger.take([said(name, "sent", new_send_id="x") for name in names[::2]], {})
    seen, after = [], ""
    while page := ledger.page(RID, only_counted=False, outcome=None, after=after, limit=4):
        seen += [each.send_id for each, _ in page]
        after = seen[-1]
    sent = ledger.page(RID, only_counted=False, outcome="sent", after="", limit=100)
    left = ledger.page(RID, only_counted=False, outcome="not_begun", after="", limit=100)

    assert seen == names
    assert [each.send_id for each, _ in sent] == names[::2]
    assert [each.send_id for each, _ in left] == names[1::2]


def test_a_dry_runs_candidates_show_what_it_says_of_them(ledger: Ledger) -> None:
    ledger.take([said("a", "suppressed", dry_run=True, reason="dnd"), said("b", "would_send", dry_run=True)], {})
    page = ledger.page(RID, only_counted=True, outcome="suppressed", after="", limit=10)

    assert [(each.send_id, each.outcome, each.reason) for each, _ in page] == [("a", "suppressed", "dnd")]
    assert len(ledger.page(RID, only_counted=True, outcome="not_begun", after="", limit=10)) == 2


def test_of_an_erased_user_no_reason_stays_in_the_file(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "answers.db")
    ledger.take(
        [said("a", "suppressed", dry_run=True, reason="a-telling-reason"), said("a", "failed", reason="told-twice")], {}
    )
    ledger.redact(user_hash("ada"), 100)
    ledger.close()
    raw = (tmp_path / "answers.db").read_bytes()

    assert b"a-telling-reason" not in raw
    assert b"told-twice" not in raw
    assert b"ada" in raw


@pytest.mark.parametrize("phase", [None, "counting", "running", "done"])
@pytest.mark.parametrize("stop", [None, True, False])
def test_what_is_done_stays_done_and_a_stop_is_never_lost(phase: Any, stop: bool | None) -> None:
    wish = None if stop is None else ReplayWish(stop=stop, by="ops", at=1)
    state = None if phase is None else ReplayState(phase=phase, at=1)
    expected = "done" if phase == "done" else "stopped" if stop else phase or "counting"

    assert status_of(wish, state) == expected
