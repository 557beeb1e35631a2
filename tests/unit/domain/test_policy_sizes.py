"""Any text of 256 KB is judged, or refused with a field, by bounded work: calls are counted, not seconds."""

import sys
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from app.domain.policy import PolicyError, Problem, differences, parse_policy
from app.domain.policy.document import read_document
from app.domain.policy.sizes import MAX_CHARACTERS, MAX_PROBLEMS

#: Calls of functions, C's included, that a policy may take; a machine makes several million in a second.
MOST_CALLS = 4_000_000
#: Most texts are a quarter of what a policy may be, and take a quarter of the work: counting makes it slow.
QUARTER = 4

FULL = "{category: a, priority: high, expires_after: 5m, template: otp, channels: [push, sms]}"

#: What is repeated until the text is as long as it may be, after a beginning.
NASTY: dict[str, tuple[str, str]] = {
    "brackets": ("", "["),
    "braces": ("", "{"),
    "both": ("", "[{a: "),
    "json": ('{\t"a": ', "["),
    "keys and brackets": ("", '{"":['),
    "dashes": ("", "- "),
    "questions": ("", "? "),
    "maps": ("a:", " {a:"),
    "indented": ("", "\n- -"),
    "flow": ("[", "1,"),
    "empty": ("[", "[],"),
    "flow keys": ("{", "? a,"),
    "comments": ("", "#"),
    "lines": ("", "\n"),
    "documents": ("", "--- a\n"),
    "ends": ("", "...\n"),
    "directives": ("", "%TAG !a! b\n"),
    "tags": ("a: ", "!"),
    "anchors": ("a: [", "&x y,"),
    "aliases": ("a: &a [x]\nb: [", "*a,"),
    "aliases of much": (f"a: &a {'x' * 50_000}\nb: [", "*a,"),
    "merges": ("a: &a {x: 1}\nb: {", "<<: *a,"),
    "block": ("a: |\n", " \n"),
    "plain": ("", "a\n"),
    "quotes": ("", '"'),
    "escapes": ('a: "', "\\x41"),
    "key": ("", "a"),
    "colons": ("", "a:"),
    "same key": ("{", "a: 1,"),
    "same key in json": ("{\t", '"a":1,'),
    "unknown names": ("{", "tmezone{n}: 1,"),
    "unlike items": ("categories: {a: {channels: [", "[{n}], {b: {n}},"),
    "like items": ("critical: {sources: [", "a{n}, "),
    "caps": ("caps:\n", "- {name: a{n}, limit: 1, window: 1h}\n"),
    "caps of one name": ("caps:\n", "- {name: a, limit: 1, window: 1h}\n"),
    "broken caps": ("caps:\n", "- {n}\n"),
    "categories": ("categories:\n", "  a{n}: {}\n"),
    "digests": ("digests:\n", "  a{n}: {template: a, window: 1m}\n"),
    "event types": ("event_types:\n", "  a{n}: {}\n"),
    "full event types": ("categories: {a: {}\nevent_types:\n", "  order.shipped.{n}: " + FULL + "\n"),
    "broken event types": ("event_types:\n", "  a{n}: {priority: hihg, category: 5}\n"),
    "patterns": ("event_types:\n", "  order.sh{n}*: {}\n"),
    "odd patterns": ("event_types:\n", "  a*{n}*: {}\n"),
    "unknown categories": ("categories: {a: {}\nevent_types:\n", "  order.{n}: {category: x{n}}\n"),
    "doubts": ("in_doubt: {", "a{n}: resend,"),
}
CLOSED = ("", "]", "}", "]}", "]}}", '"', '"}', "1]}")


