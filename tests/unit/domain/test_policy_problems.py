"""What an author of a policy is told: everything at once, each with its line, its path and a way to mend it."""

from typing import Any

import pytest

from app.domain.policy import PolicyError, Problem, parse_policy
from app.domain.policy.document import NotYaml, read_document

MANY = """\
timezone: Europe/Lundun
categories:
  orders: {channels: [puhs], opt_out: 5}
  social: {digest: dialy}
caps:
  - {name: a, limit: 0, window: 1h}
  - {name: b, limit: 1, window: 1h, category: ordrs, over: {digest: dialy}}
  - 5
digests:
  daily: {window: 10m}
event_types:
  x: {category: soccial, priority: hihg}
  y: {digest: {windw: 1m, template: t}, category: none}
retries: {push: {base: 2m, cap: 1m}}
in_doubt: {settle: 999d, secority: resend}
"""


def problems_of(text: str, templates: frozenset[str] | None = None) -> list[Problem]:
    with pytest.raises(PolicyError) as refused:
        parse_policy(text, templates=templates)
    return refused.value.problems


def test_wrong_shapes_hide_no_wrong_names() -> None:
    assert [(p.line, p.path) for p in problems_of(MANY)] == [
        (1, "timezone"),
        (3, "categories.orders.channels[0]"),
        (3, "categories.orders.opt_out"),
        (4, "categories.social.digest"),
        (6, "caps[0].limit"),
        (7, "caps[1].category"),
        (7, "caps[1].over.digest"),
        (8, "caps[2]"),
        (10, "digests.daily"),
        (12, "event_types.x.priority"),
        (12, "event_types.x.category"),
        (13, "event_types.y.digest.windw"),
        (13, "event_types.y.digest"),
        (13, "event_types.y.category"),
        (14, "retries.push"),
        (15, "in_doubt.secority"),
        (15, "in_doubt.settle"),
    ]


def test_of_a_section_that_is_misspelt_nothing_else_is_said() -> None:
    problems = problems_of("catgories: {a: {}}\nevent_types: {x: {category: a}}\ndefaults: {category: a}")
    assert [(p.path, p.remedy) for p in problems] == [("catgories", "did you mean categories?")]


def test_an_entry_that_cannot_be_read_is_still_there_for_those_who_name_it() -> None:
    problems = problems_of(
        "digests: {daily: 5, weekly: {window: 1h}}\ncategories: {a: {digest: daily}, b: {digest: weekly}}"
    )
    assert [p.path for p in problems] == ["digests.daily", "digests.weekly"]


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("digests: {daily: {window: 1m, template: t}}\ncategories: {a: {digest: dialy}}", "daily"),
        ("categories: {orders: {}}\nevent_types: {x: {category: order}}", "orders"),
        ("categories: {orders: {}}\ncaps: [{name: c, limit: 1, window: 1h, category: oders}]", "orders"),
        ("categories: {orders: {}}\ndefaults: {category: ordres}", "orders"),
        ("categories: {orders: {}}\nin_doubt: {ordres: resend}", "orders"),
        ("categories: {a: {channels: [emial]}}", "email"),
        ("providers: {sms: {order: [twillio]}}", "twilio"),
        ("timezone: Europe/Lundun", "Europe/London"),
        ("event_types: {x: {template: shiped}}", "shipped"),
    ],
)
def test_a_name_that_is_not_there_is_guessed(text: str, guess: str) -> None:
    (problem,) = problems_of(text, templates=frozenset(("shipped", "t")))
    assert problem.remedy.startswith(f"did you mean {guess}?")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("defaults: {expires_after: 367d}", "defaults.expires_after"),
        ("defaults: {dedup: {content: 9000h}}", "defaults.dedup.content"),
        ("defaults: {quiet_hours: {start: '22:00', end: '08:00', spread: 13h}}", "defaults.quiet_hours.spread"),
        ("caps: [{name: a, limit: 1, window: 999999d}]", "caps[0].window"),
        ("in_doubt: {settle: 400d}", "in_doubt.settle"),
        ("shed: {low: 0}", "shed.low"),
        ("retries: {push: {base: 0s}}", "retries.push.base"),
        ("event_types: {a: {fallback: {chain: [push], wait: 0m}}}", "event_types.a.fallback.wait"),
        ("caps: [{name: a, limit: -3, window: 1h}]", "caps[0].limit"),
        ("caps: [{name: a, limit: 10001, window: 1h}]", "caps[0].limit"),
        ("caps: [{name: a, limit: 1.5, window: 1h}]", "caps[0].limit"),
        ("caps: [{name: a, limit: true, window: 1h}]", "caps[0].limit"),
        ("retries: {push: {attempts: 101}}", "retries.push.attempts"),
        ("defaults: {expires_after: -1h}", "defaults.expires_after"),
        ("providers: {email: {limits: {ses: 0/s}}}", "providers.email.limits.ses"),
        ("providers: {email: {limits: {ses: -1/s}}}", "providers.email.limits.ses"),
    ],
)
def test_times_and_numbers_are_neither_nothing_nor_absurd(text: str, path: str) -> None:
    assert [p.path for p in problems_of(text)] == [path]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("event_types: {x: {digest: {window: 5m}}}", "event_types.x.digest: lacks template; add template"),
        ("event_types: {x: {digest: a b}}", 'event_types.x.digest: is "a b"; write letters, digits'),
        ("event_types: {x: {digest: [a]}}", 'event_types.x.digest: is ["a"]; write a digest\'s name, or a digest of'),
        ("caps: [{name: a, limit: 1, window: 1h, over: {}}]", "caps[0].over: lacks digest; add digest"),
        (
            "caps: [{name: a, limit: 1, window: 1h, over: drop}]",
            'caps[0].over: is "drop"; write what happens without a place, such as suppress, defer or {digest: NAME}',
        ),
        (
            "defaults: {quiet_hours: {start: '22:00'}}",
            "defaults.quiet_hours: has start and lacks end; give both or neither",
        ),
        ("digests: {d: {template: t}}", "digests.d: lacks window or every; add window or every"),
        ("digests: {d: {template: t, window: 1m, at: '09:00'}}", "digests.d: has at and lacks every; give both"),
        (
            "digests: {d: {template: t, every: day, on: mon}}",
            "digests.d.on: is for every: week; leave it out, or write every: week",
        ),
        (
            "categories: {alerts: {opt_out: never, unsubscribe: one_click}}",
            "categories.alerts.unsubscribe: is combined with opt_out: never, so unsubscribing would have no effect; "
            "leave out one of the two",
        ),
        (
            "providers: {email: {warm_up: {ses: {start: 50/d, double_every: 1d, since: 2026-02-30}}}}",
            "providers.email.warm_up.ses.since: is 2026-02-30, which isn't a date; write one such as 2026-12-01",
        ),
        (
            "providers: {email: {order: [ses], warm_up: {sendgrid: {start: 5/d, double_every: 1d, since: 2026-02-01}}}"
            "}",
            "providers.email.warm_up.sendgrid: sendgrid isn't in the order; add it there, or leave out its plan",
        ),
        ("event_types: {a.*.b: {}}", "event_types.a.*.b: is not a name; use letters, digits, dots, dashes and"),
    ],
)
def test_a_problem_names_what_was_meant_and_how_to_mend_it(text: str, said: str) -> None:
    assert [str(problem)[: len(f"line 1: {said}")] for problem in problems_of(text)] == [f"line 1: {said}"]


