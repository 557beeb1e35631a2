"""Null in templates is empty, whatever is done with it; and nothing but data is ever shown or counted with."""

import re
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.rendering import variables_of
from app.domain.rendering.budget import LARGEST, MOST_BITS
from app.domain.rendering.environment import BadTemplate, rendered
from app.domain.rendering.filters import limited_filters, limited_tests
from app.domain.rendering.language import _METHODS

FILTERS = sorted(name for name in limited_filters() if not name.startswith("_"))
TESTS = sorted(name for name in limited_tests() if name.isalpha())
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "and", "or", "==", "!=", "<", "<=", ">", ">=", "in", "not in"]
#: What each filter can't do without.
ARGUMENTS = {
    "batch": "2",
    "slice": "2",
    "groupby": "'a'",
    "map": "'upper'",
    "rejectattr": "'a'",
    "selectattr": "'a'",
    "replace": "'a', 'b'",
}
#: What may stand where there is nothing.
EMPTY = ("", "0", "0.0", "False", "True", "null")


def shown(source: str, *, html: bool = False, **variables: Any) -> str:
    return rendered(source, {"n": None, "o": {"n": None}, "xs": ["b", None, "a"], **variables}, html=html)


def is_clean(text: str) -> bool:
    return not re.search(r"none|undefined|null|0x|object at|<function|<built-in|<bound", text, re.IGNORECASE)


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize(
    "null", ["n", "o.n", "o['n']", "n.a", "n.a.b", "n[0]", "n['a'].b", "n[1:2]", "n.lower()", "-n"]
)
def test_null_is_shown_as_nothing(null: str, html: bool) -> None:
    assert shown(f"[{{{{ {null} }}}}]", html=html) == "[]"


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("name", FILTERS)
def test_null_is_empty_under_every_filter(name: str, html: bool) -> None:
    arguments = ARGUMENTS.get(name, "")
    for null in ("n", "o.n", "n.a.b"):
        text = shown(f"{{{{ {null}|{name}({arguments}) }}}}", html=html)
        assert text in (EMPTY if name == "tojson" else EMPTY[:3])


@pytest.mark.parametrize(("first", "second"), list(product(FILTERS, FILTERS)))
def test_null_is_empty_under_every_filter_of_a_filter(first: str, second: str) -> None:
    if first in ("tojson", "int", "float", "count", "length", "wordcount", "sum"):
        return  # what they make of it is a text or a number
    source = f"{{{{ n|{first}({ARGUMENTS.get(first, '')})|{second}({ARGUMENTS.get(second, '')}) }}}}"
    assert shown(source) in EMPTY or second in ("tojson", "list", "items", "dictsort")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("value", ["'text'", "7", "['b', 'a']", "{'a': 'b'}", "[{'a': 1}]"])
def test_an_argument_that_is_null_counts_as_not_given(name: str, value: str) -> None:
    for arguments in ("n", "n, n"):
        given = arguments.replace("n", ARGUMENTS.get(name, "")) if name in ARGUMENTS else ""
        assert _outcome(f"{{{{ {value}|{name}({arguments}) }}}}") in (
            _outcome(f"{{{{ {value}|{name}({given}) }}}}"),
            _outcome(f"{{{{ {value}|{name} }}}}"),
            _outcome(f"{{{{ {value} }}}}"),
            "too many arguments",
            "no argument",
        )


def _outcome(source: str) -> str:
    """What is shown, or that it can't be: what isn't an argument's fault."""
    try:
        text = shown(source)
    except BadTemplate as error:
        return "too many arguments" if "TypeError" in str(error) else "no argument"
    assert is_clean(text), text
    return text


LISTS = {
    "join": "bXXa",
    "join('-')": "b--a",
    "sort|join": "ab",
    "min": "a",
    "max": "b",
    "map('upper')|join": "BA",
    "unique|join": "ba",
    "select|join": "ba",
    "reject|list|length": "1",
    "first": "b",
    "last": "a",
    "length": "3",
    "string": "['b', '', 'a']",
    "upper": "['B', '', 'A']",
    "batch(2)|list|string": "[['b', ''], ['a']]",
}


@pytest.mark.parametrize("filters", LISTS)
def test_null_is_empty_in_a_list(filters: str) -> None:
    assert shown(f"{{{{ xs|{filters} }}}}") == LISTS[filters].replace("XX", "")


