"""Preferences: the most specific entry that speaks of the channel decides; consent and DND have their own say."""

from itertools import product
from typing import Any

import msgspec
import pytest

from app.domain.merge import merge_patch
from app.domain.policy import Policy, parse_policy
from app.domain.preferences import (
    NO_PREFERENCES,
    Preferences,
    Refused,
    check_digest_choice,
    dnd_active,
    evaluate_consent,
    evaluate_preference,
    hours_in_force,
    parse_preferences,
    rhythm_in_force,
    unsubscribed,
)
from app.domain.preferences.form import patch_of
from schemas.decode import Invalid

EXAMPLE: dict[str, Any] = {
    "channels": {"sms": False},
    "categories": {"marketing": {"email": False}, "social": {"push": True, "email": False}},
    "event_types": {"comment.*": {"push": False}},
    "quiet_hours": {"enabled": True, "start": "22:00", "end": "07:30", "days": ["mon", "tue"]},
    "dnd": {"enabled": False, "until": None},
    "digest": {"social": {"every": "day", "at": "09:00"}},
}


def policy_of(default: bool | None = None, opt_out: str = "allowed") -> Policy:
    return parse_policy(
        {
            "categories": {
                "social": {"channels": ["push"], "opt_out": opt_out, "digest": "daily"}
                | ({} if default is None else {"default": {"push": default}}),
                "marketing": {"channels": ["email"], "consent": ["sms"]},
            },
            "digests": {"daily": {"window": "10m", "template": "daily"}},
            "event_types": {
                "comment.*": {"category": "social"},
                "promo.*": {"category": "marketing"},
                "comment.own": {"category": "social", "digest": {"window": "1m", "template": "own"}},
            },
        }
    )


SAID = (None, True, False)
#: From the most specific to the least, the places where something may be said of push for comment.reply.created.
PLACES = ("comment.reply.created", "comment.reply.*", "comment.*", "category", "channel")


@pytest.mark.parametrize("default", SAID)
def test_the_most_specific_entry_that_speaks_of_the_channel_decides(default: bool | None) -> None:
    rule = policy_of(default).rule_of("comment.reply.created")
    for said in product(SAID, repeat=len(PLACES)):
        by_place = dict(zip(PLACES, said, strict=True))
        document = {
            # an entry that doesn't speak of the channel must not count
            "event_types": {
                name: {"email": not on} if on is None else {"push": on, "email": not on}
                for name, on in by_place.items()
                if name.startswith("comment")
            },
            "categories": {"social": {} if by_place["category"] is None else {"push": by_place["category"]}},
            "channels": {} if by_place["channel"] is None else {"push": by_place["channel"]},
        }
        spoken = [on for on in (*said, default) if on is not None]
        answer = evaluate_preference(parse_preferences(document), rule, "comment.reply.created", "push")
        assert answer.allowed is (spoken[0] if spoken else True), by_place


@pytest.mark.parametrize(
    ("document", "by"),
    [
        ({"event_types": {"comment.new": {"push": False}}}, "event_types.comment.new.push"),
        ({"event_types": {"comment.*": {"push": False}}}, "event_types.comment.*.push"),
        ({"categories": {"social": {"push": False}}}, "categories.social.push"),
        ({"channels": {"push": False}}, "channels.push"),
    ],
)
def test_the_answer_names_the_entry_that_decided(document: dict[str, Any], by: str) -> None:
    answer = evaluate_preference(parse_preferences(document), policy_of().rule_of("comment.new"), "comment.new", "push")
    assert (answer.allowed, answer.by) == (False, by)


def test_a_pattern_only_speaks_of_what_begins_with_it() -> None:
    preferences = parse_preferences({"event_types": {"comment.*": {"push": False}}})
    rule = policy_of().rule_of("commented")
    assert evaluate_preference(preferences, rule, "commented", "push").allowed


def test_opt_out_never_overrides_preferences() -> None:
    preferences = parse_preferences(
        {"channels": {"push": False}, "categories": {"social": {"push": False}}, "event_types": {"*": {"push": False}}}
    )
    rule = policy_of(opt_out="never").rule_of("comment.new")
    assert evaluate_preference(preferences, rule, "comment.new", "push").allowed


