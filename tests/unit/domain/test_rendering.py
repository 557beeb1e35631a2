"""Rendering: the right parts in the right language, and no template that hangs, grows or looks where it shouldn't."""

import resource
import unicodedata
from contextlib import suppress
from functools import partial
from itertools import count
from time import thread_time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.rendering import (
    RenderError,
    check_syntax,
    choose_variant,
    compile_template,
    render,
    render_content,
    variables_of,
)
from app.domain.rendering.budget import LONGEST_S
from app.domain.rendering.environment import BadTemplate, rendered
from app.domain.rendering.filters import limited_filters
from app.domain.rendering.parts import best_locale
from schemas.config import Template, TemplateVersion
from schemas.requests import Content
from schemas.words import Channel


def template_of(channels: dict[str, Any], variants: list[Any] | None = None) -> Template:
    return msgspec.convert({"id": "t", "channels": channels, "variants": variants}, Template)


def shown(
    channels: dict[str, Any],
    channel: Channel,
    variables: dict[str, Any] | None = None,
    locale: str | None = None,
    variant: str | None = None,
    variants: list[Any] | None = None,
) -> dict[str, str] | RenderError:
    version = TemplateVersion(version=1, template=template_of(channels, variants), at="2026-01-01T00:00:00Z")
    return render(compile_template(version), channel, locale, variables or {}, variant)


def body(source: str, **variables: Any) -> str:
    parts = shown({"sms": {"en": {"body": source}}}, "sms", variables)
    assert isinstance(parts, dict), parts
    return parts["body"]


def refusal(source: str, **variables: Any) -> str:
    parts = shown({"sms": {"en": {"body": source}}}, "sms", variables)
    assert isinstance(parts, RenderError), parts
    assert parts.part == "sms.en.body"
    return parts.message


def test_a_template_sees_data_user_items_and_count() -> None:
    variables = variables_of(
        {"order": {"id": 7, "items": ["x", "y"]}, "user": "not the recipient"},
        {"name": "Ann"},
        [{"data": {"author": "Bob"}}, {"data": {"author": "Cy"}}],
    )
    source = "{{ user.name }} {{ order.id }} {{ order.items|join('+') }} {{ count }}:"
    source += "{% for item in items %} {{ item.data.author }}{% if not loop.last %},{% endif %}{% endfor %}"
    assert body(source, **variables) == "Ann 7 x+y 2: Bob, Cy"


def test_items_are_datas_own_where_nothing_was_digested() -> None:
    assert variables_of({"items": [1], "count": 5}, {}) == {"items": [1], "count": 5, "user": {}}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ n }}", ""),  # null shows as nothing
        ("{{ missing|default('-') }}", "-"),
        ("{% if missing is defined %}a{% else %}b{% endif %}", "b"),
        ("{{ name|upper }} {{ name.lower() }} {{ name|truncate(2, true, '…', 0) }}", "ANN ann A…"),
        ("{{ 3 if name in ('Ann', 'Bob') else 4 }}", "3"),
        ("{{ xs|map('upper')|join(', ') }} {{ xs|length }} {{ xs[0] }} {{ xs[1:]|first }}", "K, L 2 k l"),
        ("{{ 'n' ~ 1 ~ name }} {{ 2 + 3 * 4 - 1 }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ '-' * 3 }}", "n1Ann 13 3 1024 ---"),
        ("{{ '%s owes %.2f'|format(name, 2) }}", "Ann owes 2.00"),
        ("{% for key, value in o.items() %}{{ key }}={{ value }};{% endfor %}", "a=1;b=2;"),
        ("{% for n in range(3) %}{{ loop.index }}{{ loop.cycle('a', 'b') }}{% endfor %}", "1a2b3a"),
        (
            "{% for g, of in [{'k': 1}, {'k': 2}, {'k': 1}]|groupby('k') %}{{ g }}:{{ of|length }} {% endfor %}",
            "1:2 2:1 ",
        ),
        ("{% set total = 1.5 + 2 %}{% with t = total %}{{ t|round(1) }}{% endwith %}", "3.5"),
        ("{{ xs|tojson }} {{ 'a&b'|urlencode }}", '["k", "l"] a%26b'),
        ("{% raw %}{{ x }}{% endraw %}{# comment #}", "{{ x }}"),
        ("<b>{{ '<i>' }}</b>", "<b><i></b>"),  # not HTML: nothing is escaped
    ],
)
def test_the_language_that_templates_need_is_there(source: str, text: str) -> None:
    assert body(source, name="Ann", n=None, xs=["k", "l"], o={"a": 1, "b": 2}) == text


