"""No receipt: a send of which nothing came back is made once more by the next provider."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.sends import Send
from schemas.words import Channel
from tests.agents.harness import HOUR, MINUTE, POLICY, PROVIDERS, Harness

POLICY_60S = POLICY.replace(
    "other: {channels: [in_app]}",
    "other: {channels: [in_app]}\n  codes: {channels: [sms], failover: {sms: {no_receipt: 60s}}}",
) + ("  code.sent: {category: codes, template: note, expires_after: 1h}\n")
TWO: dict[Channel, frozenset[Any]] = {**PROVIDERS, "sms": frozenset(("twilio", "vonage"))}
THREE: dict[Channel, frozenset[Any]] = {**PROVIDERS, "sms": frozenset(("twilio", "vonage", "sns"))}


def texting(providers: dict[Channel, frozenset[Any]] = TWO, policy: str = POLICY_60S, **fields: Any) -> Harness:
    """Ann was sent a text by Twilio, which accepted it."""
    router = Harness(policy=policy, providers=providers)
    router.known()
    router.request(event_type="code.sent", **fields)
    return router


def accepted(router: Harness, provider: str = "twilio") -> Send:
    send = router.sends[-1]
    router.settled(send, "sent", provider=provider)
    return send


def providers_of(sends: Sequence[Send]) -> list[tuple[str | None, str | None]]:
    return [(send.provider, send.after) for send in sends]


def test_without_any_receipt_the_next_provider_makes_the_send_once_more() -> None:
    router = texting()
    first = accepted(router)
    router.after(MINUTE - 1)
    assert len(router.sends) == 1
    router.after(1)

    assert providers_of(router.sends) == [("twilio", None), ("vonage", "twilio")]
    further = router.sends[1]
    assert further.send_id != first.send_id
    assert (further.of, further.notification_id, further.data) == (first.send_id, first.notification_id, first.data)
    last = router.last()
    assert (last["status"], last["send_id"], last["detail"]["of"]) == ("queued", further.send_id, first.send_id)
    assert ["no_receipt", True, "twilio", MINUTE] in last["detail"]["trail"]


@pytest.mark.parametrize(
    "status", ["delivered", "opened", "clicked", "seen", "read", "bounced", "complained", "failed"]
)
def test_any_receipt_is_one(status: str) -> None:
    router = texting()
    router.receipt(accepted(router), status)
    router.after(HOUR)

    assert len(router.sends) == 1


def test_a_receipt_that_comes_before_the_result_is_one() -> None:
    router = texting()
    router.receipt(router.sends[0], "delivered")
    accepted(router)
    router.after(HOUR)

    assert len(router.sends) == 1


def test_a_receipt_that_names_no_send_is_one() -> None:
    router = texting()
    send = accepted(router)
    router.receipt(send, "opened", send_id=None, channel=None)
    router.after(HOUR)

    assert len(router.sends) == 1


@pytest.mark.parametrize("end", ["unknown", "failed", "suppressed", "expired", "cancelled"])
def test_nothing_follows_what_no_provider_is_known_to_have_accepted(end: str) -> None:
    router = texting()
    router.settled(router.sends[0], end)
    router.after(HOUR)

    assert len(router.sends) == 1


def test_nothing_follows_while_a_send_is_in_doubt() -> None:
    router = texting()
    router.settled(router.sends[0], "in_doubt")
    router.after(2 * MINUTE)
    assert len(router.sends) == 1
    router.settled(router.sends[0], "sent", provider="twilio")
    router.after(MINUTE)

    assert len(router.sends) == 2


def test_one_provider_after_the_other_is_asked_each_once() -> None:
    router = texting(THREE)
    for provider in ("twilio", "vonage", "sns"):
        accepted(router, provider)
        router.after(MINUTE)

    assert providers_of(router.sends) == [("twilio", None), ("vonage", "twilio"), ("sns", "vonage")]
    assert {send.of for send in router.sends[1:]} == {router.sends[0].send_id}
    router.after(HOUR)
    assert len(router.sends) == 3


def test_the_next_provider_is_the_one_behind_whoever_accepted_it() -> None:
    router = texting(THREE)
    accepted(router, "vonage")
    router.after(MINUTE)

    assert providers_of(router.sends)[1:] == [("sns", "vonage")]


def test_without_another_provider_nothing_follows_and_nothing_is_kept() -> None:
    router = texting(PROVIDERS)
    accepted(router)
    [(_, row)] = router.states[0].notifications.scan(b"", None, 10)

    assert not row.is_open
    assert row.request == b""


def test_once_answered_nothing_is_kept() -> None:
    router = texting()
    send = accepted(router)
    router.receipt(send, "delivered")
    [(_, row)] = router.states[0].notifications.scan(b"", None, 10)

    assert not row.is_open
    assert row.request == b""


def test_a_late_receipt_takes_back_what_has_not_begun() -> None:
    router = texting()
    first = accepted(router)
    router.after(MINUTE)
    router.receipt(first, "delivered")

    [withdrawn] = router.withdrawals
    assert (withdrawn.send_id, withdrawn.status) == (router.sends[1].send_id, "cancelled")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("user.erase", {}),
        ("notification.cancel", {"notification_id": "00000000-0000-4000-8000-000000000001"}),
        ("preferences.set", {"preferences": {"channels": {"sms": False}}}),
        ("preferences.set", {"preferences": {"dnd": {"enabled": True}}}),
        ("profile.set", {"phone": None}),
    ],
)
def test_the_further_step_is_judged_by_what_is_known_then(kind: str, fields: dict[str, Any]) -> None:
    router = texting(notification_id="00000000-0000-4000-8000-000000000001")
    accepted(router)
    router.command(kind, **fields)
    events = len(router.events)
    router.after(HOUR)

    assert len(router.sends) == 1
    assert len(router.events) == events


def test_nothing_follows_after_the_expiry() -> None:
    router = texting(policy=POLICY_60S.replace("expires_after: 1h", "expires_after: 60s"))
    accepted(router)
    router.after(HOUR)

    assert len(router.sends) == 1


def test_quiet_hours_put_the_further_step_off() -> None:
    router = texting()
    accepted(router)
    hours = {"enabled": True, "start": "12:00", "end": "12:30"}
    router.command("preferences.set", preferences={"quiet_hours": hours})
    router.after(20 * MINUTE)
    assert len(router.sends) == 1
    router.after(10 * MINUTE)

    assert providers_of(router.sends)[1:] == [("vonage", "twilio")]


def test_nothing_follows_what_a_newer_one_with_its_collapse_key_replaced() -> None:
    router = texting(collapse_key="code")
    first = accepted(router)
    router.after(MINUTE // 2)
    router.request(event_type="code.sent", collapse_key="code", data={"n": 2})
    router.receipt(router.sends[-1], "delivered")
    router.settled(router.sends[-1], "sent", provider="twilio")
    router.after(HOUR)

    assert [send.notification_id == first.notification_id for send in router.sends] == [True, False]


def test_a_further_step_takes_no_other_place_in_caps_and_limits() -> None:
    router = texting(policy=f"{POLICY_60S}\ncaps: [{{name: texts, channel: sms, limit: 1, window: 24h}}]\n")
    accepted(router)
    router.after(MINUTE)

    assert len(router.sends) == 2


def test_a_chain_that_goes_on_makes_no_further_send_of_the_step_before() -> None:
    policy = POLICY_60S.replace(
        "code.sent: {category: codes,", "code.sent: {category: codes, fallback: {chain: [sms, email], wait: 30s},"
    )
    router = texting(policy=policy)
    accepted(router)
    router.after(HOUR)

    assert [send.channel for send in router.sends] == ["sms", "email"]


def test_a_chain_is_over_when_its_further_send_arrives() -> None:
    policy = POLICY_60S.replace(
        "code.sent: {category: codes,", "code.sent: {category: codes, fallback: {chain: [sms, email], wait: 5m},"
    )
    router = texting(policy=policy)
    accepted(router)
    router.after(MINUTE)
    router.receipt(accepted(router, "vonage"), "delivered")
    router.after(HOUR)

    assert [send.channel for send in router.sends] == ["sms", "sms"]


def test_what_was_read_again_makes_no_third_send() -> None:
    router = texting()
    accepted(router)
    router.after(MINUTE)
    for record in list(router.log):
        router.again(record)
    router.after(HOUR)

    assert len({send.send_id for send in router.sends}) == 2


EVENTS = ("sent", "failed", "unknown", "in_doubt", "delivered", "cancel", "wait", "minute")


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 2)), max_size=14))
def test_each_further_send_follows_an_accepted_one_without_a_receipt(steps: list[tuple[str, int]]) -> None:
    """Whatever happens to sends in whatever order: at most one for each provider, each after the one before it was
    accepted and unanswered for a minute, none once something came back or the whole was cancelled."""
    order = ("twilio", "vonage", "sns")
    router = texting(THREE)
    accepted_at: dict[int, int] = {}
    ended, answered, cancelled = set[int](), False, False
    for step, number in steps:
        before = len(router.sends)
        number = min(number, before - 1)
        send = router.sends[number]
        match step:
            case "wait":
                router.after(MINUTE - 1)
            case "minute":
                router.after(MINUTE)
            case "cancel":
                router.command("notification.cancel", notification_id=send.notification_id)
                cancelled = True
            case "delivered":
                router.receipt(send, "delivered")
                answered = True
            case "in_doubt":
                router.settled(send, "in_doubt")
            case end:
                if number not in ended and end == "sent":
                    accepted_at[number] = router.now
                ended.add(number)
                router.settled(send, end, provider=order[number])
        for made in range(before, len(router.sends)):
            assert not answered
            assert not cancelled
            assert router.now - accepted_at[made - 1] >= MINUTE
    due = [at for number, at in accepted_at.items() if number == len(router.sends) - 1 and number < 2]
    if due and not answered and not cancelled:
        assert router.now - due[0] < MINUTE
    assert (
        providers_of(router.sends) == [("twilio", None), ("vonage", "twilio"), ("sns", "vonage")][: len(router.sends)]
    )
