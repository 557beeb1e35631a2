"""The console's parts that need no gateway: sessions, charts, texts."""

import csv
import io
import re
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.console import rendering
from app.api.console.charts import MOST_LINES, Lines, Ranks, lines, nice_above, ranked, short, stacked
from app.api.console.dashboards import RANGES, expanded
from app.api.console.policy import entry_of
from app.api.console.query import as_text, drawn, values_of
from app.api.console.sessions import LASTS_S, Sessions, fingerprint_of
from app.api.console.texts import TEXTS
from app.defaults import dashboard_panels
from app.store.sql import quoted

_PACKAGE = Path(rendering.__file__).parent
_NAMES = ("nav.", "replays.", "notification.", "providers.", "replay.", "overview.")


def test_a_session_is_read_by_whoever_has_the_secret_until_it_is_over() -> None:
    now = [1_000_000]
    ours, theirs = Sessions(b"ours", lambda: now[0]), Sessions(b"theirs", lambda: now[0])
    session, cookie = ours.begin("ops", "ab" * 32)

    assert Sessions(b"ours", lambda: now[0]).read(cookie) == session
    assert session.fingerprint == fingerprint_of("ab" * 32)
    assert theirs.read(cookie) is None
    now[0] += LASTS_S + 1
    assert ours.read(cookie) is None


@given(st.text(max_size=2000))
def test_whatever_a_cookie_holds_it_is_no_session(cookie: str) -> None:
    assert Sessions(b"ours", lambda: 1_000_000).read(cookie) is None


def test_two_sessions_of_one_key_have_forms_of_their_own() -> None:
    sessions = Sessions(b"ours", lambda: 1)

    assert sessions.begin("ops", "ab")[0].csrf != sessions.begin("ops", "ab")[0].csrf


@given(st.floats(min_value=0, max_value=1e12))
def test_an_axis_ends_above_its_values_and_not_far_above(value: float) -> None:
    assert value <= nice_above(value) <= max(4.0, 2.5 * value)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=60))
def test_bars_stand_on_each_other_within_the_picture(values: list[tuple[int, int]]) -> None:
    labels = [str(n) for n in range(len(values))]
    series = {"sent": [float(a) for a, _ in values], "failed": [float(b) for _, b in values]}
    chart = stacked("overview.minutes", labels, series)

    assert len(chart.bars) == sum(bool(a) + bool(b) for a, b in values)
    assert chart.is_empty is not any(map(any, values))
    assert all(bar.y >= 0 and bar.y + bar.height <= chart.height for bar in chart.bars)
    for x in {bar.x for bar in chart.bars}:
        lower, *upper = [bar for bar in chart.bars if bar.x == x]
        assert all(abs(bar.y + bar.height - lower.y) < 1e-6 for bar in upper)


@given(st.dictionaries(st.text(max_size=5), st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1e9)), max_size=20))
def test_lines_stay_within_the_picture_and_are_few(series: dict[str, dict[str, float]]) -> None:
    chart = lines("abcd", series)

    assert len(chart.lines) == min(len(series), MOST_LINES)
    for _, points, name in chart.lines:
        places = [tuple(map(float, point.split(","))) for point in points.split()]
        assert len(set(places)) <= len(series[name])
        assert len(places) == (2 if len(series[name]) == 1 else len(series[name]))
        assert all(chart.left <= x <= chart.width and 0 <= y <= chart.height for x, y in places)


@pytest.mark.parametrize("hours", RANGES.values())
@pytest.mark.parametrize(
    "chosen", ["a') OR 1=1 -- \\", "${channel:singlequote}", "${campaign:singlequote} OR 1=1", "\\1"]
)
def test_a_panels_sql_is_run_with_what_was_chosen_and_nothing_else(hours: int, chosen: str) -> None:
    for dashboard in dashboard_panels()["dashboards"]:
        for panel in dashboard["panels"]:
            sql = expanded(panel["sql"], hours, dict.fromkeys(dashboard["variables"], chosen))
            assert sql.count(quoted(chosen)) == panel["sql"].count("${")
            assert not {"$", "OR 1=1"} & {*re.findall(r"\$|OR 1=1", sql.replace(quoted(chosen), ""))}


