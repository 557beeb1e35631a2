"""What the links of mail bring back: a machine's opens and clicks, and unsubscribing."""

from typing import Any

import pytest

from tests.agents.harness import HOUR, POLICY, Harness
from tests.agents.test_router_fallback import chained, decided
from tests.agents.test_router_receipts import sent

MACHINE: dict[str, Any] = {"detail": {"machine": True}}


@pytest.mark.parametrize("status", ["opened", "clicked"])
def test_a_machine_counts_for_no_until_and_its_events_say_so(status: str) -> None:
    router = chained()
    router.request(event_type="payment.failed")
    router.receipt(router.sends[1], status, **MACHINE)
    told = [event for event in router.events if event["status"] in ("delivered", "opened", "clicked")]
    router.after(HOUR)

    assert all(event["detail"]["machine"] is True for event in told)
    assert told[-1]["status"] == status
    assert ("queued", "sms", None) in decided(router)


def test_a_person_after_a_machine_is_told_with_what_it_implies() -> None:
    router, send = sent()
    router.receipt(send, "opened", **MACHINE)
    router.receipt(send, "opened", **MACHINE)
    router.receipt(send, "opened")

    told = [(event["status"], (event["detail"] or {}).get("machine")) for event in router.events]
    assert told == [("delivered", True), ("opened", True), ("opened", True), ("delivered", None), ("opened", None)]


@pytest.mark.parametrize("said", [{"machine": "yes"}, {"machine": 1}, {"machine": False}, {"other": True}])
def test_only_what_says_so_is_a_machines(said: dict[str, Any]) -> None:
    router, send = sent()
    router.receipt(send, "opened", detail=said)

    assert all("machine" not in (event["detail"] or {}) for event in router.events)


def test_no_other_receipt_is_a_machines() -> None:
    router, send = sent()
    router.receipt(send, "delivered", **MACHINE)

    assert router.last()["detail"] is None


def unsubscribe(router: Harness, category: str = "mail", user_id: str = "u1", **fields: Any) -> None:
    router.command("preferences.unsubscribe", user_id=user_id, channel="email", category=category, **fields)


def test_unsubscribing_by_command_stops_the_next_one_and_nothing_else() -> None:
    router, send = sent()
    unsubscribe(router, user_id=send.user_id)
    router.request(event_type="mail.sent", idempotency_key="2")
    router.request(event_type="order.shipped", idempotency_key="3")

    assert ("suppressed", "email", "opted_out") in router.reported()
    assert "orders" in {each.category for each in router.sends}


def test_the_receipt_beside_it_is_told_once_and_makes_no_further_command() -> None:
    router, send = sent()
    unsubscribe(router, user_id=send.user_id)
    router.receipt(send, "unsubscribed")
    router.receipt(send, "unsubscribed")

    assert [event["status"] for event in router.events] == ["unsubscribed"]
    assert router.commands == []


def test_an_exception_for_an_event_type_goes_with_it() -> None:
    router, send = sent()
    document = {"event_types": {"mail.*": {"email": True, "push": False}, "order.*": {"email": True}}}
    router.command("preferences.set", user_id=send.user_id, preferences=document)
    unsubscribe(router, user_id=send.user_id)
    router.request(event_type="mail.sent", idempotency_key="2")

    assert ("suppressed", "email", "opted_out") in router.reported()


def test_an_opt_out_is_taken_where_the_document_is_full() -> None:
    router, send = sent()
    full = {"categories": {f"{n:0>98}": {"sms": False} for n in range(275)}}
    router.command("preferences.set", user_id=send.user_id, preferences=full)
    for number in range(20):
        unsubscribe(router, f"{number:x>98}", user_id=send.user_id)
    unsubscribe(router, user_id=send.user_id)
    router.request(event_type="mail.sent", idempotency_key="2")

    assert ("suppressed", "email", "opted_out") in router.reported()


def test_what_can_not_be_turned_off_is_sent_all_the_same() -> None:
    policy = POLICY.replace("mail: {channels: [email]}", "mail: {channels: [email], opt_out: never}")
    router, send = sent(policy=policy)
    unsubscribe(router, user_id=send.user_id)
    router.request(event_type="mail.sent", idempotency_key="2")

    assert len(router.sends) == 1
