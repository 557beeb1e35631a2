"""The policy: read with its lines, strict, every reference resolved, every section with a default."""

import pytest
from jsonschema import Draft202012Validator

from app.defaults import default_policy_text, default_templates
from app.domain.policy import PolicyError, Problem, parse_policy, policy_schema
from app.domain.policy.document import read_document

BASE = """\
categories:
  orders: {channels: [push, email, in_app]}
  social: {channels: [push], digest: daily}
digests:
  daily: {window: 10m, template: daily}
"""


EVERYTHING = """\
timezone: UTC
defaults:
  category: other
  dedup: {keys: 7d, content: 10m}
  expires_after: 48h
  quiet_hours: {start: "22:00", end: "08:00", days: [mon, sun], channels: [push, sms], spread: 1m}
  channels: {sms: {verified: true}, email: {verified: false}}
critical: {sources: ["auth"]}
categories:
  security:  {opt_out: never, critical: true, channels: [push, sms, email], verified: {sms: false}}
  orders:    {channels: [push, email, in_app]}
  social:    {channels: [push, in_app], default: {email: false}, digest: social_daily}
  marketing: {channels: [email, push], consent: [sms], unsubscribe: one_click, holdout: 2.5%, target: 1h,
              failover: {sms: {no_receipt: 60s}, email: {after: 0}}}
  other:     {channels: [in_app]}
caps:
  - {name: user-day, limit: 50, window: 24h}
  - {name: marketing-week, category: marketing, limit: 3, window: 7d, over: defer}
  - {name: push-hour, channel: push, limit: 10, window: 1h, over: {digest: social_daily}}
digests:
  social_daily: {window: 10m, max_wait: 24h, max_items: 100, min_items: 2, template: summary, channels: [push, email]}
  morning: {every: week, at: "07:30", on: sat, template: summary, first: send, drop_when_active: true}
event_types:
  login.otp:       {category: security, priority: critical, expires_after: 5m, template: otp}
  order.*:         {category: orders, priority: high, template: order_shipped, channels: [push]}
  comment.created:
    category: social
    digest: {key: data.thread_id, window: 5m, max_wait: 30m, max_items: 50, min_items: 2, template: comments}
  payment.failed:  {category: orders, fallback: {chain: [push, sms, email], wait: 2m, until: [delivered, opened]}}
providers:
  push:  {order: [apns, fcm, webpush]}
  email: {order: [ses, sendgrid], limits: {ses: 200/s}}
  sms:   {order: [twilio, vonage, sns]}
retries: {push: {attempts: 5, base: 1s, cap: 60s}, email: {attempts: 6, base: 5s, cap: 15m}}
in_doubt: {settle: 5m, security: resend, default: give_up}
shed: {low: 6h}
failover: {email: {after: 30s}}
devices: {stale_after: 270d}
"""


def problems_of(text: str, templates: frozenset[str] | None = None) -> list[Problem]:
    with pytest.raises(PolicyError) as refused:
        parse_policy(text, templates=templates)
    return refused.value.problems


def fits_schema(text: str) -> bool:
    return Draft202012Validator(policy_schema()).is_valid(read_document(text).root)