@pytest.mark.parametrize(
    ("required", "never", "granted", "allowed"),
    [
        (False, False, None, True),
        (False, False, True, True),
        (False, False, False, False),  # a withdrawal stands
        (False, True, False, True),  # opt_out: never overrides withdrawals
        (True, False, None, False),
        (True, False, True, True),
        (True, False, False, False),
        (True, True, None, False),  # but not required consent
        (True, True, True, True),
        (True, True, False, False),
    ],
)
def test_consent_is_granted_where_required_and_not_withdrawn(
    required: bool, never: bool, granted: bool | None, allowed: bool
) -> None:
    policy = parse_policy(
        {"categories": {"a": {"opt_out": "never" if never else "allowed", "consent": ["sms"] if required else []}}}
    )
    assert evaluate_consent(granted, policy.categories["a"], "sms").allowed is allowed


def test_unsubscribing_opts_out_of_the_category_on_the_channel_and_of_nothing_else() -> None:
    policy = policy_of()
    document = unsubscribed(EXAMPLE, "social", "push", policy)
    assert document == {**EXAMPLE, "categories": {**EXAMPLE["categories"], "social": {"push": False, "email": False}}}
    assert unsubscribed({}, "social", "push", policy) == {"categories": {"social": {"push": False}}}


def test_unsubscribing_also_takes_back_what_was_let_through_by_event_type() -> None:
    policy = policy_of()
    document = {
        "event_types": {
            "comment.new": {"push": True, "email": True},
            "comm*": {"push": True},
            "promo.*": {"push": True},
        }
    }
    after = parse_preferences(unsubscribed(document, "social", "push", policy))
    rule = policy.rule_of("comment.new")
    assert not evaluate_preference(after, rule, "comment.new", "push").allowed
    assert evaluate_preference(after, rule, "comment.new", "email").allowed
    assert evaluate_preference(after, policy.rule_of("promo.x"), "promo.x", "push").by == "event_types.promo.*.push"


def test_a_box_of_the_page_that_is_cleared_also_takes_back_what_was_let_through() -> None:
    policy = policy_of()
    document = {"event_types": {"comment.*": {"push": True, "email": True}, "promo.*": {"push": True}}}
    shown = ["category/social/push/1", "category/social/email/1"]
    patch = patch_of({"shown": shown, "on": ["category/social/email"]}, document, policy)

    preferences = parse_preferences(merge_patch(document, patch), policy)
    assert not evaluate_preference(preferences, policy.rule_of("comment.created"), "comment.created", "push").allowed
    assert preferences.event_types == {"comment.*": {"email": True}, "promo.*": {"push": True}}


@pytest.mark.parametrize(
    ("dnd", "active"),
    [
        ({"enabled": True}, True),
        ({"enabled": True, "until": None}, True),
        ({"enabled": True, "until": "1970-01-01T00:00:10Z"}, True),
        ({"enabled": True, "until": "1970-01-01T00:00:05Z"}, False),
        ({"enabled": True, "until": "1970-01-01T01:00:10+01:00"}, True),
        ({"enabled": False}, False),
        ({"enabled": False, "until": "1970-01-01T00:00:10Z"}, False),
    ],
)
def test_dnd_is_on_until_its_time_or_until_turned_off(dnd: dict[str, Any], active: bool) -> None:
    assert dnd_active(parse_preferences({"dnd": dnd}).dnd, 5_000) is active


def test_no_dnd_is_off() -> None:
    assert not dnd_active(NO_PREFERENCES.dnd, 0)


def test_own_quiet_hours_hold_the_policys_channels_and_replace_its_hours() -> None:
    policy = parse_policy(
        {"defaults": {"quiet_hours": {"start": "22:00", "end": "08:00", "channels": ["push"], "spread": "5m"}}}
    )
    assert hours_in_force(NO_PREFERENCES, policy) == policy.quiet_hours
    own = hours_in_force(parse_preferences({"quiet_hours": EXAMPLE["quiet_hours"]}), policy)
    assert own is not None
    assert (own.start, own.end, own.days, own.channels, own.spread_ms) == (
        1320,
        450,
        0b11,
        frozenset(("push",)),
        300_000,
    )