MEMBERS = {
    "sum(attribute='a')": "3",
    "sort(attribute='a')|map(attribute='a')|join(',')": ",1,2",
    "min(attribute='a')|string": "{'a': 1}",
    "max(attribute='a')|string": "{'a': 2}",
    "map(attribute='a')|join(',')": "2,,1",
    "selectattr('a', 'gt', 1)|list|length": "1",
    "join(',', attribute='a')": "2,,1",
    "unique(attribute='a')|list|length": "3",
    "tojson": '[{"a": 2}, {"a": null}, {"a": 1}]',
}


@pytest.mark.parametrize("filters", MEMBERS)
def test_null_is_empty_in_an_object(filters: str) -> None:
    assert (
        shown(f"{{{{ rows|{filters} }}}}", rows=[{"a": 2}, {"a": None}, {"a": 1}]).replace(": ", ": ")
        == MEMBERS[filters]
    )


def test_nulls_are_a_group_and_are_sorted_first() -> None:
    rows = [{"a": "y"}, {"a": None}, {"a": "x"}, {"a": None}]
    source = "{% for name, of in rows|groupby('a') %}{{ name }}={{ of|length }} {% endfor %}"
    assert shown(source, rows=rows) == "=2 x=1 y=1 "
    assert shown("{{ o|dictsort(by='value') }}", o={"b": "x", "a": None}) == "[('a', ''), ('b', 'x')]"


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("other", ["n", "'a'", "''", "7", "1.5", "true", "['a']", "{'a': 1}"])
def test_null_is_no_error_under_any_operator(operator: str, other: str) -> None:
    for source in (f"{{{{ n {operator} {other} }}}}", f"{{{{ {other} {operator} n }}}}"):
        assert is_clean(shown(source)), source


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ n ~ 'a' ~ n }}", "a"),
        ("{{ n + 'a' }}{{ 'a' + n }}", "aa"),
        ("{{ n + 1 }}{{ 2 * n }}{{ n ** 2 }}{{ -n }}{{ n / 0 }}", ""),
        ("{{ (n + [1])|length }}", "1"),
        ("{{ '%s and %d of %(x)s'|format(n, n) }}", None),
        ("{{ '%s-%d-%.2f-%s-100%%'|format(n, n, n, 'b') }}", "---b-100%"),
        ("{{ '%(a)s-%(b)d'|format(a='x', b=n) }}", "x-"),
        ("{{ '%s' % n }}{{ '%5d' % n }}", ""),
        ("{{ n < 1 }}{{ n > 1 }}{{ 1 < n }}{{ n in 'abc' }}{{ n in n }}{{ 1 in n }}", "FalseFalseFalseFalseFalseFalse"),
        ("{{ n not in 'abc' }}{{ n == n }}{{ n != 1 }}{{ n in [n] }}", "TrueTrueTrueTrue"),
        ("{{ 'yes' if n else 'no' }}{{ not n }}{{ n or 'b' }}{{ n and 'c' }}", "noTrueb"),
        ("{% for x in n %}x{% else %}none here{% endfor %}", "none here"),
        ("{% for k, v in n.items() %}x{% endfor %}{% for k, v in n|dictsort %}x{% endfor %}", ""),
        ("{% for k, v in [n, (1, n)] %}[{{ k }}{{ v }}]{% endfor %}", "[][1]"),
        ("{% set a, b = n %}{{ a }}{{ b }}", ""),
        ("{% with a = n.b %}{{ a.c }}{% endwith %}", ""),
        ("{{ xs[n] }}{{ o[n] }}{{ 'abc'[n:2] }}{{ xs[n:n]|length }}", "ab3"),
        ("{% for x in range(n) %}x{% endfor %}", ""),
        ("{{ n|default('-') }}{{ n|default('-', true) }}", "-"),
        ("{{ xs }}{{ o }}", "['b', '', 'a']{'n': ''}"),
        ("{{ {'a': n}|urlencode }}", "a="),
    ],
)
def test_what_comes_of_null(source: str, text: str | None) -> None:
    if text is not None:
        assert shown(source) == text


@pytest.mark.parametrize("name", TESTS)
def test_null_is_no_error_under_any_test(name: str) -> None:
    for subject, arguments in product(("n", "7", "'a'", "['a']"), ("", "(n)", "(1)", "('a')")):
        if "n" in (subject, arguments.strip("()")):
            assert shown(f"{{{{ {subject} is {name}{arguments} }}}}") in ("True", "False")