def test_only_html_is_escaped() -> None:
    parts = {"subject": "{{ x }}", "html": "<p>{{ x }}{{ x ~ '<i>' }}{{ x|safe }}</p>", "text": "{{ x }}"}
    assert shown({"email": {"en": parts}}, "email", {"x": "<b>&"}) == {
        "subject": "<b>&",
        "html": "<p>&lt;b&gt;&amp;&lt;b&gt;&amp;&lt;i&gt;<b>&</p>",
        "text": "<b>&",
    }


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("de-AT", "de-AT"),
        ("de_at", "de-AT"),
        ("de-CH", "de"),
        ("de", "de"),
        ("pt-BR", "pt-BR"),
        ("pt", "default"),
        ("pt-PT", "default"),
        ("zh-Hant-TW", "zh-Hant"),
        ("ZH_HANT_tw", "zh-Hant"),
        ("zh-Hant-HK-x-private", "zh-Hant"),
        ("zh-Hans-CN", "zh-Hans-CN"),
        ("zh-Hans", "default"),
        ("zh-TW", "default"),
        ("zh", "default"),
        ("de-1996-u-co-phonebk", "de"),
        ("de-AT-a-b-c", "de-AT"),
        ("x-de", "default"),
        ("i-de", "default"),
        ("fr", "default"),
        ("", "default"),
        (None, "default"),
    ],
)
def test_the_locale_is_found_subtag_by_subtag_else_it_is_the_default(wanted: str | None, said: str) -> None:
    locales = {name: {"body": name} for name in ("en", "de", "de-AT", "pt-BR", "zh-Hans-CN", "zh_Hant", "default")}
    assert shown({"sms": locales}, "sms", locale=wanted) == {"body": said.replace("zh-Hant", "zh_Hant")}


@given(st.lists(st.text("abcXYZ019", min_size=1, max_size=4), min_size=1, max_size=5), st.data())
def test_a_locale_is_never_shown_to_who_asked_for_another(subtags: list[str], data: st.DataObject) -> None:
    wanted = "-".join(subtags)
    others = data.draw(st.lists(st.text("abcXYZ019-", min_size=1, max_size=9), max_size=6))
    chosen = best_locale({name: {} for name in (*others, "default")}, wanted).lower()
    assert chosen == "default" or f"{wanted.lower()}-".startswith(f"{chosen}-")


def test_without_a_default_the_first_locale_is_shown() -> None:
    assert shown({"sms": {"en": {"body": "en"}, "de": {"body": "de"}}}, "sms", locale="fr") == {"body": "en"}


def test_a_variant_is_shown_where_it_has_the_channel_else_the_template() -> None:
    channels = {"sms": {"en": {"body": "plain"}}, "push": {"en": {"title": "t", "body": "plain"}}}
    variants = [{"name": "b", "weight": 1, "channels": {"sms": {"en": {"body": "bold"}}}}]
    assert shown(channels, "sms", variant="b", variants=variants) == {"body": "bold"}
    assert shown(channels, "push", variant="b", variants=variants) == {"title": "t", "body": "plain"}
    assert shown(channels, "sms", variants=variants) == {"body": "plain"}


def test_a_channel_that_the_template_lacks_cannot_be_shown() -> None:
    assert shown({"sms": {"en": {"body": "x"}}}, "push") == RenderError("push", "the template lacks this channel")


