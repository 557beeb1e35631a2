"""What a policy changes in another: what it means, not how it is written."""

from msgspec import UNSET

from app.defaults import default_policy_text
from app.domain.policy import differences, parse_policy, policy_schema

BASE = """
categories:
  orders: {channels: [push, email]}
  social: {channels: [push], digest: daily}
  other: {channels: [in_app]}
digests:
  daily: {window: 10m, template: summary}
caps:
  - {name: day, limit: 50, window: 24h}
  - {name: hour, limit: 10, window: 1h}
event_types:
  order.shipped: {category: orders}
  order.*: {category: orders, channels: [sms]}
  comment: {category: social}
"""


def changes(new: str, old: str = BASE) -> list[tuple[str, str, object, object]]:
    return [(d.rule, d.key, d.old, d.new) for d in differences(parse_policy(old), parse_policy(new))]


def test_other_spellings_and_written_out_defaults_are_no_difference() -> None:
    same = BASE.replace("24h", "1d").replace("window: 10m", "window: 600s, max_wait: 24h, min_items: 2")
    same = same.replace("{category: social}", "{category: social, priority: normal}")
    same += "timezone: UTC\ndefaults: {expires_after: 2d, dedup: {keys: 168h}}\n"
    same += "providers: {email: {order: [ses, sendgrid]}}\n"
    assert changes(same) == []


def test_a_changed_value_is_told_with_its_path_old_and_new() -> None:
    assert changes(BASE.replace("limit: 10,", "limit: 20,").replace("window: 24h", "window: 12h")) == [
        ("caps.day", "window", "1d", "12h"),
        ("caps.hour", "limit", 10, 20),
    ]


def test_an_event_type_that_follows_its_category_is_not_named_for_it() -> None:
    new = BASE.replace("orders: {channels: [push, email]}", "orders: {channels: [push]}")
    assert changes(new) == [("categories.orders", "channels", ["push", "email"], ["push"])]
    assert changes(BASE + "defaults: {expires_after: 1h}") == [("defaults", "expires_after", "2d", "1h")]
    assert changes(BASE.replace("digest: daily}", "}")) == [("categories.social", "digest", "daily", None)]


def test_an_event_type_that_leaves_its_category_is_named() -> None:
    new = BASE.replace("order.shipped: {category: orders}", "order.shipped: {category: orders, channels: [email]}")
    assert changes(new) == [("event_types.order.shipped", "channels", ["push", "email"], ["email"])]


def test_rules_that_come_and_go_are_told_as_such() -> None:
    new = BASE.replace("  - {name: hour, limit: 10, window: 1h}", "  - {name: week, limit: 70, window: 7d}")
    found = differences(parse_policy(BASE), parse_policy(new))
    assert {(d.rule, d.rule_is) for d in found} == {
        ("caps", "changed"),
        ("caps.hour", "gone"),
        ("caps.week", "new"),
    }
    assert all(d.old is UNSET for d in found if d.rule_is == "new")
    assert all(d.new is UNSET for d in found if d.rule_is == "gone")


def test_the_order_of_the_caps_counts_as_they_are_judged_in_it() -> None:
    lines = BASE.splitlines()
    at = next(n for n, line in enumerate(lines) if "name: day" in line)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    assert changes("\n".join(lines)) == [("caps", "order", ["day", "hour"], ["hour", "day"])]


def test_no_section_is_left_out() -> None:
    old = parse_policy(default_policy_text())
    new = parse_policy(
        "timezone: Europe/London\n"
        "defaults: {expires_after: 1h}\n"
        "critical: {sources: [auth]}\n"
        "failover: {email: {after: 30s}}\n"
        "providers: {email: {limits: {ses: 9/s}}}\n"
        "retries: {push: {attempts: 2}}\n"
        "sms: {low: false}\n"
        "devices: {stale_after: 1d}\n"
        "inbox: {keep: 1d}\n"
    )
    changed = {difference.rule.partition(".")[0] for difference in differences(old, new)}
    assert changed == policy_schema()["properties"].keys()


def test_every_section_has_its_differences() -> None:
    old = default_policy_text()
    new = (
        old.replace("timezone: UTC", "timezone: Europe/London")
        .replace('start: "22:00"', 'start: "21:00", days: [mon]')
        .replace("max_wait: 24h, template: social", "max_wait: 12h, template: social")
        .replace("order: [ses, sendgrid]", "order: [ses, sendgrid], limits: {ses: 200/s}")
        .replace("attempts: 4", "attempts: 3")
        .replace("security: resend", "orders: resend")
        .replace("low: 6h", "low: 5h, normal: 1d")
        .replace("wait: 2m", "wait: 3m")
        + "\ncritical: {sources: [auth]}\n"
    )
    assert [(rule, key) for rule, key, _, _ in changes(new, old)] == [
        ("timezone", "timezone"),
        ("defaults", "quiet_hours"),
        ("critical", "sources"),
        ("digests.social_summary", "max_wait"),
        ("event_types.payment.failed", "fallback"),
        ("providers.email", "limits"),
        ("retries.sms", "attempts"),
        ("in_doubt", "security"),
        ("in_doubt", "orders"),
        ("shed", "low"),
        ("shed", "normal"),
    ]