def test_a_panel_of_which_nothing_is_chosen_is_of_all_and_fits_an_address() -> None:
    found = dashboard_panels()
    for dashboard in found["dashboards"]:
        for panel in dashboard["panels"]:
            sql = expanded(panel["sql"], 720, {})
            assert "$" not in sql
            assert sql.count("SELECT DISTINCT") == panel["sql"].count("${")
            assert len(rendering.link("/console/query.csv", sql=sql)) < 4000


_COUNTS: Any = [["push", "sent", 3], ["sms", "sent", None], ["sms", None, 9]]


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([["2026-03-01 10:00:00", 1], ["2026-03-01 11:00:00", 2]], Lines),
        (_COUNTS, Ranks),
        ([[3, "push"], [4, "sms"]], Ranks),
        (_COUNTS[:1], NoneType),
        ([["push", -1], ["sms", 2]], NoneType),
        ([["push", 1, 2], ["sms", 2, 3]], NoneType),
        ([["push", [1]], ["sms", [2]]], NoneType),
        ([["push", True], ["sms", False]], NoneType),
        ([["a", "b"], ["c", "d"]], NoneType),
        ([["a", "b", "c", "d", 1], ["c", "d", "e", "f", 2]], NoneType),
        ([[1], [2]], NoneType),
        ([], NoneType),
    ],
)
def test_a_result_is_drawn_where_it_is_over_time_or_one_number_a_name(rows: Any, kind: type) -> None:
    columns = [f"c{number}" for number in range(len(rows[0]) if rows else 0)]

    assert isinstance(drawn(columns, rows), kind)


@given(st.lists(st.tuples(st.text(max_size=90), st.floats(0, 1e12)), max_size=60))
def test_ranks_stay_within_the_picture_and_say_what_isnt_drawn(values: list[tuple[str, float]]) -> None:
    chart = ranked("n", [label for label, _ in values], [value for _, value in values])

    assert len(chart.rows) + chart.more == len(values)
    for y, words, width, _ in chart.rows:
        assert 0 <= y < chart.height
        assert 0 <= chart.left + width <= chart.width
        assert len(words) <= 40


@pytest.mark.parametrize("begins", [*"=+-@＝＋－＠", "\t", "\r", "\n", "  =", "\u00a0@", "\n+"])
def test_a_spreadsheet_runs_neither_a_cell_nor_a_columns_name(begins: str) -> None:
    formula = f"{begins}HYPERLINK('x')"
    header, row = csv.reader(io.StringIO(as_text([formula, "n"], [[formula, -1]]), newline=""))

    assert (header, row) == ([f"'{formula}", "n"], [f"'{formula}", "-1"])


@pytest.mark.parametrize(("value", "words"), [(0, "0"), (950, "950"), (1500, "1.5k"), (2e6, "2M"), (3e9, "3G")])
def test_large_numbers_are_short(value: float, words: str) -> None:
    assert short(value) == words


def test_every_text_that_a_page_names_is_there_and_every_text_is_used() -> None:
    sources = [file.read_text() for file in (*_PACKAGE.glob("*.py"), *_PACKAGE.glob("templates/*.html"))]
    whole = "\n".join(source for source in sources if "TEXTS: Final" not in source)
    named = set(re.findall(r'\bt\("([a-z_.]+)"[,)]', whole)) | set(re.findall(r'\btext\("([a-z_.]+)"', whole))

    assert named <= TEXTS.keys()
    unused = {name for name in TEXTS if f'"{name}"' not in whole and f"={name}" not in whole}
    assert {name for name in unused if not name.startswith("nav.") and not name.endswith(".will")} == set()


