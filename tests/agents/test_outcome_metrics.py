"""What each role has counted: from the decisions of real machines, in virtual time, to the series that are shown."""

import random
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from app.domain.out import Out
from app.domain.outcome import OutcomeKind
from app.metrics.outcomes import Outcomes
from schemas import topics
from schemas.instants import rfc3339
from tests.agents.harness import HOUR, MINUTE, NOON, Harness
from tests.agents.senders import a_push, push, sms
from tests.agents.stage import NOON as SENDERS_NOON
from tests.agents.stage import Stage, a_send

POLICY = """
defaults: {dedup: {content: 0}}
categories:
  orders: {channels: [push, email]}
  slow: {channels: [email], target: 1h}
  social: {channels: [push], digest: social}
  other: {channels: [in_app]}
caps:
  - {name: push-hour, channel: push, limit: 1, window: 1h}
digests:
  social: {window: 10m, max_items: 100, min_items: 2, template: gathered, channels: [push]}
event_types:
  order.shipped: {category: orders, template: note}
  like.made: {category: social, template: note}
"""


class Shown:
    """The series of one role's process, by what its virtual partition decided."""

    def __init__(self, role: Harness | Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registry = CollectorRegistry()
        self.outcomes = Outcomes(self.registry)
        partitions = role._virtual if isinstance(role, Harness) else [role._virtual]
        for partition in partitions:
            monkeypatch.setattr(partition, "_decide", self._counting(partition._decide))

    def _counting(self, decide: Any) -> Any:
        def decided(*given: Any) -> Out:
            out: Out = decide(*given)
            self.outcomes.count(out.counted)
            return out

        return decided

    def of(self, name: str) -> dict[tuple[str, ...], float]:
        """The series of one counter that aren't zero, by their labels."""
        return {
            tuple(sample.labels.values()): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and sample.value
        }


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> tuple[Harness, Shown]:
    harness = Harness(policy=POLICY)
    harness.known()
    return harness, Shown(harness, monkeypatch)


@pytest.mark.parametrize(("topic", "lane"), topics.LANE_OF_EVENT_TOPIC.items())
def test_requests_count_by_lane_and_outcome(router: tuple[Harness, Shown], topic: str, lane: str) -> None:
    harness, shown = router
    harness.request(topic=topic, idempotency_key="k", source="shop")
    harness.request(topic=topic, idempotency_key="k", source="shop")
    shown.outcomes.refused(topic)
    shown.outcomes.refused(topics.COMMANDS)

    counts = shown.of("tocsin_requests_total")
    assert counts == {(lane, "accepted"): 1, (lane, "repeated"): 1, (lane, "refused"): 1}


def test_a_record_that_lies_elsewhere_counts_as_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(policy=POLICY, partitions=4)
    shown = Shown(harness, monkeypatch)
    for partition in range(4):
        harness.feed(topics.EVENTS, b"ann", b'{"user_id":"ann","event_type":"order.shipped"}', partition=partition)

    assert shown.of("tocsin_requests_total")["normal", "moved"] == 3


def test_decisions_have_their_channel_category_outcome_and_reason(router: tuple[Harness, Shown]) -> None:
    harness, shown = router
    harness.request()
    harness.request()  # the cap is over for push

    assert shown.of("tocsin_decisions_total") == {
        ("push", "orders", "queued", ""): 1,
        ("email", "orders", "queued", ""): 2,
        ("push", "orders", "suppressed", "rate_cap"): 1,
    }
    assert shown.of("tocsin_caps_total") == {("push-hour",): 1}


@pytest.mark.parametrize(("likes", "how"), [(1, "single"), (2, "aggregated")])
def test_digests_count_when_they_close(router: tuple[Harness, Shown], likes: int, how: str) -> None:
    harness, shown = router
    for number in range(likes):
        harness.request(event_type="like.made", data={"n": number})
    assert shown.of("tocsin_digests_total") == {}
    harness.after(10 * MINUTE)

    assert shown.of("tocsin_digests_total") == {("social", how): 1}


def test_receipts_and_opt_outs_count(router: tuple[Harness, Shown]) -> None:
    harness, shown = router
    harness.request(channels=["email"], campaign_id="spring", source="shop")
    [send] = harness.sends
    for status in ("delivered", "opened", "unsubscribed"):
        harness.receipt(send, status, provider="ses")

    counts = shown.of("tocsin_receipts_total")
    assert counts == {("email", "ses", status): 1 for status in ("delivered", "opened", "unsubscribed")}
    assert shown.of("tocsin_campaign_unsubscribed_total") == {("shop", "spring"): 1}


def test_a_record_that_is_refused_has_nothing_counted_but_that(router: tuple[Harness, Shown]) -> None:
    harness, shown = router
    harness.request(event_type="unheard.of")  # no template: refused once its place was looked for

    assert shown.of("tocsin_decisions_total") == {}
    assert shown.of("tocsin_requests_total") == {}


def test_what_is_rolled_back_is_not_counted() -> None:
    out = Out()
    out.tally("requests", "normal", "accepted")
    mark = out.mark()
    out.tally("requests", "normal", "repeated")
    out.rollback(mark)

    assert out.counted == [("requests", "normal", "accepted")]


# --- a channel's role ---


@pytest.mark.parametrize(("outcome", "status", "within"), [("ok", "sent", "true"), ("drop", "failed", "false")])
def test_a_send_counts_at_its_end(
    monkeypatch: pytest.MonkeyPatch, outcome: OutcomeKind, status: str, within: str
) -> None:
    stage = sms()
    shown = Shown(stage, monkeypatch)
    stage.take(a_send())
    stage.answer(outcome)

    assert shown.of("tocsin_sends_total") == {("sms", "twilio", "orders", status): 1}
    assert shown.of("tocsin_slo_total") == {("orders", "normal", within): 1}
    sent = status == "sent"
    assert shown.of("tocsin_send_latency_seconds_count") == ({("sms", "twilio", "normal"): 1} if sent else {})
    assert shown.of("tocsin_campaign_sent_total") == ({("shop", "c1"): 1} if sent else {})


#: Minutes from accepted to sent; until when, from accepted, the router had it wait; whether that was in time.
TIMES = [(4, None, "true"), (6, None, "false"), (6, 2, "true"), (60, 54, "false"), (60, 56, "true")]


@pytest.mark.parametrize(("took", "waited", "within"), TIMES)
def test_the_target_counts_from_accepted_or_from_the_end_of_the_last_wait(
    monkeypatch: pytest.MonkeyPatch, took: int, waited: int | None, within: str
) -> None:
    stage = sms()
    shown = Shown(stage, monkeypatch)
    accepted_at = SENDERS_NOON - took * MINUTE
    waited_until = None if waited is None else accepted_at + waited * MINUTE
    stage.take(a_send(accepted_at=accepted_at, waited_until=waited_until))
    stage.answer("ok")

    assert shown.of("tocsin_slo_total") == {("orders", "normal", within): 1}


def test_quiet_hours_in_the_channels_role_are_such_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = sms()
    shown = Shown(stage, monkeypatch)
    stage.wait(11 * HOUR)  # in the night
    stage.take(a_send(accepted_at=stage.now))
    stage.wait_for_call()
    stage.answer("ok")

    assert stage.now > SENDERS_NOON + 19 * HOUR
    assert shown.of("tocsin_slo_total") == {("orders", "normal", "true"): 1}


def test_an_outage_is_no_such_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = sms()
    shown = Shown(stage, monkeypatch)
    stage.take(a_send())
    stage.answer("throttle", retry_after_ms=10 * MINUTE)
    stage.wait(11 * MINUTE)
    stage.answer("ok")

    assert shown.of("tocsin_slo_total") == {("orders", "normal", "false"): 1}


def test_what_has_no_target_and_what_a_user_stopped_counts_for_no_service_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = sms()
    shown = Shown(stage, monkeypatch)
    stage.take(a_send(priority="low"))
    stage.answer("ok")
    stage.command("preferences.set", preferences={"channels": {"sms": False}})
    stage.take(a_send(2))

    assert shown.of("tocsin_slo_total") == {}
    assert shown.of("tocsin_sends_total")["sms", "", "orders", "suppressed"] == 1
    assert shown.of("tocsin_decisions_total") == {("sms", "orders", "suppressed", "opted_out"): 1}


def test_a_stranger_can_make_no_series_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(policy=POLICY)
    harness.known()
    shown = Shown(harness, monkeypatch)
    chance = random.Random(1)

    def word() -> str:
        return f"x{chance.getrandbits(64):x}"

    for _ in range(300):
        fields = {"campaign_id": word(), "source": word(), "collapse_key": word(), "template_id": "note"}
        harness.request(event_type=word(), channels=["email"], **fields)
    for send in harness.sends:
        harness.receipt(send, "unsubscribed", reason=word(), provider="ses")

    shapes = [name for family in shown.registry.collect() for name in {_labels(s) for s in family.samples}]
    campaigns = [labels for labels in shapes if "campaign" in dict(labels)]
    assert len(harness.sends) == 300
    assert len(campaigns) == 100
    assert len(shapes) - len(campaigns) < 30


def _labels(sample: Any) -> tuple[tuple[str, str], ...]:
    labels: Iterable[tuple[str, str]] = sample.labels.items()
    return (("", sample.name), *labels)


def test_push_counts_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = push()
    shown = Shown(stage, monkeypatch)
    stage.take(a_push())
    stage.answer("ok")

    assert shown.of("tocsin_sends_total") == {("push", "apns", "orders", "sent"): 1}


def test_a_wait_of_the_routers_stands_in_the_send(router: tuple[Harness, Shown]) -> None:
    harness, _ = router
    harness.request(channels=["email"])
    harness.request(channels=["email"], send_at=rfc3339(NOON + HOUR))
    harness.at(NOON + HOUR)

    assert [send.waited_until for send in harness.sends] == [None, NOON + HOUR]


def test_the_ends_that_a_send_might_have_had_are_shown_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus sees the first failure only where it saw a 0 before it."""
    stage = sms()
    shown = Shown(stage, monkeypatch)
    stage.take(a_send())
    stage.answer("ok")

    for name, labels in (
        ("tocsin_sends_total", {"channel": "sms", "provider": "twilio", "category": "orders", "status": "failed"}),
        ("tocsin_sends_total", {"channel": "sms", "provider": "", "category": "orders", "status": "expired"}),
        ("tocsin_slo_total", {"category": "orders", "priority": "normal", "within": "false"}),
    ):
        assert shown.registry.get_sample_value(name, labels) == 0
