"""A changed policy beside the one in force: what is run for it, what is shown of it, and how it ends."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.console.comparing import KEPT_S, RANGES, Comparing, Comparison, Name, bars
from app.api.console.sessions import Sessions
from app.api.problems import Problem
from app.defaults import default_policy_text
from app.domain.erasure import user_hash
from app.store.erased import ErasedUsers
from schemas.erasures import USER, Erased, encode_erasure
from schemas.topics import ERASURES
from tests.conftest import eventually, until
from tests.records import Record
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


async def _ended(comparing: Comparing, policy: str = "caps: []\n", since: str = "1h") -> Comparison:
    """A comparison, when it has."""
    name = await comparing.begin("ops", policy, since)
    known = comparing.find(name)
    assert isinstance(known, Comparison)
    await until(lambda: known.ended_at is not None)
    return known


async def test_the_policy_is_run_over_the_time_that_was_asked_for(tmp_path: Path) -> None:
    program = "import json, pathlib, sys; a = sys.argv[1:]; print(json.dumps([pathlib.Path(a[1]).read_text(), *a[2:]]))"
    found: Any = (await _ended(Comparing(_command(program), folder=tmp_path), since="7d")).found

    assert found == ["caps: []\n", "--from", "7d", "--users", "20", "--json", "--supervised"]
    assert [*tmp_path.iterdir()] == []


async def test_how_far_it_is_is_known_while_it_runs() -> None:
    program = (
        'import sys; print(\'{"done": 3, "total": 9}\', file=sys.stderr, flush=True)\n'
        "print('a note', file=sys.stderr, flush=True); sys.stdin.read()"
    )
    comparing = Comparing(_command(program))
    known = comparing.find(await comparing.begin("ops", "", "1h"))
    assert isinstance(known, Comparison)
    await until(lambda: bool(known.total == 9))
    assert (known.done, known.ended_at) == (3, None)

    await comparing.close()
    assert known.ended_at is not None


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; print('12%', file=sys.stderr); sys.exit('nothing is recorded')", "nothing is recorded"),
        ("import sys; sys.exit(1)", "tocsin simulate failed"),
        ("import sys; print('x' * 3_000_000, file=sys.stderr); sys.exit(1)", "xxx"),
        ("print('[')", "it failed"),
        ("import time; time.sleep(600)", "choose a shorter time"),
    ],
)
async def test_what_cannot_be_compared_says_why(program: str, says: str, tmp_path: Path) -> None:
    comparing = Comparing(_command(program), within_s=0.5 if "sleep" in program else 60, folder=tmp_path)
    for _ in range(2):  # (the first has made room for the second)
        ended = await _ended(comparing)
        assert ended.problem is not None
        assert says in ended.problem.detail
        assert len(ended.problem.detail) <= 2000
    assert [*tmp_path.iterdir()] == []


async def test_a_time_that_cannot_be_chosen_is_refused() -> None:
    with pytest.raises(Problem, match="is not one of 1h, 24h, 7d"):
        await Comparing().begin("ops", "", "8d")


_SLEEPS = _command("import time; time.sleep(600)")


async def test_one_comparison_runs_at_a_time_and_ones_own_next_takes_its_place() -> None:
    comparing = Comparing(_SLEEPS)
    first = await comparing.begin("ops", "", "1h")
    with pytest.raises(Problem, match="another comparison"):
        await comparing.begin("other", "", "1h")

    second = await comparing.begin("ops", "", "1h")
    ended, running = comparing.find(first), comparing.find(second)
    assert isinstance(ended, Comparison)
    assert ended.problem is not None
    assert isinstance(running, Comparison)
    assert running.ended_at is None
    names = await asyncio.gather(*(comparing.begin("ops", "", "1h") for _ in range(3)))
    begun = [comparing.find(each) for each in names]
    assert [isinstance(each, Comparison) and each.ended_at is None for each in begun] == [False, False, True]
    await comparing.close()


_WRITES = (
    "import pathlib, sys, tempfile; folder = tempfile.mkdtemp(); pathlib.Path(folder, 'users').write_text('x')\n"
    'print(\'{{"done": 1, "total": 1}}\', file=sys.stderr, flush=True); sys.stdin.read()'
)


async def test_what_a_comparison_that_was_ended_kept_of_users_is_gone(tmp_path: Path) -> None:
    comparing = Comparing(_command(_WRITES.format()), folder=tmp_path)
    known = comparing.find(await comparing.begin("ops", "", "1h"))
    assert isinstance(known, Comparison)
    await until(lambda: bool(known.done))
    assert [*tmp_path.rglob("users")] != []
    await comparing.close()

    assert [*tmp_path.iterdir()] == []


async def test_results_are_few_and_go_after_a_while() -> None:
    now = [0.0]
    comparing = Comparing(_command("print('{}')"), monotonic=lambda: now[0])
    ended = [await _ended(comparing) for _ in range(6)]

    found = [comparing.find(each.name) for each in ended]
    assert found[:2] == ["over", "over"]
    assert [each for each in found if isinstance(each, Comparison)] == ended[-3:]
    now[0] += KEPT_S + 1
    assert {comparing.find(each.name) for each in ended} == {"over"}


async def test_what_became_of_a_comparison_is_known_at_any_gateway() -> None:
    now = [1_000_000]
    first, restarted, other = (Comparing(_SLEEPS, gateway=gateway, clock=lambda: now[0]) for gateway in ("a", "a", "b"))
    name = await first.begin("ops", "", "1h")
    assert isinstance(first.find(name), Comparison)
    assert restarted.find(name) == "restarted"
    assert other.find(name) == "elsewhere"

    now[0] += 24 * 3600 * 1000
    assert other.find(name) == "over"
    await first.close()


_GATEWAY = """
import asyncio, sys
from pathlib import Path
from app.api.console.comparing import Comparing

