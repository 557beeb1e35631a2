"""A changed policy beside the one in force: what is run for it, what is shown of it, and how it ends."""

import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.console.comparing import RANGES, Comparing, bars
from app.api.problems import Problem
from app.defaults import default_policy_text
from tests.unit.api.test_console_hostile import operating

_COUNTS = st.fixed_dictionaries(
    {
        **dict.fromkeys(("category", "channel", "outcome"), st.sampled_from("abc")),
        "reason": st.sampled_from(["", "x"]),
        **dict.fromkeys(("now", "new"), st.integers(0, 10**9)),
    }
)


def _command(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


@given(st.lists(_COUNTS, max_size=60))
def test_bars_are_of_what_differs_and_fit_their_place(outcomes: list[dict[str, Any]]) -> None:
    shown, more = bars(outcomes)

    differing = [each for each in outcomes if each["now"] != each["new"]]
    assert len(shown) + more == len(differing)
    assert all(0 <= width <= 100 for bar in shown for width in (bar.now_width, bar.new_width))
    sizes = [abs(bar.new - bar.now) for bar in shown]
    assert sizes == sorted(sizes, reverse=True)


async def test_the_policy_is_run_over_the_time_that_was_asked_for() -> None:
    program = "import json, pathlib, sys; a = sys.argv[1:]; print(json.dumps([pathlib.Path(a[1]).read_text(), *a[2:]]))"
    found: Any = await Comparing(_command(program)).compare("caps: []\n", "7d")

    assert found == ["caps: []\n", "--from", "7d", "--users", "20", "--json"]


@pytest.mark.parametrize(
    ("program", "since", "says"),
    [
        ("pass", "8d", "is none of 1h, 24h, 7d"),
        ("import sys; print('12%', file=sys.stderr); sys.exit('nothing is recorded')", "1h", "nothing is recorded"),
        ("import sys; sys.exit(1)", "1h", "tocsin simulate failed"),
        ("import time; time.sleep(600)", "1h", "choose a shorter time"),
    ],
)
async def test_what_cannot_be_compared_says_why(program: str, since: str, says: str) -> None:
    comparing = Comparing(_command(program), within_s=0.5 if "sleep" in program else 60)
    for _ in range(2):  # (the first has made room for the second)
        with pytest.raises(Problem, match=re.escape(says)):
            await comparing.compare("", since)


async def test_one_comparison_runs_at_a_time() -> None:
    comparing = Comparing(_command("import time; time.sleep(600)"))
    first = asyncio.create_task(comparing.compare("", "1h"))
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="another comparison"):
        await comparing.compare("", "1h")

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_a_killed_comparison_kept_of_users_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import pathlib, tempfile, time; folder = tempfile.mkdtemp(); pathlib.Path(folder, 'users').write_text('x')\n"
        f"pathlib.Path({str(tmp_path)!r}, 'seen').write_text(folder); time.sleep(600)"
    )
    comparing = asyncio.create_task(Comparing(_command(program)).compare("", "1h"))
    async with asyncio.timeout(60):
        while not (tmp_path / "seen").exists() or not (tmp_path / "seen").read_text():
            await asyncio.sleep(0.01)
    comparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await comparing

    assert [path.name for path in tmp_path.iterdir()] == ["seen"]
    assert not Path((tmp_path / "seen").read_text()).exists()


@pytest.mark.parametrize("is_part", [True, False])
async def test_a_page_shows_the_difference_as_bars_and_whom_it_concerns(is_part: bool) -> None:
    example = {"notification_id": "0b6a5e5c-6f0e", "channel": "push", "now": "sent", "new": "suppressed"}
    user = {"user_id": "a/da", "sent": {"now": 3, "new": 1}, "more": 0, "fewer": 2, "at_another_time": 0}
    outcome = {"category": "orders", "channel": "push", "outcome": "sent", "reason": "", "now": 40, "new": 10}
    found = {
        "outcomes": [outcome, {**outcome, "channel": "sms", "new": 40}],
        "users": {"seen": 9, "differ": 5, "would_notice": 4, "examples": [{**user, "changes": [example]}]},
    }
    comparing = Comparing(_command(f"print({json.dumps(json.dumps(found))})"))
    async with operating(comparing=comparing) as (client, csrf, log):
        form = {"policy": default_policy_text(), "since": RANGES[0], "csrf": csrf}
        headers = {"HX-Request": "true"} if is_part else {}
        page = await (await client.post("/console/policy/compare", data=form, headers=headers)).text()

        assert (log.written, log.audit.entries) == ([], [])
    assert ("<html" in page) != is_part
    assert "Of 9 users in the last 1h, something differs for 5; 4 would notice" in page
    assert 'width="100.0" class="bar-now"' in page
    assert 'width="25.0" class="bar-new"' in page
    assert 'href="/console/users/a%2Fda"' in page
    assert "sms" not in page.split("<tbody>")[1]