#: A document, and the line and path of what is wrong with it.
MISSHAPEN = {
    "unknown_section": ("catgories: {}", 1, "catgories"),
    "unknown_key_in_category": ("categories:\n  a:\n    chanels: [push]", 3, "categories.a.chanels"),
    "unknown_channel": ("categories:\n  a: {channels: [push, fax]}", 2, "categories.a.channels[1]"),
    "channel_twice": ("categories:\n  a: {channels: [push, push]}", 2, "categories.a.channels"),
    "unknown_provider": ("providers:\n  push: {order: [apns, ses]}", 2, "providers.push.order[1]"),
    "unknown_day": ("defaults: {quiet_hours: {start: '22:00', end: '08:00', days: [monday]}}", 1, None),
    "start_without_end": ("defaults: {quiet_hours: {start: '22:00'}}", 1, "defaults.quiet_hours"),
    "time_of_25_hours": ("defaults: {quiet_hours: {start: '25:00', end: '08:00'}}", 1, "defaults.quiet_hours.start"),
    "duration_without_unit": ("defaults: {expires_after: '48'}", 1, "defaults.expires_after"),
    "duration_as_number": ("defaults:\n  expires_after: 48", 2, "defaults.expires_after"),
    "opt_out_of_another_word": ("categories:\n  a: {opt_out: sometimes}", 2, "categories.a.opt_out"),
    "yes_is_no_boolean": ("categories:\n  a: {critical: yes}", 2, "categories.a.critical"),
    "holdout_without_percent": ("categories:\n  a: {holdout: 5}", 2, "categories.a.holdout"),
    "holdout_above_all": ("categories:\n  a: {holdout: 101%}", 2, "categories.a.holdout"),
    "failover_of_push": ("categories:\n  a: {failover: {push: {after: 1m}}}", 2, "categories.a.failover.push"),
    "failover_of_another_word": ("failover: {sms: {no_receipt: 1m}}", 1, "failover.sms.no_receipt"),
    "sms_cut_at_no_length": ("sms: {over: truncate}", 1, "sms"),
    "devices_of_another_word": ("devices: {stale: 1d}", 1, "devices.stale"),
    "critical_shed": ("shed: {critical: 1h}", 1, "shed.critical"),
    "cap_without_limit": ("caps:\n  - {name: a, window: 1h}", 2, "caps[0]"),
    "cap_of_nothing": ("caps:\n  - {name: a, window: 1h, limit: 0}", 2, "caps[0].limit"),
    "over_of_another_word": ("caps:\n  - {name: a, window: 1h, limit: 1, over: drop}", 2, "caps[0].over"),
    "digest_without_template": ("digests:\n  a: {window: 1h}", 2, "digests.a"),
    "digest_that_never_closes": ("digests:\n  a: {template: t}", 2, "digests.a"),
    "digest_key_outside_data": ("digests:\n  a: {template: t, window: 1h, key: user.id}", 2, "digests.a.key"),
    "digest_at_without_every": ("digests:\n  a: {template: t, window: 1h, at: '09:00'}", 2, "digests.a"),
    "fallback_without_wait": ("event_types:\n  a: {fallback: {chain: [push]}}", 2, "event_types.a.fallback"),
    "fallback_until_failed": (
        "event_types:\n  a: {fallback: {chain: [push], wait: 1m, until: [failed]}}",
        2,
        "event_types.a.fallback.until[0]",
    ),
    "star_in_the_middle": ("event_types:\n  a.*.b: {}", 2, "event_types.a.*.b"),
    "rate_without_unit": ("providers:\n  email: {limits: {ses: 200}}", 2, "providers.email.limits.ses"),
    "category_with_a_reserved_name": ("categories:\n  settle: {channels: []}", None, None),
    "a_list": ("- 1", 1, ""),
    "a_blank_section": ("caps:\n", 1, "caps"),
}


@pytest.mark.parametrize("name", MISSHAPEN)
def test_a_misshapen_policy_is_refused_with_line_and_path_by_parser_and_schema(name: str) -> None:
    text, line, path = MISSHAPEN[name]
    (problem,) = problems_of(text)
    assert not fits_schema(text)
    assert problem.remedy
    assert line is None or problem.line == line
    assert path is None or problem.path == path


