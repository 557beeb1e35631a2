"""What a text takes is told, and the policy's limit of SMS holds: it fails, or is cut, the same in all attempts."""

from typing import Any

import msgspec
import pytest

from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from app.domain.sms import segments
from tests.agents.stage import Stage, a_catalog, a_send


def sms(**policy: Any) -> Stage:
    stage = Stage(SenderMachine(a_catalog(**policy), ChannelConfig("sms", {"twilio": 15_000})))
    stage.command("profile.set", phone="+442071838750", phone_verified=True)
    return stage


def a_text(body: str) -> Any:
    content = msgspec.Raw(msgspec.json.encode({"title": "t", "body": body}))
    return a_send(template_id=None, template_version=None, content=content)


@pytest.mark.parametrize(("body", "count"), [("x" * 160, 1), ("x" * 161, 2), ("ж" * 71, 2)])
def test_a_call_tells_how_many_sms_its_text_takes(body: str, count: int) -> None:
    stage = sms()
    stage.take(a_text(body))

    assert (stage.story(), stage.detail()) == ([("sending", None)], {"segments": count})


@pytest.mark.parametrize("limit", [{"max_segments": 1}, {"max_segments": 1, "over": "fail"}])
def test_a_text_over_the_limit_fails_without_a_call(limit: dict[str, Any]) -> None:
    stage = sms(sms=limit)
    stage.take(a_text("x" * 161))

    assert (stage.story(), stage.calls) == ([("failed", "too_large")], [])


def test_a_text_over_the_limit_is_cut_where_the_policy_says_so_in_every_attempt() -> None:
    stage = sms(sms={"max_segments": 2, "over": "truncate"})
    stage.take(a_text("x" * 1000))
    first = stage.calls[0].message.body
    stage.answer("retry")
    stage.wait_for_call()

    assert first == stage.calls[0].message.body == "x" * 303 + "..."
    assert segments(first or "") == 2


def test_a_text_within_the_limit_is_sent_as_it_is() -> None:
    stage = sms(sms={"max_segments": 1, "over": "truncate"})
    stage.take(a_text("x" * 160))

    assert stage.calls[0].message.body == "x" * 160