def test_what_an_earlier_version_took_stays_in_force() -> None:
    text = "categories: {alerts: {opt_out: never, unsubscribe: one_click}}"
    assert not parse_policy(text, stored=True).categories["alerts"].needs_unsubscribe


def test_whole_numbers_are_whole_however_they_are_written() -> None:
    policy = parse_policy(
        "caps: [{name: a, limit: 1.0, window: 1h}]\nin_doubt: {settle: 0.0}\nretries: {push: {attempts: 2.0}}"
    )
    assert [type(n) for n in (policy.caps[0].limit, policy.retries["push"].attempts)] == [int, int]
    assert policy.in_doubt.settle_ms == 0


def test_a_key_that_comes_twice_in_json_is_refused() -> None:
    text = '{\n\t"timezone": "UTC",\n\t"caps": [],\n\t"timezone": "Europe/London"\n}'
    assert [(p.path, p.message) for p in problems_of(text)] == [("timezone", "is there twice")]


@pytest.mark.parametrize("text", ["a: !!int abc", "a: !!float x", "caps:\n- !!int 0x"])
def test_a_tag_that_its_value_does_not_fit_is_refused(text: str) -> None:
    (problem,) = problems_of(text)
    assert problem.remedy == "leave out the tag"


def test_merge_keys_are_named_as_what_they_are() -> None:
    (problem,) = problems_of("categories:\n  a: &a {channels: [push]}\n  b: {<<: *a}")
    assert (problem.line, problem.path) == (3, "categories.b.<<")
    assert "merge key" in problem.message


def test_an_anchor_may_be_named_again() -> None:
    policy = parse_policy("categories: {a: {channels: &both [push, email]}, b: {channels: *both}}")
    assert policy.categories["a"].channels == policy.categories["b"].channels == ("push", "email")


def test_what_cannot_be_read_at_all_is_told_from_what_is_refused() -> None:
    with pytest.raises(NotYaml):
        read_document("categories: [")
    with pytest.raises(PolicyError) as refused:
        read_document("a: 1\na: 2")
    assert not isinstance(refused.value, NotYaml)


@pytest.mark.parametrize(
    "document",
    [
        {"defaults": {"expires_after": "10m\n"}},
        {"categories": {"a\n": {}}},
        {"event_types": {"x": {"category": "other\n"}}},
        {"providers": {"email": {"limits": {"ses": "1/s\n"}}}},
    ],
)
def test_a_newline_at_the_end_is_part_of_no_name_and_no_number(document: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse_policy(document)