def test_headings_are_one_line_without_control_characters_whatever_the_data_holds() -> None:
    parts = {"subject": "Hi {{ name }}", "text": "Hi {{ name }}"}
    evil = "Ann\r\nBcc: eve@example.com\x00\x1b[31m 👩‍🚀"
    assert shown({"email": {"en": parts}}, "email", {"name": evil}) == {
        "subject": "Hi Ann Bcc: eve@example.com [31m 👩‍🚀",
        "text": "Hi Ann\nBcc: eve@example.com[31m 👩‍🚀",
    }


BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
PARTS: dict[Channel, tuple[str, ...]] = {
    "push": ("title", "body", "url", "image"),
    "email": ("subject", "html", "text"),
    "sms": ("body",),
    "in_app": ("title", "body", "url", "image"),
}


@pytest.mark.parametrize("line_break", BREAKS, ids=ascii)
@pytest.mark.parametrize("channel", PARTS)
def test_every_line_break_is_one_on_every_channel_and_joins_no_words(channel: Channel, line_break: str) -> None:
    text = f"/one{line_break}two"
    by_template = shown({channel: {"en": dict.fromkeys(PARTS[channel], "{{ x }}")}}, channel, {"x": text})
    assert isinstance(by_template, dict)
    content = Content(title=text, body=text, subject=text, html=text, url=text, image=text)

    for parts in (by_template, render_content(content, channel)):
        one_line = {"title", "subject", "url", "image"}
        assert parts == {part: "/one two" if part in one_line else "/one\ntwo" for part in parts}


@given(st.text())
def test_no_part_holds_a_control_character_and_no_line_holds_a_break(text: str) -> None:
    for channel in PARTS:
        for part, cleaned in render_content(Content(title=text, body=text, html=text), channel).items():
            allowed = "" if part in ("title", "subject") else "\n\t"
            controls = {character for character in cleaned if unicodedata.category(character) in ("Cc", "Zl", "Zp")}
            assert controls <= set(allowed)
            assert len(cleaned.splitlines()) <= cleaned.count("\n") + 1


def test_a_variable_that_is_not_there_is_an_error_that_names_it() -> None:
    assert refusal("Hi {{ name }}") == "'name' is undefined"
    assert "code" in refusal("{{ order.code }}", order={})


def test_an_error_does_not_tell_the_data() -> None:
    assert "secret" not in refusal("{{ x + 1 }}", x="secret")
    assert "secret" not in refusal("{{ x / 2 }}", x="secret")


def test_syntax_errors_are_found_when_a_template_is_checked_and_name_their_part() -> None:
    template = template_of(
        {
            "sms": {"en": {"body": "{{ a"}, "de": {"body": "{{ a }}"}},
            "push": {"en": {"title": "x", "body": "{% if %}"}},
        },
        [{"name": "b", "weight": 1, "channels": {"sms": {"en": {"body": "{{ a|nofilter }}"}}}}],
    )
    assert [error.part for error in check_syntax(template)] == ["sms.en.body", "push.en.body", "variants.b.sms.en.body"]


