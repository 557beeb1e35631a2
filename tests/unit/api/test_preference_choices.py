"""What a user can choose, as an app's own panel reads it: the hosted page's boxes, and what turns each one over."""

from typing import Any, get_args

import msgspec
import pytest

from app.api.preference_choices import PreferenceChoices, choices_of
from app.domain.merge import merge_patch
from app.domain.policy import Policy, parse_policy
from app.domain.preferences import parse_preferences
from schemas.words import Channel
from tests.calling import bearer, user_token
from tests.unit.api.served import POLICY, served
from tests.unit.api.test_inbox_stream import serving

_RULES = parse_policy(POLICY)
_DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"channels": {"email": False, "sms": True}},
    {"categories": {"marketing": {"email": False, "push": True}}, "channels": {"push": False}},
    {"event_types": {"news.*": {"email": True}, "*": {"push": True}}, "categories": {"social": {"in_app": False}}},
]


def on(choices: PreferenceChoices) -> dict[str, bool]:
    groups = [(each.name, each.channels) for each in choices.categories] + [("", choices.channels)]
    return {f"{name}/{each.channel}": each.on for name, channels in groups for each in channels}


async def test_a_user_reads_their_choices_with_what_changes_each() -> None:
    async with serving(policy=POLICY) as gateway:
        url = f"{gateway.url}/v1/users/u1/preferences/choices"
        async with gateway.session.get(url, headers=bearer(user_token("u1"))) as response:
            assert response.status == 200, await response.text()
            shown = await response.json()
    assert shown["categories"][:2] == [
        {"name": "security", "label": "security", "description": "", "channels": []},
        {
            "name": "marketing",
            "label": "News <&>",
            "description": "What's new",
            "channels": [
                {"channel": "push", "on": True, "change": {"categories": {"marketing": {"push": False}}}},
                {"channel": "email", "on": True, "change": {"categories": {"marketing": {"email": False}}}},
            ],
        },
    ]
    assert [each["channel"] for each in shown["channels"]] == ["push", "email", "sms", "in_app"]


async def test_nobody_reads_anothers_choices() -> None:
    async with served() as gateway:
        path = "/v1/users/u1/preferences/choices"
        nobody = await gateway.client.get(path)
        operator = await gateway.client.get(path, headers=gateway.admin)
    assert (nobody.status, operator.status) == (401, 200)
    async with serving() as other:
        url = f"{other.url}{path}"
        async with other.session.get(url, headers=bearer(user_token("u2"))) as response:
            assert response.status == 403


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_each_change_turns_over_its_choice_and_makes_a_document_that_is_taken(document: dict[str, Any]) -> None:
    before = choices_of(document, _RULES)
    groups = [(each.name, each.channels) for each in before.categories] + [("", before.channels)]
    for group, channels in groups:
        for choice in channels:
            changed = merge_patch(document, choice.change)
            parse_preferences(changed, _RULES)
            after = choices_of(changed, _RULES)
            name = f"{group}/{choice.channel}"
            assert on(after)[name] is not choice.on
            if name.startswith("/"):
                continue  # what comes by a channel that is turned over changes with it
            assert {**on(after), name: choice.on} == on(before)


def test_five_hundred_categories_are_answered_whole() -> None:
    many = {"categories": {f"c{n}": {"channels": ["push", "email", "sms", "in_app"]} for n in range(499)}}
    policy = parse_policy({**many, "categories": {**many["categories"], "other": {"channels": ["in_app"]}}})
    assert len(choices_of({}, policy).categories) == 500
    assert len(msgspec.json.encode(choices_of({}, policy))) < 1 << 20


def test_a_full_documents_names_are_each_compared_with_the_policy_once(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"event_types": {f"{'a' * n}*": dict.fromkeys(get_args(Channel), True) for n in range(1, 90)}}
    parse_preferences(document, _RULES)
    asked: list[str] = []
    categories_of = Policy.categories_of

    def counted(policy: Policy, pattern: str) -> frozenset[str]:
        asked.append(pattern)
        return categories_of(policy, pattern)

    monkeypatch.setattr(Policy, "categories_of", counted)
    choices_of(document, _RULES)
    assert sorted(asked) == sorted(document["event_types"])
