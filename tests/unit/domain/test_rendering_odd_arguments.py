"""Whatever a filter, a test or an operator is given, there is a text, or an error that an author understands: nothing
of Python's classes, and no object's place in memory."""

import re
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from app.domain.rendering.environment import BadTemplate, rendered
from app.domain.rendering.filters import limited_filters, limited_tests

FILTERS = sorted(name for name in limited_filters() if not name.startswith("_"))
TESTS = sorted(limited_tests())
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]

#: What nobody would give, and what they might.
ODD: list[Any] = [
    None,
    -1,
    0,
    3,
    10**18,
    -(10**18),
    2**64 - 1,
    -0.5,
    1e308,
    True,
    "",
    "a b",
    "%s %(a)d %*d",
    "{0.__class__}",
    "key",
    [],
    [1, "a", None],
    [[1], {"a": 2}],
    {},
    {"a": 1, "b": None},
]

#: Python's: an exception's or a type's name, how an object is shown, where it lies.
PYTHON = re.compile(
    r"[A-Z]\w*(?:Error|Exception)\b|NoneType|\bobject at\b|0x[0-9a-f]{4,}"
    r"|<(?:class|function|built-in|method|module|bound)|\b\w+(?:'s)? object\b(?<!an object)"
    r"|\b(?:dict|str|int|float|bool|tuple|Undefined|builtin_function_or_method|generator)\b"
)


def came_of(source: str, **variables: Any) -> None:
    for html in (False, True):
        try:
            shown = rendered(source, variables, html=html)
        except BadTemplate as error:
            said = str(error)
            own = re.sub(r"the (filter|test) \w+", "", said)
            assert said
            assert not PYTHON.search(own), f"{source} {variables}: {said}"
            assert len(said) <= 200
        else:
            assert not re.search(r"object at|0x[0-9a-f]{6,}|<(?:class|function|built-in|bound)", shown), source


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_with_no_argument_or_one(name: str) -> None:
    for value in ODD:
        came_of(f"{{{{ v|{name} }}}}", v=value)
        for argument in ODD:
            came_of(f"{{{{ v|{name}(a) }}}}", v=value, a=argument)


@pytest.mark.parametrize("name", TESTS)
def test_a_test_with_no_argument_or_one(name: str) -> None:
    if not name.isidentifier():
        return  # (as an operator, below)
    for value in ODD:
        came_of(f"{{{{ v is {name} }}}}", v=value)
        for argument in ODD:
            came_of(f"{{{{ v is {name}(a) }}}}", v=value, a=argument)


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator(operator: str) -> None:
    for left in ODD:
        for right in ODD:
            came_of(f"{{{{ a {operator} b }}}}", a=left, b=right)


@pytest.mark.parametrize("source", ["-v", "+v", "not v", "v[-1]", "v[a]", "v[1:]", "v[a:b]", "v.a", "v()", "v.a()"])
def test_what_else_is_done_with_a_value(source: str) -> None:
    for value in ODD:
        for argument in ODD:
            came_of(f"{{{{ {source} }}}}", v=value, a=argument, b=argument)


@given(
    st.sampled_from(FILTERS),
    st.sampled_from(ODD),
    st.lists(st.sampled_from(ODD), min_size=2, max_size=4),
    st.lists(st.sampled_from(["length", "width", "count", "attribute", "end", "reverse", "by", "default", "leeway"])),
)
@settings(max_examples=400, deadline=None)
def test_a_filter_with_several_arguments_by_place_and_by_name(
    name: str, value: Any, arguments: list[Any], names: list[str]
) -> None:
    variables = {f"a{n}": argument for n, argument in enumerate(arguments)}
    given = [f"{named}={variable}" for named, variable in zip(dict.fromkeys(names), variables, strict=False)]
    by_place = list(variables)[: len(variables) - len(given)]
    came_of(f"{{{{ v|{name}({', '.join([*by_place, *given])}) }}}}", v=value, **variables)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ 'abcdef'|truncate(-1) }}", "the filter truncate can't handle the value it is given"),
        ("{{ 1 // 0 }}", "// divides by zero"),
        ("{{ 1 < 'a' }}", "compares values that can't be compared"),
        ("{{ user.naem }}", "an object has no 'naem'"),
        ("{{ nobody }}", "'nobody' is undefined"),
        ("{{ user.__class__ }}", "__class__ can't be used in templates"),
        ("{{ range('a') }}", "range can't handle the value it is given"),
        ("{{ -'a' }}", "- can't handle the value it is given"),
    ],
)
def test_an_error_says_what_was_done(source: str, words: str) -> None:
    with pytest.raises(BadTemplate) as refused:
        rendered(source, {"user": {"name": "Ann"}}, html=False)
    assert words in str(refused.value)
