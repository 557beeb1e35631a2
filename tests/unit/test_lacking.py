"""What a machine lacks never hides a failure in CI."""

from pathlib import Path

import pytest

from tests.lacking import lacking

ROOT = Path(__file__).parents[2]
_WAYS = ("pytest.skip", "mark.skip", "importorskip", "mark.xfail", "pytest.xfail", "unittest.skip", "SkipTest")


@pytest.mark.parametrize(("environ", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_lacking_fails_in_ci_and_is_skipped_elsewhere(
    environ: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", environ)
    with pytest.raises(outcome, match="needs a thing"):
        lacking("needs a thing: get it")


def test_ci_says_that_it_is() -> None:
    assert "export CI=true\n" in (ROOT / ".ci" / "run").read_text()


def test_no_test_is_skipped_in_another_way() -> None:
    allowed = {"tests/lacking.py", "tests/unit/test_lacking.py", "tests/unit/test_limits.py"}
    skipping = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if any(word in path.read_text() for word in _WAYS)
    }
    assert skipping <= allowed