def test_own_quiet_hours_hold_push_and_sms_where_the_policy_names_none() -> None:
    own = hours_in_force(parse_preferences({"quiet_hours": {"start": "22:00", "end": "08:00"}}), parse_policy({}))
    assert own is not None
    assert own.channels == {"push", "sms"}


def test_quiet_hours_that_are_not_enabled_mean_none() -> None:
    policy = parse_policy({"defaults": {"quiet_hours": {"start": "22:00", "end": "08:00"}}})
    assert hours_in_force(parse_preferences({"quiet_hours": {"enabled": False}}), policy) is None


def test_a_digest_choice_is_for_the_rule_of_its_category_only() -> None:
    policy = policy_of()
    preferences = parse_preferences({"digest": {"social": {"every": "day", "at": "07:15"}}})
    social = policy.categories["social"]
    of_category, own = policy.rule_of("comment.new").digest, policy.rule_of("comment.own").digest
    assert of_category is not None
    assert own is not None
    chosen = rhythm_in_force(preferences, social, of_category)
    assert chosen is not None
    assert (chosen.every, chosen.at) == ("day", 7 * 60 + 15)
    assert rhythm_in_force(preferences, social, own) is None
    assert rhythm_in_force(NO_PREFERENCES, social, of_category) is None


@pytest.mark.parametrize("category", ["marketing", "unheard"])
def test_a_digest_choice_for_a_category_without_a_rule_is_refused(category: str) -> None:
    document = {"digest": {category: {"every": "day"}}}
    with pytest.raises(Refused) as refused:
        parse_preferences(document, policy_of())
    assert refused.value.field == f"digest.{category}"
    with pytest.raises(Refused):
        check_digest_choice(parse_preferences(document), policy_of())


INVALID: list[tuple[Any, str | None]] = [
    ([], None),
    ({"limits": []}, "limits"),
    ({"limits": {"fax": {"max": 1, "per": "day"}}}, "limits.fax"),
    ({"limits": {"push": 5}}, "limits.push"),
    ({"limits": {"push": {"per": "day"}}}, "limits.push.max"),
    ({"limits": {"push": {"max": 5}}}, "limits.push.per"),
    ({"limits": {"push": {"max": 0, "per": "day"}}}, "limits.push.max"),
    ({"limits": {"push": {"max": 1001, "per": "day"}}}, "limits.push.max"),
    ({"limits": {"push": {"max": 1.5, "per": "day"}}}, "limits.push.max"),
    ({"limits": {"push": {"max": True, "per": "day"}}}, "limits.push.max"),
    ({"limits": {"push": {"max": "5", "per": "day"}}}, "limits.push.max"),
    ({"limits": {"push": {"max": 5, "per": "month"}}}, "limits.push.per"),
    ({"limits": {"push": {"max": 5, "per": ["day"]}}}, "limits.push.per"),
    ({"channels": []}, "channels"),
    ({"channels": {"fax": True}}, "channels.fax"),
    ({"channels": {"push": "no"}}, "channels.push"),
    ({"channels": {"push": 1}}, "channels.push"),
    ({"categories": {"social": True}}, "categories.social"),
    ({"categories": {"social": {"fax": True}}}, "categories.social.fax"),
    ({"categories": {"": {}}}, "categories."),
    ({"event_types": {"a b": {}}}, "event_types.a b"),
    ({"event_types": {"a*b": {}}}, "event_types.a*b"),
    ({"event_types": {"comment.*": {"push": 0}}}, "event_types.comment.*.push"),
    ({"quiet_hours": {"start": "22:00"}}, "quiet_hours.end"),
    ({"quiet_hours": {"start": "24:00", "end": "08:00"}}, "quiet_hours.start"),
    ({"quiet_hours": {"start": 2200, "end": "08:00"}}, "quiet_hours.start"),
    ({"quiet_hours": {"start": "22:00", "end": "8:00"}}, "quiet_hours.end"),
    ({"quiet_hours": {"enabled": "yes", "start": "22:00", "end": "08:00"}}, "quiet_hours.enabled"),
    ({"quiet_hours": {"start": "22:00", "end": "08:00", "days": ["monday"]}}, "quiet_hours.days"),
    ({"quiet_hours": {"start": "22:00", "end": "08:00", "days": "mon"}}, "quiet_hours.days"),
    ({"dnd": True}, "dnd"),
    ({"dnd": {"until": "2026-01-01T00:00:00Z"}}, "dnd.enabled"),
    ({"dnd": {"enabled": True, "until": "tomorrow"}}, "dnd.until"),
    ({"dnd": {"enabled": True, "until": "2026-01-01T00:00:00"}}, "dnd.until"),
    ({"dnd": {"enabled": True, "until": 5}}, "dnd.until"),
    ({"digest": {"social": "daily"}}, "digest.social"),
    ({"digest": {"social": {}}}, "digest.social.every"),
    ({"digest": {"social": {"every": "month"}}}, "digest.social.every"),
    ({"digest": {"social": {"every": "day", "at": "9"}}}, "digest.social.at"),
    ({"digest": {"social": {"every": "day", "on": "mon"}}}, "digest.social.on"),
    ({"digest": {"social": {"every": "week", "on": "monday"}}}, "digest.social.on"),
    ({"categories": {f"c{n}": {} for n in range(501)}}, "categories"),
]