#: Well-shaped documents that name what isn't there, or contradict themselves.
REFUSED = {
    "category_of_event_type": ("event_types:\n  a: {category: none}", 2, "event_types.a.category"),
    "category_of_cap": ("caps:\n  - {name: a, limit: 1, window: 1h, category: none}", 2, "caps[0].category"),
    "digest_of_cap": ("caps:\n  - {name: a, limit: 1, window: 1h, over: {digest: none}}", 2, "caps[0].over.digest"),
    "digest_of_category": ("categories:\n  a: {digest: none}", 2, "categories.a.digest"),
    "digest_of_event_type": ("event_types:\n  a: {digest: none}", 2, "event_types.a.digest"),
    "default_category": ("defaults: {category: none}", 1, "defaults.category"),
    "category_in_doubt": ("in_doubt: {none: resend}", 1, "in_doubt.none"),
    "limit_of_a_provider_out_of_order": ("providers: {email: {order: [ses], limits: {sendgrid: 1/s}}}", 1, None),
    "start_equal_to_end": ("defaults: {quiet_hours: {start: '22:00', end: '22:00'}}", 1, "defaults.quiet_hours.end"),
    "unknown_zone": ("timezone: Europe/Lundun", 1, "timezone"),
    "zone_as_a_path": ("timezone: ../../etc/passwd", 1, "timezone"),
    "cap_twice": (
        "caps:\n  - {name: a, limit: 1, window: 1h}\n  - {name: a, limit: 2, window: 1h}",
        3,
        "caps[1].name",
    ),
    "cap_without_window": ("caps:\n  - {name: a, limit: 1, window: 0}", 2, "caps[0].window"),
    "dedup_of_no_time": ("defaults: {dedup: {keys: 0s}}", 1, "defaults.dedup.keys"),
    "more_min_than_max_items": ("digests:\n  a: {window: 1h, template: t, min_items: 5, max_items: 4}", 2, None),
    "target_of_no_time": ("categories:\n  a: {target: 0}", 2, "categories.a.target"),
    "no_receipt_at_once": (
        "categories:\n  a: {failover: {sms: {no_receipt: 0}}}",
        2,
        "categories.a.failover.sms.no_receipt",
    ),
    "devices_stale_at_once": ("devices: {stale_after: 0}", 1, "devices.stale_after"),
    "retries_cap_below_base": ("retries: {push: {base: 2m, cap: 1m}}", 1, "retries.push"),
    "own_digest_named_as_a_digest": (
        "digests: {a: {window: 1m, template: t}}\nevent_types:\n  a: {digest: {window: 1m, template: t}}",
        3,
        "event_types.a.digest",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_policy_names_must_exist_and_agree(name: str) -> None:
    text, line, path = REFUSED[name]
    (problem,) = problems_of(text)
    assert fits_schema(text)
    assert problem.line == line
    assert problem.remedy
    assert path is None or problem.path == path


def test_an_unknown_template_is_refused_where_templates_are_known() -> None:
    parse_policy(BASE)
    parse_policy(BASE, templates=frozenset(("daily",)))
    (problem,) = problems_of(BASE, templates=frozenset(("other",)))
    assert (problem.line, problem.path) == (5, "digests.daily.template")


def test_all_problems_are_told_at_once_in_the_order_of_the_lines() -> None:
    problems = problems_of("timezone: 5\nshed: {critical: 1h}\ncaps:\n  - {name: x}\n")
    assert [problem.line for problem in problems] == [1, 2, 4]


def test_an_unknown_key_close_to_a_known_one_is_guessed() -> None:
    (problem,) = problems_of("categories:\n  a: {chanels: [push]}")
    assert problem.remedy == "did you mean channels?"


def test_a_key_that_comes_twice_is_refused() -> None:
    (problem,) = problems_of("timezone: UTC\ntimezone: Europe/London")
    assert (problem.line, problem.path) == (2, "timezone")


@pytest.mark.parametrize(
    "text", ["a: [", "\ta: 1\n b", "a: &x {b: *x}", "[" * 3000, "a: \x00", "a: &a [" + "1," * 20 + "]\nb: *undefined"]
)
def test_what_is_no_yaml_is_refused(text: str) -> None:
    assert problems_of(text)


def test_aliases_cannot_make_a_small_text_large() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 9)]
    (problem,) = problems_of("\n".join(lines))
    assert "more than" in problem.message


def test_times_without_quotes_and_words_of_yaml_1_1_are_texts() -> None:
    root = read_document("{start: 22:00, on: mon, off: no, octal: 010, half: 1.5, none: ~, yes: true}").root
    assert root == {"start": "22:00", "on": "mon", "off": "no", "octal": 10, "half": 1.5, "none": None, "yes": True}


def test_json_is_read_as_well_even_with_tabs() -> None:
    text = '{\n\t"timezone": "Europe/London",\n\t"caps": [{"name": "a", "limit": 1, "window": "1h"}]\n}'
    assert parse_policy(text) == parse_policy(
        {"timezone": "Europe/London", "caps": [{"name": "a", "limit": 1, "window": "1h"}]}
    )