async def run():
    comparing = Comparing((sys.executable, "-c", sys.argv[2]), folder=Path(sys.argv[1]))
    comparing.start()
    await comparing.begin("ops", "caps: []", "1h")
    await asyncio.sleep(600)

asyncio.run(run())
"""
#: It ends when nobody holds the other end of its standard input, and says so.
_TETHERED = """
import os, pathlib, sys, tempfile
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "users").write_text(str(os.getpid()))
os.read(0, 1)
pathlib.Path({seen!r}).write_text("ended")
"""


async def test_a_gateway_that_is_killed_leaves_neither_a_process_nor_what_it_kept(tmp_path: Path) -> None:
    folder, seen = tmp_path / "comparisons", tmp_path / "seen"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _GATEWAY, str(folder), _TETHERED.format(seen=str(seen))
    )
    await until(lambda: bool([*folder.rglob("users")]))
    process.kill()
    await process.wait()

    await until(seen.exists)  # (the comparison has ended with its gateway)
    assert [*folder.rglob("users")] != []
    Comparing(folder=folder).start()
    assert [*folder.iterdir()] == []


async def test_a_gateway_that_starts_leaves_anothers_comparison_alone(tmp_path: Path) -> None:
    comparing = Comparing(_SLEEPS, folder=tmp_path)
    await comparing.begin("ops", "", "1h")
    await until(lambda: bool([*tmp_path.iterdir()]))
    Comparing(folder=tmp_path).start()

    assert [*tmp_path.rglob("policy.yaml")] != []
    await comparing.close()


def found() -> dict[str, Any]:
    example = {"notification_id": "0b6a5e5c-6f0e", "channel": "push", "now": "sent", "new": "suppressed"}
    user = {"user_id": "a/da", "sent": {"now": 3, "new": 1}, "more": 0, "fewer": 2, "at_another_time": 0}
    outcome = {"category": "orders", "channel": "push", "outcome": "sent", "reason": "", "now": 40, "new": 10}
    return {
        "outcomes": [outcome, {**outcome, "channel": "sms", "new": 40}],
        "users": {"seen": 9, "differ": 5, "would_notice": 4, "examples": [{**user, "changes": [example]}]},
    }


_FORM = {"policy": default_policy_text(), "since": RANGES[0]}
_PART = {"HX-Request": "true"}


async def _begun(client: Any, csrf: str) -> str:
    """The address of a comparison that was begun."""
    form = {**_FORM, "csrf": csrf}
    async with client.post("/console/policy/compare", data=form, allow_redirects=False) as response:
        assert response.status == 303
        return str(response.headers["Location"])


@pytest.mark.parametrize("is_part", [True, False])
async def test_a_page_shows_the_difference_as_bars_and_whom_it_concerns(is_part: bool) -> None:
    comparing = Comparing(_command(f"print({json.dumps(json.dumps(found()))})"))
    async with operating(comparing=comparing) as (client, csrf, log):
        if is_part:
            form = {**_FORM, "csrf": csrf}
            page = await (await client.post("/console/policy/compare", data=form, headers=_PART)).text()
            [path] = re.findall(r'hx-get="([^"]+)" hx-trigger="every 1s"', page)
        else:
            path = await _begun(client, csrf)
        pages = [""]

        async def is_done() -> bool:
            pages[0] = await (await client.get(path, headers=_PART if is_part else {})).text()
            return 'hx-trigger="every' not in pages[0]

        await eventually(is_done)
        assert (log.written, log.audit.entries) == ([], [])
    [page] = pages
    assert ("<html" in page) != is_part
    assert "Of 9 users in the last 1h, something differs for 5; 4 would notice" in page
    assert 'width="100.0" class="bar-now"' in page
    assert 'width="25.0" class="bar-new"' in page
    assert 'href="/console/users/a%2Fda"' in page
    assert "sms" not in page.split("<tbody>")[1]


@pytest.mark.parametrize(
    ("gateway_name", "status", "says"),
    [("here", 200, "The gateway here was restarted"), ("there", 204, "begun at the gateway there")],
)
async def test_a_page_that_outlives_its_gateway_says_what_became_of_it(
    gateway_name: str, status: int, says: str
) -> None:
    """A part that another gateway is asked for is left as it is: the next call may reach the right one."""
    sessions = Sessions(b"s", lambda: 0)
    name = Name("id", gateway_name, "of another run", "1h", 0)
    sealed = sessions.sealed("comparison", msgspec.json.encode(name))
    comparing = Comparing(gateway="here", clock=lambda: 0)
    async with operating(comparing=comparing, sessions=sessions) as (client, _, _):
        page = await client.get(f"/console/policy/comparisons/{sealed}")
        assert (page.status, says in await page.text()) == (200, True)
        part = await client.get(f"/console/policy/comparisons/{sealed}", headers=_PART)
        assert part.status == status
        assert (await client.get(f"/console/policy/comparisons/{sealed[:-9]}")).status == 404


async def test_a_user_who_was_erased_since_is_shown_as_no_example() -> None:
    comparing = Comparing(_command(f"print({json.dumps(json.dumps(found()))})"), clock=lambda: 0)
    erased = ErasedUsers()
    async with operating(comparing=comparing, erased=erased) as (client, csrf, _):
        path = await _begun(client, csrf)

        async def shows() -> bool:
            return "users/a%2Fda" in await (await client.get(path)).text()

        await eventually(shows)
        erased.take(
            Record(ERASURES, key=USER + user_hash("a/da").hex().encode(), value=encode_erasure(Erased(erased_at=1)))
        )
        assert not await shows()


async def test_two_gateways_serve_the_page_of_one_comparison_between_them() -> None:
    """Behind a balancer each call of the page may reach either."""
    sessions, clock = Sessions(b"s", lambda: 0), (lambda: 0)
    command = _command(f"print({json.dumps(json.dumps(found()))})")
    first, second = (Comparing(command, gateway=name, clock=clock) for name in ("first", "second"))
    async with (
        operating(comparing=first, sessions=sessions) as (client, csrf, _),
        operating(comparing=second, sessions=sessions) as (other, _, _),
    ):
        path = await _begun(client, csrf)
        elsewhere = await (await other.get(path)).text()
        assert "begun at the gateway first" in elsewhere
        assert f'hx-get="{path}"' in elsewhere  # (it goes on asking)
        assert (await other.get(path, headers=_PART)).status == 204

        async def is_done() -> bool:
            return "Of 9 users" in await (await client.get(path, headers=_PART)).text()

        await eventually(is_done)
    await first.close()
