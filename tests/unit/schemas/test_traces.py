"""W3C Trace Context: the specification's own test cases, and OpenTelemetry's reader as the judge of all others."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas.traces import MAX_STATE_CHARS, Trace, read_trace, trace_in_fields, trace_in_headers

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
PARENT = f"00-{ID}-{SPAN}-01"

#: Of github.com/w3c/trace-context, test/test.py: what is no traceparent.
NO_PARENT = [
    "",
    f"00-{ID}",
    f"00-{ID}-{SPAN}",
    f"00-{ID}-{SPAN}-01.",
    f"00-{ID}-{SPAN}-01-what-the-future-will-be-like",
    f"cc-{ID}-{SPAN}-01.what-the-future-will-not-be-like",
    f"ff-{ID}-{SPAN}-01",
    f".0-{ID}-{SPAN}-01",
    f"0.-{ID}-{SPAN}-01",
    f"000-{ID}-{SPAN}-01",
    f"0000-{ID}-{SPAN}-01",
    f"0-{ID}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-.{ID[1:]}-{SPAN}-01",
    f"00-{ID[:-1]}.-{SPAN}-01",
    f"00-{ID}1-{SPAN}-01",
    f"00-{ID[:-1]}-{SPAN}-01",
    f"00-{ID}-{'0' * 16}-01",
    f"00-{ID}-.{SPAN[1:]}-01",
    f"00-{ID}-{SPAN}1-01",
    f"00-{ID}-{SPAN[:-1]}-01",
    f"00-{ID}-{SPAN}-.0",
    f"00-{ID}-{SPAN}-0.",
    f"00-{ID}-{SPAN}-001",
    f"00-{ID}-{SPAN}-1",
    f"00-{'A' * 32}-{SPAN}-01",
    PARENT + "\n",
    PARENT.replace("1", "\N{FULLWIDTH DIGIT ONE}"),
]


@pytest.mark.parametrize("text", NO_PARENT)
def test_what_is_no_traceparent_counts_as_absent(text: str) -> None:
    assert read_trace(text) is None


@pytest.mark.parametrize("text", [PARENT, f"cc-{ID}-{SPAN}-01", f"cc-{ID}-{SPAN}-01-what-the-future-will-be-like"])
@pytest.mark.parametrize("blanks", ["", " ", "\t", " \t "])
def test_a_traceparent_of_any_version_is_carried_on_as_ours(text: str, blanks: str) -> None:
    assert read_trace(f"{blanks}{text}{blanks}") == Trace(PARENT)


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_only_the_flag_of_sampling_is_read(flags: str, is_sampled: bool) -> None:
    trace = read_trace(f"00-{ID}-{SPAN}-{flags}")

    assert trace is not None
    assert (trace.is_sampled, trace.trace_id, trace.span_id) == (is_sampled, ID, SPAN)


STATES = [
    ("foo=1", "foo=1"),
    ("foo=1,bar=2", "foo=1,bar=2"),
    ("foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"),
    ("foo=1,", "foo=1"),
    (",foo=1,,bar=2", "foo=1,bar=2"),
    ("", None),
    ("foo@=1,bar=2", None),
    ("@foo=1", None),
    ("foo@@bar=1", None),
    ("foo@bar@baz=1", None),
    ("foo =1", None),
    ("FOO=1", None),
    ("foo.bar=1", None),
    ("fo t@v=1", None),
    ("foo=bar=baz", None),
    ("foo=,bar=3", None),
    ("foo=1\x7f", None),
    ("t@v=1", "t@v=1"),
    ("z" * 256 + "=1", "z" * 256 + "=1"),
    ("z" * 257 + "=1", None),
    ("t" * 241 + "@" + "v" * 14 + "=1", "t" * 241 + "@" + "v" * 14 + "=1"),
    ("t" * 242 + "@v=1", None),
    ("t@" + "v" * 15 + "=1", None),
    (",".join(f"bar{i:02d}={i:02d}" for i in range(1, 33)), ",".join(f"bar{i:02d}={i:02d}" for i in range(1, 33))),
    (",".join(f"bar{i:02d}={i:02d}" for i in range(1, 34)), None),
]


@pytest.mark.parametrize(("text", "carried"), STATES)
def test_a_tracestate_is_carried_on_whole_or_not_at_all(text: str, carried: str | None) -> None:
    assert read_trace(PARENT, [text]) == Trace(PARENT, carried)


def test_of_a_long_tracestate_large_members_go_first_and_then_the_last() -> None:
    large, small = "large=" + "x" * 200, [f"k{n:02d}=" + "x" * 40 for n in range(12)]
    state = read_trace(PARENT, [",".join([large, *small])])

    assert state is not None
    assert state.tracestate == ",".join(small[:11])
    assert len(state.tracestate) <= MAX_STATE_CHARS


def test_headers_are_found_in_any_case_and_states_are_joined() -> None:
    headers = [("TraceParent", PARENT.encode()), ("TRACESTATE", b"foo=1"), ("other", None), ("tracestate", b"bar=2")]

    assert trace_in_headers(headers) == Trace(PARENT, "foo=1,bar=2")


@pytest.mark.parametrize("values", [[], [None], [PARENT.encode(), PARENT.encode()], [b"\xff"], [b"", PARENT.encode()]])
def test_other_than_one_traceparent_counts_as_none(values: list[bytes | None]) -> None:
    assert trace_in_headers([("traceparent", value) for value in values]) is None


@pytest.mark.parametrize("value", ["null", "1", "{}", '["a"]', '""', '"x"', "", '"\\ud800"', f'"{"0" * 10_000}"'])
def test_a_field_that_is_no_traceparent_counts_as_absent(value: str) -> None:
    assert trace_in_fields(Raw(value.encode()), Raw(b"")) is None
    assert trace_in_fields(Raw(json.dumps(PARENT).encode()), Raw(value.encode())) == Trace(PARENT)


HEX = st.text("0123456789abcdefABCDEF", min_size=1, max_size=34)
ALMOST = st.one_of(
    st.text(max_size=70),
    st.builds("-".join, st.lists(HEX, min_size=3, max_size=6)),
    st.builds(
        lambda version, trace_id, span_id, flags, rest: f"{version}-{trace_id}-{span_id}-{flags}{rest}",
        st.sampled_from(["00", "01", "cc", "ff", "0"]),
        st.text("0123456789abcdef", min_size=32, max_size=32),
        st.text("0123456789abcdef", min_size=16, max_size=16),
        st.sampled_from(["00", "01", "02", "ff", "0", "gg"]),
        st.sampled_from(["", "-", "-more", ".more", " "]),
    ),
)


@given(ALMOST, st.text("abz019_-*/@=, \t\x7f", max_size=80))
@example(PARENT, "foo=1")
def test_what_is_read_is_what_opentelemetry_reads(parent: str, state: str) -> None:
    mine = read_trace(parent, [state])
    carrier = {"traceparent": parent, "tracestate": state}
    theirs = get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()

    assert (mine is not None) == theirs.is_valid
    if mine is not None:
        assert (int(mine.trace_id, 16), int(mine.span_id, 16)) == (theirs.trace_id, theirs.span_id)
        assert mine.is_sampled == theirs.trace_flags.sampled
        assert read_trace(mine.traceparent, [mine.tracestate or ""]) == mine