def test_every_section_may_be_left_out() -> None:
    policy = parse_policy("")
    assert policy == parse_policy({})
    assert policy.rule_of("anything").category.name == "other"
    assert policy.rule_of("anything").channels == ("in_app",)
    assert policy.quiet_hours is None
    assert policy.quiet_channels == {"push", "sms"}
    assert policy.timezone == "UTC"
    assert policy.may_be_critical("whoever")
    assert policy.shed_ms("low") is None
    assert (policy.dedup_keys_ms, policy.dedup_content_ms) == (7 * 86_400_000, 600_000)


def test_an_exact_name_beats_a_pattern_and_of_patterns_the_longest_wins() -> None:
    policy = parse_policy(
        """
        event_types:
          "*": {priority: low}
          comment.*: {priority: normal, template: short}
          comment.reply.*: {priority: high, template: long}
          comment.reply.own: {template: exact}
        """
    )
    assert policy.rule_of("comment.reply.own").template == "exact"
    assert policy.rule_of("comment.reply.other").template == "long"
    assert policy.rule_of("comment.created").template == "short"
    assert policy.rule_of("comment").name == "*"
    assert policy.rule_of("commentary").name == "*"


def test_unknown_event_types_are_of_the_default_category() -> None:
    policy = parse_policy(BASE + "defaults: {category: orders}")
    rule = policy.rule_of("never.heard.of")
    assert (rule.name, rule.category.name, rule.channels) == ("", "orders", ("push", "email", "in_app"))


def test_rules_of_made_up_event_types_are_not_kept_for_ever() -> None:
    policy = parse_policy(BASE)
    for number in range(10_050):
        policy.rule_of(f"made.up.{number}")
    assert len(policy._rules) <= 10_000


def test_channels_and_expiry_are_the_event_types_else_the_categorys_and_the_defaults() -> None:
    policy = parse_policy(
        BASE
        + """
defaults: {expires_after: 1h}
event_types:
  order.shipped: {category: orders}
  order.lost: {category: orders, channels: [sms], expires_after: 2d, priority: high}
"""
    )
    shipped, lost = policy.rule_of("order.shipped"), policy.rule_of("order.lost")
    assert (shipped.channels, shipped.expires_after_ms, shipped.priority) == (
        ("push", "email", "in_app"),
        3_600_000,
        "normal",
    )
    assert (lost.channels, lost.expires_after_ms, lost.priority) == (("sms",), 2 * 86_400_000, "high")


def test_an_event_type_with_a_fallback_is_not_digested() -> None:
    policy = parse_policy(
        BASE
        + """
event_types:
  chained: {category: social, fallback: {chain: [push, sms], wait: 2m}}
  plain: {category: social}
"""
    )
    assert policy.rule_of("chained").digest is None
    assert not policy.rule_of("chained").digestible
    assert policy.rule_of("chained").fallback is not None
    plain = policy.rule_of("plain").digest
    assert plain is not None
    assert plain.name == "daily"


def test_a_digest_has_the_contracts_defaults() -> None:
    rule = parse_policy(BASE).digests["daily"]
    assert (rule.max_wait_ms, rule.max_items, rule.min_items) == (86_400_000, 100, 2)
    assert rule.channels == {"push", "email", "sms"}


def test_critical_is_for_the_sources_named_and_lowered_to_high_for_others() -> None:
    policy = parse_policy(
        "critical: {sources: [auth]}\n"
        "categories: {vital: {critical: true}, other: {}}\n"
        "event_types: {otp: {priority: critical}, alarm: {category: vital}}"
    )
    otp, alarm, plain = (policy.rule_of(name) for name in ("otp", "alarm", "plain"))
    assert policy.priority_of(otp, None, "auth") == "critical"
    assert policy.priority_of(otp, None, "shop") == "high"
    assert policy.priority_of(plain, "critical", "auth") == "critical"
    assert policy.priority_of(plain, "critical", "shop") == "high"
    assert policy.priority_of(otp, "low", "auth") == "low"
    assert policy.priority_of(alarm, "low", "shop") == "critical"


