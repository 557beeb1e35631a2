"""The short form of every fuzz target, always the same inputs: see docs/testing.md, "Fuzzing", for the long one."""

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from schemas import topics
from tests.fuzz import described, findings, gateway, inputs
from tests.fuzz.corpus import accepting, introduced, seeds
from tests.fuzz.machines import Broken, Machines
from tests.fuzz.targets import TARGETS, Target

_EXAMPLES = 12


@pytest.fixture(autouse=True)
def _silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_whatever_is_fed_in_has_its_end_and_harms_nobody_else(target: Target) -> None:
    short = settings(
        max_examples=_EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    short(given(target.inputs)(target.check))()
    if (of_bytes := target.of_bytes) is not None:
        for data in target.begin_with():
            target.check(of_bytes(data))


def test_what_was_found_once_is_mended() -> None:
    for file in findings.files():
        findings.replay(file)


@pytest.mark.parametrize("topic", inputs.PUBLIC)
def test_the_records_to_begin_with_are_good_ones(topic: str) -> None:
    for said in seeds()[topic]:
        user = said.get("user_id", said.get("subject"))
        if user is None:
            continue
        machines = introduced(Machines(accepting))
        machines.feed(topic, user.encode(), msgspec.json.encode(said))
        reasons = [letter.reason for letter in machines.letters]
        assert [why for why in reasons if "is not known" not in why and "has no template" not in why] == []


def test_there_is_a_target_for_each_topic_that_a_role_reads_and_for_each_route() -> None:
    names = {target.name for target in TARGETS}
    machines = Machines(accepting)
    assert {intake.topic for machine in machines.machines.values() for intake in machine.subscriptions} <= names
    assert {f"{route.method} {route.path}" for route in gateway.ROUTES} <= names


@pytest.mark.parametrize("name", described.names())
def test_each_operation_is_answered_as_it_is_asked_for_at_least_once(name: str) -> None:
    """Else whatever is fed to it would never get past its first checks."""
    answered = [gateway.ask_all(asking)[-1] for asking in described.good(name)]
    assert (name in described.NEVER) != any(200 <= each.status < 400 for each in answered), answered


def test_a_role_that_dies_of_a_record_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = introduced(Machines(accepting))

    def die(*_: object) -> None:
        raise OverflowError("int too big to convert")

    monkeypatch.setattr(machines.machines["router"]._machine, "handle", die)
    with pytest.raises(Broken, match="OverflowError"):
        machines.feed(topics.EVENTS, b"ann", b"{}")


def test_an_accepted_request_without_an_end_is_noticed() -> None:
    machines = introduced(Machines(accepting))
    machines.feed(topics.EVENTS, b"bob", b'{"user_id":"bob","event_type":"mail.sent"}')
    machines.events = [event for event in machines.events if event.status != "sent"]
    with pytest.raises(Broken, match="without an end"):
        machines.judge()


def test_a_large_body_that_waits_for_a_word_is_told_to_go_on() -> None:
    body = b'{"user_id": "ann", "event_type": "mail.sent"}'
    for said, status in ((b"100-continue", 202), (b"100-Continue", 202), (b"200-ok", 417)):
        asked = gateway.Asked("shop", "POST", "/v1/notifications", (("Expect", said),), body)
        answered = gateway.ask(asked)
        gateway.judge(asked, answered)
        assert answered.status == status


def test_an_answer_that_the_document_lacks_is_noticed() -> None:
    name = "GET /v1/templates"
    asked = gateway.Asked("ops", "GET", "/v1/templates")
    found = gateway.ask(asked)
    described.conforms(name, asked, found)
    for spoilt in (found._replace(status=418), found._replace(body=b'{"templates": 1}'), found._replace(headers={})):
        with pytest.raises(Broken, match=name):
            described.conforms(name, asked, spoilt)