def text_of(beginning: str, unit: str, end: str, most: int = MAX_CHARACTERS // QUARTER) -> str:
    """As long as asked for."""
    if "{n}" not in unit:
        return beginning + unit * ((most - len(beginning) - 4) // len(unit)) + end
    parts, length, n = [beginning], len(beginning), 0
    while length < most - 200:
        parts.append(unit.replace("{n}", str(n)))
        length += len(parts[-1])
        n += 1
    return "".join((*parts, end))


def calls_of(work: Callable[[], Any]) -> int:
    """How many functions are called."""
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def judge(text: str, templates: frozenset[str] | None = None) -> list[Problem]:
    try:
        parse_policy(text, templates=templates)
    except PolicyError as refused:
        return refused.problems
    return []


@pytest.mark.parametrize("kind", NASTY)
def test_no_text_takes_much_work(kind: str) -> None:
    parse_policy("")  # (compiles the schema)
    beginning, unit = NASTY[kind]
    closing = {"[": "]", "{": "}"}
    text = text_of(beginning, unit, "".join(closing[sign] for sign in reversed(beginning) if sign in closing)[:3])
    found: list[Problem] = []
    assert calls_of(lambda: found.extend(judge(text))) <= MOST_CALLS // QUARTER
    assert len(found) <= MAX_PROBLEMS
    assert sum(len(str(problem)) for problem in found) <= 100_000


@given(
    st.sampled_from(["", "a: ", "event_types:\n", "categories: {a: {channels: [", "caps:\n", "{\t", "a: &a [x]\n"]),
    st.text(alphabet="[]{}-?:&*!%#\"'|>~<=@` \n\tax01,.\\", min_size=1, max_size=10),
    st.sampled_from(CLOSED),
)
@settings(max_examples=25, deadline=None)
def test_whatever_is_repeated_takes_work_in_proportion_to_its_length(beginning: str, unit: str, end: str) -> None:
    parse_policy("")
    text = (beginning + unit * 3_000)[: MAX_CHARACTERS // 8] + end
    assert calls_of(lambda: judge(text)) <= MOST_CALLS // 8 + 200_000


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("categories", "categories: has "),
        ("caps", "caps: has "),
        ("digests", "digests: has "),
        ("event types", "event_types: has "),
    ],
)
def test_a_section_with_too_many_entries_is_named(kind: str, words: str) -> None:
    (problem,) = judge(text_of(*NASTY[kind], "", MAX_CHARACTERS))
    assert problem.words.startswith(words)
    assert "write at most" in problem.remedy


def test_too_many_patterns_are_named() -> None:
    (problem,) = judge("event_types:\n" + "".join(f"  a{n}*: {{}}\n" for n in range(1_001)))
    assert problem.path == "event_types"
    assert "1000 patterns" in problem.message


@pytest.mark.parametrize("text", ["[" * 21 + "]" * 21, "a: &a {b: *a}", '{\t"a": ' + "[" * 30 + "]" * 30 + "}"])
def test_what_is_nested_too_deeply_is_refused(text: str) -> None:
    (problem,) = judge(text)
    assert "nested more than 20 deep" in problem.message


def test_plain_values_are_measured_too() -> None:
    with pytest.raises(PolicyError, match="more than 30000 values"):
        parse_policy({"caps": list(range(40_000))})


def test_guessing_what_was_meant_takes_bounded_work() -> None:
    """Of hundreds of unknown names among hundreds that are much like them."""
    known = "".join(f"  category_{n:03}: {{}}\n" for n in range(500))
    unknown = "".join(f"  type{n}: {{category: categroy_{n:03}}}\n" for n in range(4_000))
    parse_policy("")
    assert calls_of(lambda: judge(f"categories:\n{known}event_types:\n{unknown}")) <= MOST_CALLS


def test_a_policy_as_large_as_one_may_be_is_taken() -> None:
    types = "".join(f"  order.shipped.{n}: {FULL}\n" for n in range(2_400))
    text = f"categories: {{a: {{channels: [push]}}}}\nevent_types:\n{types}"
    assert len(text) > MAX_CHARACTERS * 0.9
    assert judge(text) == []
    assert read_document(text).root["event_types"]["order.shipped.7"]["template"] == "otp"


def test_work_to_compare_two_policies_grows_with_their_length_only() -> None:
    def compared(count: int) -> int:
        old, new = (
            parse_policy("event_types:\n" + "".join(f"  a{n}: {{expires_after: {t}}}\n" for n in range(count)))
            for t in ("5m", "6m")
        )
        return calls_of(lambda: differences(old, new))

    assert compared(2_000) < 2.5 * compared(1_000)


def test_of_many_patterns_the_longest_that_fits_wins() -> None:
    entries = {f"{'a' * n}*": {"priority": "low" if n % 2 else "high"} for n in range(1, 90)}
    policy = parse_policy({"event_types": {**entries, "a.b*": {"priority": "critical"}}})
    assert [policy.rule_of(name).name for name in ("a" * 40 + "b", "a.bc", "ab", "b", "a" * 99)] == [
        "a" * 40 + "*",
        "a.b*",
        "a*",
        "",
        "a" * 89 + "*",
    ]


def test_looking_up_an_event_type_takes_no_longer_for_many_patterns() -> None:
    policy = parse_policy({"event_types": {f"order.{n:04}*": {} for n in range(1_000)}})
    policy.rule_of("warm")
    assert calls_of(lambda: policy.rule_of("unknown")) < 100