DOUBLED = "{%% set x = ['aaaaaaaa'] %%}%s{{ %s }}"
HOSTILE = {
    "a_text_times_a_number": "{{ 'a' * 300000000 }}",
    "a_list_times_a_number": "{{ [1] * 300000000 }}",
    "a_wide_format": "{{ '%300000000d' % 1 }}",
    "a_wide_format_by_name": "{{ '%(a)300000000d'|format(a=1) }}",
    "a_wide_format_by_star": "{{ '%*d'|format(300000000, 1) }}",
    "a_precise_format": "{{ '%.300000000f'|format(1) }}",
    "str_format": "{{ '{:>300000000}'.format(1) }}",
    "center": "{{ 'a'|center(300000000) }}",
    "center_method": "{{ 'a'.center(300000000) }}",
    "center_by_map": "{{ ['a']|map('center', 300000000)|list }}",
    "ljust_found_by_key": "{{ 'a'['ljust'](300000000) }}",
    "nested_ranges": "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}",
    "a_long_range": "{% for a in range(10**9) %}{% endfor %}",
    "a_long_range_as_a_list": "{{ range(1000000000)|list }}",
    "an_empty_loop_over_much": "{% for a in range(99999) %}{% for b in range(99999) if 0 %}{% endfor %}{% endfor %}",
    "powers": "{{ 9999999 ** 9999999 }}",
    "powers_by_squaring": "{% set x = 3 %}" + "{% set x = x * x %}" * 60 + "{{ x }}",
    "doubled_text": "{% set x = 'aaaaaaaa' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
    "doubled_text_by_plus": "{% set x = 'aaaaaaaa' %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
    "doubled_list": DOUBLED % ("{% set x = [x, x] %}" * 40, "x"),
    "doubled_list_as_json": DOUBLED % ("{% set x = [x, x] %}" * 40, "x|tojson"),
    "doubled_list_as_text": DOUBLED % ("{% set x = [x, x] %}" * 40, "x|string|length"),
    "doubled_tuple": DOUBLED % ("{% set x = (x, x) %}" * 40, "{'a': 1}[x]"),
    "doubled_objects": DOUBLED % ("{% set x = {'a': x, 'b': x} %}" * 40, "x"),
    "doubled_lists_compared": "{% set x = [1] %}{% set y = [1] %}"
    + "{% set x = [x, x] %}{% set y = [y, y] %}" * 40
    + "{{ x == y }}",
    "doubled_lists_compared_by_test": "{% set x = [1] %}{% set y = [1] %}"
    + "{% set x = [x, x] %}{% set y = [y, y] %}" * 40
    + "{{ x is eq(y) }}",
    "doubled_lists_compared_by_a_loop": "{% set x = [1] %}{% set y = [1] %}"
    + "{% set x = [x, x] %}{% set y = [y, y] %}" * 40
    + "{% for a in [1, 2] %}{{ loop.changed(x) }}{{ loop.changed(y) }}{% endfor %}",
    "replace_with_itself": "{% set x = 'bbbbbbbb' %}" + "{% set x = x|replace('b', x) %}" * 10 + "{{ x|length }}",
    "replace_of_nothing": "{{ ('x' * 9999)|replace('', 'y' * 9999)|length }}",
    "join_with_itself": "{{ range(9999)|join('x' * 9999)|length }}",
    "batch": "{{ [1]|batch(1000000000, 'x')|list }}",
    "slice": "{{ [1]|slice(1000000000)|list }}",
    "round": "{{ 2|round(1000000000, 'ceil') }}",
    "indent": "{{ 'x'|indent(100000000) }}",
    "lipsum": "{{ lipsum(n=1000000) }}",
    "sum_of_lists": "{{ [[1]]|sum(start=[]) }}",
    "sum_of_texts": "{{ ['a']|sum(start='b') }}",
    "macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursive_loop": "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "namespace": "{% set ns = namespace(x='a') %}",
    "captured_block": "{% set x %}{{ 'a' }}{% endset %}",
    "filter_block": "{% filter upper %}a{% endfilter %}",
    "include": "{% include 'other' %}",
    "import": "{% import 'other' as o %}",
    "extends": "{% extends 'other' %}",
    "block": "{% block a %}{% endblock %}",
    "autoescape_off": "{% autoescape false %}{% endautoescape %}",
    "class": "{{ ''.__class__.__mro__ }}",
    "class_by_key": "{{ ''['__class__'] }}",
    "class_by_attr": "{{ ''|attr('__class__') }}",
    "class_by_map": "{{ ['']|map(attribute='__class__')|first }}",
    "globals_of_a_function": "{{ range.__globals__ }}",
    "globals_of_loop": "{% for a in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "self": "{{ self._TemplateReference__context }}",
    "environment": "{{ environment }}",
    "changing_data": "{{ xs.append(1) }}",
    "range_by_another_name": "{% set range = 'a' %}",
    "unpacked_arguments": "{{ range(*xs) }}",
    "deep_brackets": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "deep_lists": "{% set x = [] %}" + "{% set x = [x] %}" * 1200 + "{{ x }}{{ x|tojson }}",
    "a_long_sum": "{{ " + "1+" * 20000 + "1 }}",
    "deep_loops": "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
    "a_long_number": "{{ " + "9" * 10000 + " }}",
    "a_long_source": "x" * 100_000,
    "much_text_in_a_loop": "{% for a in range(5000) %}" + "x" * 1000 + "{% endfor %}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_refused_before_it_takes_time_or_memory(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    message = refusal(HOSTILE[name], xs=[1, 2])
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert len(message) < 200
    assert after.ru_utime - before.ru_utime < 5
    assert after.ru_maxrss - before.ru_maxrss < 100_000  # KiB


@pytest.mark.parametrize(("lists", "is_shown"), [(199, True), (200, False)])
def test_lists_lie_no_deeper_in_lists_than_the_limit(lists: int, is_shown: bool) -> None:
    source = "{% set x = 1 %}" + "{% set x = [x] %}" * lists + "{{ x }}"
    if is_shown:
        assert body(source) == "[" * lists + "1" + "]" * lists
    else:
        assert refusal(source) == "nests lists too deeply"


def test_a_long_digest_is_within_the_limits() -> None:
    items = [{"event_type": "comment.created", "data": {"author": f"user {n}", "text": "x" * 100}} for n in range(1000)]
    source = "{% for item in items %}{{ loop.index }}. {{ item.data.author|title }}{% if item.data.text %}: "
    source += "{{ item.data.text|truncate(40) }}{% endif %}\n{% endfor %}{{ items|length }} {{ count }}"
    assert body(source, **variables_of({}, {}, items)).endswith("1000 1000")


def test_literal_content_is_shown_as_it_is() -> None:
    content = Content(title="{{ t }}", body="{% b %} <b>", subject="S", html="<p>{{ h }}</p>", url="https://a.example")
    assert render_content(content, "push") == {"title": "{{ t }}", "body": "{% b %} <b>", "url": "https://a.example"}
    assert render_content(content, "in_app") == render_content(content, "push")
    assert render_content(content, "sms") == {"body": "{% b %} <b>"}
    assert render_content(content, "email") == {"subject": "S", "html": "<p>{{ h }}</p>", "text": "{% b %} <b>"}


def test_mail_takes_title_and_body_where_content_has_no_subject_and_html() -> None:
    assert render_content(Content(title="T", body="B"), "email") == {"subject": "T", "text": "B"}


def test_variants_are_given_by_weight_and_always_the_same_to_a_user() -> None:
    channels = {"sms": {"en": {"body": "x"}}}
    variants = [{"name": n, "weight": w, "channels": channels} for n, w in (("a", 3), ("b", 1), ("never", 0))]
    template = template_of(channels, variants)
    chosen = [choose_variant(template, f"user-{n}") for n in range(4000)]
    assert chosen == [choose_variant(template, f"user-{n}") for n in range(4000)]
    assert set(chosen) == {"a", "b"}
    assert 2800 < chosen.count("a") < 3200


@pytest.mark.parametrize("weights", [None, [], [0, 0]])
def test_there_is_no_variant_where_none_has_weight(weights: list[int] | None) -> None:
    channels = {"sms": {"en": {"body": "x"}}}
    variants = [{"name": str(n), "weight": w, "channels": channels} for n, w in enumerate(weights or [])]
    assert choose_variant(template_of(channels, variants if weights is not None else None), "ann") is None


@pytest.mark.parametrize("part", ["url", "image"])
@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "java\nscript:x", "//evil.example", "data:x", "/" + "a" * 2_048]
)
def test_a_link_that_a_template_makes_leads_nowhere_else_than_one_that_is_written(part: str, link: str) -> None:
    channels = {"push": {"en": {"title": "t", "body": "b", part: "{{ link }}"}}}
    parts = shown(channels, "push", {"link": link})
    assert isinstance(parts, RenderError)
    assert parts.part == f"push.en.{part}"
    for good in ("/a", "https://example.com", ""):
        assert isinstance(shown(channels, "push", {"link": good}), dict)