def test_verified_addresses_are_the_categorys_word_else_the_defaults() -> None:
    policy = parse_policy(
        "defaults: {channels: {email: {verified: true}}}\ncategories: {a: {verified: {sms: false}}, b: {}}"
    )
    a, b = policy.categories["a"], policy.categories["b"]
    assert (policy.verified_required(a, "sms"), policy.verified_required(b, "sms")) == (False, True)
    assert (policy.verified_required(a, "email"), policy.verified_required(a, "push")) == (True, False)


def test_caps_of_a_send_are_those_that_count_it_in_the_policys_order() -> None:
    policy = parse_policy(
        BASE
        + """
caps:
  - {name: social-day, category: social, limit: 1, window: 24h}
  - {name: push-hour, channel: push, limit: 1, window: 1h}
  - {name: all, limit: 1, window: 1h}
  - {name: inbox, channel: in_app, limit: 1, window: 1h}
"""
    )

    def names(category: str, channel: str) -> list[str]:
        return [cap.name for cap in policy.caps_of(category, channel)]  # type: ignore[arg-type]

    assert names("social", "push") == ["social-day", "push-hour", "all"]
    assert names("social", "email") == ["social-day", "all"]
    assert names("orders", "push") == ["push-hour", "all"]
    assert names("social", "in_app") == ["inbox"]


def test_providers_retries_in_doubt_and_shed_are_read() -> None:
    policy = parse_policy(
        BASE
        + """
providers: {email: {order: [sendgrid], limits: {sendgrid: 200/s}}}
retries: {push: {attempts: 2}}
in_doubt: {settle: 1m, orders: resend}
shed: {low: 6h}
"""
    )
    assert policy.providers["email"].order == ("sendgrid",)
    assert policy.providers["email"].limits["sendgrid"].count == 200
    assert policy.providers["sms"].order == ("twilio", "vonage", "sns")
    assert (policy.retries["push"].attempts, policy.retries["push"].base_ms) == (2, 1000)
    assert policy.in_doubt.settle_ms == 60_000
    assert (policy.in_doubt.then("orders"), policy.in_doubt.then("social")) == ("resend", "give_up")
    assert (policy.shed_ms("low"), policy.shed_ms("normal")) == (6 * 3_600_000, None)


def test_the_default_policy_fits_parser_and_schema_and_names_only_existing_templates() -> None:
    text = default_policy_text()
    assert fits_schema(text)
    parse_policy(text, templates=frozenset(default_templates()))


def test_every_key_that_a_policy_may_have_is_understood() -> None:
    assert fits_schema(EVERYTHING)
    policy = parse_policy(EVERYTHING)
    comment, payment, otp = (policy.rule_of(name) for name in ("comment.created", "payment.failed", "login.otp"))
    assert comment.digest is not None
    assert (comment.digest.name, comment.digest.key, comment.digest.min_items) == ("comment.created", ("thread_id",), 2)
    assert payment.fallback is not None
    assert (payment.fallback.steps, payment.fallback.wait_ms) == (("push", "sms", "email"), 120_000)
    assert payment.fallback.until == {"delivered", "opened"}
    assert policy.priority_of(otp, None, "anyone") == "critical"
    assert otp.expires_after_ms == 300_000
    assert not policy.verified_required(otp.category, "sms")
    assert [(cap.name, cap.over, cap.digest) for cap in policy.caps] == [
        ("user-day", "suppress", None),
        ("marketing-week", "defer", None),
        ("push-hour", "digest", "social_daily"),
    ]
    assert policy.quiet_hours is not None
    assert (policy.quiet_hours.start, policy.quiet_hours.end, policy.quiet_hours.spread_ms) == (1320, 480, 60_000)
    assert policy.categories["marketing"].unsubscribe == "one_click"
    assert policy.in_doubt.then("security") == "resend"
    assert policy.categories["marketing"].holdout == 250
    assert policy.no_receipt_ms("marketing", "sms") == 60_000
    assert policy.no_receipt_ms("orders", "sms") is None
    taken_over = [policy.takes_over_after_ms(name, "email") for name in ("marketing", "orders", "gone")]
    assert taken_over == [0, 30_000, 30_000]
    assert policy.stale_after_ms == 270 * 86_400_000


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(policy_schema())