@pytest.mark.parametrize("method", _METHODS.split())
def test_null_is_no_error_for_any_method(method: str) -> None:
    assert shown(f"{{{{ n.{method}() }}}}{{{{ n.{method}('a', 1) }}}}") == ""
    assert is_clean(
        shown(
            f"{{{{ 'abc'.{method}(n) }}}}"
            if method not in ("changed", "cycle", "get", "items", "keys", "values")
            else ""
        )
    )


def test_what_had_no_room_in_a_digest_is_null() -> None:
    items: list[dict[str, Any]] = [
        {"event_type": "e", "data": {}, "truncated": True},
        {"event_type": "e", "data": {"author": "Bo"}},
    ]
    source = "{% for item in items %}[{{ item.data.author|upper }}{{ item.data['author'] }}"
    source += "{{ item.data.items()|length }}]{% endfor %}{{ count }}"
    assert rendered(source, variables_of({}, {}, items), html=False) == "[0][BOBo1]2"


# --- nothing but data ---------------------------------------------------------------------------------------------

NOT_DATA = [
    "range",
    "loop",
    "loop.cycle",
    "loop.changed",
    "'a'.upper",
    "o.items",
    "o.get",
    "xs.append",
    "''.join",
    "(1).bit_length",
]
USES = [
    "{{ %s }}",
    "{{ [%s] }}",
    "{{ %s ~ '' }}",
    "{{ '%%s'|format(%s) }}",
    "{{ %s|string }}",
    "{{ {'a': %s} }}",
    "{{ [%s]|join }}",
    "{{ [%s]|tojson }}",
    "{{ [%s]|map('string')|join }}",
    "{{ '' + %s }}",
    "{{ '%%s' %% %s }}",
    "{{ %s|default('') }}",
    "{{ [%s]|first }}",
    "{{ xs|join(%s) }}",
    "{{ 'a'|replace('a', %s) }}",
    "{{ %s == 1 }}",
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("what", NOT_DATA)
def test_where_something_lies_in_memory_is_never_shown(what: str, use: str) -> None:
    source = "{% for i in [1] %}" + use % what + "{% endfor %}"
    try:
        text = shown(source)
    except BadTemplate as error:
        text = str(error)
    assert not re.search(r"0x|object at|<[a-z]|LoopContext", text), text


# --- within the budget --------------------------------------------------------------------------------------------

NUMBERS = [
    "('f' * 9999)|int(0, 16)",
    "('z' * 9999)|int(0, 36)",
    "9 ** 999",
    "2 ** 4095",
    "7",
    "1.5",
    "big",
    "'9' * 999",
]


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "//", "%", "**"])
@pytest.mark.parametrize(("left", "right"), list(product(NUMBERS, NUMBERS)))
def test_no_operator_makes_or_takes_a_number_without_bounds(operator: str, left: str, right: str) -> None:
    try:
        text = shown(f"{{{{ ({left}) {operator} ({right}) }}}}", big=1 << 100_000)
    except BadTemplate:
        return
    assert len(text) <= LARGEST
    if text.strip("-").isdigit() and not left.startswith("'9'"):
        assert int(text).bit_length() <= MOST_BITS


def test_a_long_division_in_a_loop_is_refused_before_it_begins() -> None:
    source = "{% set x = ('f' * 100000)|int(0, 16) %}{% for a in range(9999) %}{% if x // 3 %}{% endif %}{% endfor %}"
    with pytest.raises(BadTemplate, match="too large a number"):
        shown(source)


LEAVES = st.sampled_from(
    ["n", "7", "'a'", "xs", "o", "big", "''", "[]", "1.5", "range(999)", "('a' * 9999)", "missing"]
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(OPERATORS), inner),
        st.builds("({}|{})".format, inner, st.sampled_from(FILTERS)),
        st.builds("({}|{}({}))".format, inner, st.sampled_from(FILTERS), inner),
        st.builds("({} is {})".format, inner, st.sampled_from(TESTS)),
        st.builds("({}.{}({}))".format, inner, st.sampled_from(_METHODS.split()), inner),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("{}.a.b".format, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("(-{})".format, inner),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS, st.booleans())
def test_any_expression_ends_as_a_bounded_text_or_as_a_bad_template(expression: str, looped: bool) -> None:
    source = f"{{{{ {expression} }}}}"
    if looped:
        source = "{% for i in range(50) %}{% for j in range(50) %}" + source + "{% endfor %}{% endfor %}"
    try:
        text = shown(source, big=1 << 63)
    except BadTemplate as error:
        text = str(error)
    assert len(text) <= LARGEST
    assert not re.search(r"\bNone\b|0x|object at|<function|<built-in|<bound", text), text