# --- work is counted, whatever does it ------------------------------------------------------------------------------

#: Values of all kinds, as large as data can be.
LARGE: dict[str, Any] = {
    "text": "a b " * 16_000,
    "letters": "f" * 64_000,
    "digits": "9" * 64_000,
    "tags": "<>" * 32_000,
    "comments": "<!---->" * 9_000,
    "directives": "%(" * 32_000,
    "numbers": list(range(10_000)),
    "object": {str(number): number for number in range(5_000)},
    "largest": 2**64 - 1,
    "least": -(2**63),
    "double": 1.7e308,
    "null": None,
}
OPERATIONS = (
    [f"({{0}} {operator} {{1}})" for operator in ("+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and")]
    + [f"{{0}}|{name}" for name in sorted(limited_filters()) if not name.startswith("_")]
    + [
        f"{{0}}|{name}({{1}})"
        for name in ("format", "join", "replace('a', 'bb')|replace", "default", "center", "round")
    ]
    + [
        f"{{0}}|{name}"
        for name in ("int(0, 16)", "int(0, 36)", "map('upper')", "select('odd')", "batch(9)", "slice(9)")
    ]
    + [f"{{0}}.{name}({{1}})" for name in ("count", "find", "endswith", "split", "strip", "get")]
    + [f"{{0}}.{name}()" for name in ("isdigit", "title", "items", "splitlines", "lower", "values")]
    + ["{0} is odd", "{0} is upper", "{0} is in({1})", "-{0}", "{0}[1:]", "{0}[::-1]", "[{0}, {1}]", "{{'a': {0}}}"]
)
expressions = st.recursive(
    st.sampled_from(sorted(LARGE)) | st.just("3"),
    lambda inner: st.builds(str.format, st.sampled_from(OPERATIONS), inner, inner),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(expression=expressions, rounds=st.sampled_from([1, 50, 1_000, 100_000]))
@example(expression="letters|int(0, 16) // 3", rounds=100_000)
@example(expression="tags|striptags", rounds=50)
@example(expression="comments|striptags", rounds=50)
@example(expression="directives|format(3)", rounds=50)
@example(expression="directives % null", rounds=50)
@example(expression="digits.isdigit()", rounds=100_000)
@example(expression="text.count('a')", rounds=100_000)
@example(expression="(largest * largest) // 3", rounds=100_000)
def test_no_template_computes_for_long_whatever_it_does_how_often(expression: str, rounds: int) -> None:
    source = f"{{% for round in range({rounds}) %}}{{% if ({expression}) %}}x{{% endif %}}{{% endfor %}}"
    began = thread_time()
    with suppress(BadTemplate):
        rendered(source, LARGE, html=False)
    assert thread_time() - began < 10  # (about 1 at most, on an idle machine)


@settings(max_examples=150, deadline=None)
@given(expression=expressions)
def test_nothing_shows_where_an_object_lies_in_memory(expression: str) -> None:
    for shown in (f"({expression})", f"({expression})|string", f"[{expression}]|join", f"'%s' % ({expression})"):
        try:
            said = rendered(f"{{{{ {shown} }}}}", LARGE, html=False)
        except BadTemplate as error:
            said = str(error)
        assert " at 0x" not in said


def test_a_rendering_ends_when_its_time_is_over_however_little_work_it_has_counted() -> None:
    channels = {"sms": {"en": {"body": "{% for n in range(9000) %}{{ n }}{% endfor %}"}}}
    version = TemplateVersion(version=1, template=template_of(channels), at="2026-01-01T00:00:00Z")
    for step_s, is_shown in ((LONGEST_S / 10_000, True), (LONGEST_S / 2, False)):
        shown = render(compile_template(version), "sms", "en", {}, seconds=partial(next, count(step_s, step_s)))
        assert isinstance(shown, dict) == is_shown
        if isinstance(shown, RenderError):
            assert shown.message == "takes too long"


def test_numbers_of_data_can_be_multiplied_and_compound_interest_computed() -> None:
    assert body("{{ a * a }} {{ (1.05 ** 30)|round(2) }} {{ 2 ** -1 }}", a=2**63) == f"{2**126} 4.32 0.5"
