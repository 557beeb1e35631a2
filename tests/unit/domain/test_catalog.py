"""What is in force from the start: a policy and templates that fit together."""

from typing import Any

import msgspec
import pytest

from app.domain.catalog import Catalog, default_catalog
from app.domain.rendering import check_syntax, compile_template, render, variables_of
from schemas.config import TemplateVersion

CATALOG = default_catalog()

#: The least data that each default template needs.
DATA: dict[str, dict[str, Any]] = {
    "otp": {"code": "123456"},
    "new_device": {"device": "a phone"},
    "order_placed": {"order_id": 1},
    "order_shipped": {"order_id": 1},
    "order_delivered": {"order_id": 1},
    "payment_failed": {"order_id": 1},
    "flight_delayed": {"flight": "UA 1545", "origin": "EWR", "destination": "IAH", "delay_minutes": 40},
    "flight_cancelled": {"flight": "UA 1545", "origin": "EWR", "destination": "IAH"},
    "flight_departed": {"flight": "UA 1545", "origin": "EWR", "destination": "IAH"},
    "comment_created": {"author": "Ann"},
    "follow_created": {"follower": "Ann"},
    "news": {"title": "News", "body": "Something happened"},
}
ITEMS = [
    {"notification_id": str(n), "event_type": "comment.created", "at": "", "data": {"author": "Ann"}} for n in "ab"
]


@pytest.mark.parametrize("name", sorted(CATALOG.templates))
def test_each_default_template_shows_every_channel_with_the_least_data(name: str) -> None:
    version = CATALOG.templates[name]
    assert check_syntax(version.template) == []
    variables = variables_of(DATA.get(name, {}), {}, ITEMS if name.endswith("summary") else None)
    for channel in CATALOG.channels_of_template(name):
        parts = render(compile_template(version), channel, "en-GB", variables)
        assert isinstance(parts, dict), parts
        assert all("{" not in text for text in parts.values())


def test_every_default_event_type_has_a_template_with_its_channels() -> None:
    policy = CATALOG.policy
    for rule in [*policy.exact.values(), *(rule for _, rule in policy.patterns)]:
        assert rule.template is not None
        channels = set(rule.channels) | set(rule.fallback.steps if rule.fallback else ())
        assert channels <= CATALOG.channels_of_template(rule.template), rule.name
        if rule.digest is not None:
            assert rule.digest.channels & set(rule.channels) <= CATALOG.channels_of_template(rule.digest.template)


def test_every_default_template_is_used() -> None:
    policy = CATALOG.policy
    rules = [*policy.exact.values(), *(rule for _, rule in policy.patterns)]
    used = {rule.template for rule in rules} | {rule.digest.template for rule in rules if rule.digest}
    assert used == set(CATALOG.templates)


@pytest.mark.parametrize(
    ("event_type", "category", "priority", "channels"),
    [
        ("login.otp", "security", "critical", ("push", "sms", "email")),
        ("flight.delayed", "travel", "normal", ("push", "email", "in_app")),
        ("flight.departed", "travel", "normal", ("push", "email", "in_app")),
        ("flight.cancelled", "travel", "high", ("push", "sms", "email", "in_app")),
        ("anything.else", "other", "normal", ("in_app",)),
    ],
)
def test_the_default_policy_speaks_of(event_type: str, category: str, priority: str, channels: tuple[str, ...]) -> None:
    rule = CATALOG.policy.rule_of(event_type)
    assert (rule.category.name, rule.priority, rule.channels) == (category, priority, channels)


def test_a_deleted_or_unknown_template_is_none() -> None:
    gone = msgspec.structs.replace(CATALOG.templates["otp"], deleted=True)
    catalog = Catalog(CATALOG.policy, 1, {"otp": gone})
    assert catalog.template("otp") is None
    assert catalog.template("never") is None
    assert catalog.channels_of_template("otp") == frozenset()


def test_a_templates_channels_are_those_of_its_variants_too() -> None:
    version = msgspec.convert(
        {
            "version": 1,
            "at": "2026-01-01T00:00:00Z",
            "template": {
                "id": "t",
                "channels": {"sms": {"en": {"body": "x"}}},
                "variants": [{"name": "b", "weight": 1, "channels": {"push": {"en": {"title": "x", "body": "x"}}}}],
            },
            "kind": "template",
        },
        TemplateVersion,
    )
    assert Catalog(CATALOG.policy, 1, {"t": version}).channels_of_template("t") == {"sms", "push"}