#: Cells with a number that counts no rows: times, rates, versions, and what only a process or Kafka knows.
_UNCOUNTED = {
    "row.p50",
    "row.p99",
    'answered[row.provider][name]|default("", true)',
    "n",
    "each.in_flight",
    'event.attempt or ""',
    "each.version",
    "each.line",
    "each.now",
    "each.new",
    "each.sent.now",
    "each.sent.new",
    "each.at_another_time",
    "receipt.candidates",
}


def test_every_number_leads_to_what_it_counts() -> None:
    cells = {
        cell
        for file in _PACKAGE.glob("templates/*.html")
        for cell in re.findall(r'<td class="n">\{\{ (.*?) \}\}</td>', file.read_text())
    }
    assert cells <= _UNCOUNTED, cells - _UNCOUNTED
    assert cells >= _UNCOUNTED, _UNCOUNTED - cells


def test_ticks_know_their_moment_so_that_a_browser_shows_its_own_zone() -> None:
    bars = stacked("overview.minutes", ["10:00", "10:01"], {"sent": [1.0, 0.0]}, [0, 60_000])
    assert [at for _, _, at in bars.ticks] == ["1970-01-01T00:00:00.000Z", "1970-01-01T00:01:00.000Z"]
    assert bars.bars[0].title == "10:00 UTC sent: 1"


@pytest.mark.parametrize(
    ("label", "at"),
    [
        ("2026-03-01 10:00:00", "2026-03-01T10:00:00.000Z"),
        ("2026-03-01T10:00:00.5Z", "2026-03-01T10:00:00.500Z"),
        ("2026-03-01", ""),
        ("2026-03-01 10:00 or so", ""),
        ("0000-00-00 00:00:00", ""),
    ],
)
def test_a_tick_that_is_no_moment_stays_as_it_is(label: str, at: str) -> None:
    assert [tick[2] for tick in lines([label], {"n": {label: 1.0}}).ticks] == [at]


@pytest.mark.parametrize(
    ("rate", "limited_by", "shows"),
    [(12.5, "throttling", "12.5/s by throttling"), (100.0, "limit", "100/s by limit"), (None, None, "")],
)
def test_a_providers_rate_says_where_it_comes_from(rate: float | None, limited_by: str | None, shows: str) -> None:
    provider = {"provider": "fcm", "channel": "push", "state": "closed", "rate": rate, "limited_by": limited_by}
    parts: Any = rendering._environment.get_template("parts.html").module
    row = str(parts.providers_table("/console", [provider], False, "")).partition("<tbody>")[2]

    cells = re.findall(r'<td class="n">(.*?)</td>', row)
    assert re.sub(r"<.*?>", "", cells[-1]) == shows


def test_a_version_was_applied_by_whoever_did_so_then_though_its_text_came_again() -> None:
    texts = {1: "a" * 64, 2: "b" * 64, 3: "a" * 64, 4: "c" * 64}
    log = [
        {"key_id": "late", "what": f"policy after version 3, sha256 {texts[4]}"},
        {"key_id": "third", "what": f"policy after version 2, sha256 {texts[3]}"},
        {"key_id": "in vain", "what": f"policy after version 1, sha256 {'d' * 64}"},
        {"key_id": "second", "what": f"policy after version 0, sha256 {texts[2]}"},
        {"key_id": "first", "what": f"policy after version 0, sha256 {texts[1]}"},
        {"key_id": "odd", "what": "something else"},
    ]
    found = [entry_of({"version": number, "sha256": text}, log) for number, text in texts.items()]

    assert [entry and entry["key_id"] for entry in found] == ["first", "second", "third", "late"]
    assert entry_of({"version": 0, "sha256": texts[1]}, log) is None
    assert entry_of({"version": 5, "sha256": "e" * 64}, log) is None


def test_each_parameter_that_clickhouse_is_asked_with_has_a_field() -> None:
    longest = "p" * 100
    sql = f"SELECT {{a:String}}, {{ {longest} : UInt8 }}, {{a:String}}, {{{longest}x:UInt8}}, {{1:UInt8}}"

    assert values_of(sql, {"param_a": "x", "b": "y"}) == {"param_a": "x", f"param_{longest}": ""}