@pytest.mark.parametrize(("document", "field"), INVALID, ids=[str(number) for number in range(len(INVALID))])
def test_a_bad_document_is_refused_with_the_fields_name(document: Any, field: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        parse_preferences(document)
    assert refused.value.field == field
    assert not isinstance(refused.value, Refused)


@pytest.mark.parametrize("enabled", [True, False])
def test_quiet_hours_with_start_equal_to_end_are_refused(enabled: bool) -> None:
    with pytest.raises(Refused) as refused:
        parse_preferences({"quiet_hours": {"enabled": enabled, "start": "22:00", "end": "22:00"}})
    assert refused.value.field == "quiet_hours.end"


def test_an_explicit_null_is_an_absent_member() -> None:
    nulls = dict.fromkeys(EXAMPLE)
    assert parse_preferences(nulls) == NO_PREFERENCES
    assert parse_preferences({"categories": {"social": {"push": None}}}).categories == {"social": {}}
    assert parse_preferences({"categories": {"social": None}}) == NO_PREFERENCES


def test_the_contracts_document_is_understood_and_fits_a_table() -> None:
    preferences = parse_preferences(EXAMPLE, policy_of())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(preferences), type=Preferences) == preferences


@pytest.mark.parametrize(
    ("document", "patch", "merged"),
    [
        # the examples of RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_patch_is_merged_as_rfc_7396(document: Any, patch: Any, merged: Any) -> None:
    before = msgspec.json.encode(document)
    assert merge_patch(document, patch) == merged
    assert msgspec.json.encode(document) == before


def test_members_that_nobody_knows_are_ignored() -> None:
    hours = {"start": "22:00", "end": "08:00"}
    known = {
        "channels": {"push": False},
        "quiet_hours": hours,
        "dnd": {"enabled": True},
        "digest": {"a": {"every": "day"}},
    }
    more = {"theme": "dark", "quiet_hours": {**hours, "zone": "UTC"}, "dnd": {"enabled": True, "why": 1}}
    assert parse_preferences({**known, **more, "digest": {"a": {"every": "day", "of": 2}}}) == parse_preferences(known)


@pytest.mark.parametrize(
    "days", [["mon"] * 8, ["mon", "mon"], ["mon", "tue", "mon"], [["mon"], ["mon"]], ["mon"] * 1_000, [1, True]]
)
def test_days_of_quiet_hours_are_seven_at_most_and_each_is_named_once(days: list[Any]) -> None:
    with pytest.raises(Invalid) as refused:
        parse_preferences({"quiet_hours": {"start": "22:00", "end": "08:00", "days": days}})
    assert refused.value.field == "quiet_hours.days"
