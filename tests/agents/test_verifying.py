"""A code to a claimed address: when it is sent, what checks it, and what is known of the address from then on."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.router.verify_addresses import verification_view
from app.domain.codes import code_of, mark_of, proof_of
from app.domain.trail import words
from app.domain.verification import CODE_MS, MOST_WRONG
from schemas import topics
from schemas.decode import Invalid, Misplaced
from schemas.sends import Send
from schemas.verifications import VERIFY
from tests.agents.harness import HOUR, MINUTE, POLICY, SECRET, Harness

PHONE, OTHER = "+442071838751", "+442071838752"
EMAIL = "ann@example.com"
ADDRESS = {"sms": PHONE, "email": EMAIL}
FIELD = {"sms": "phone", "email": "email"}


@dataclass
class Verifying:
    """A router, and a gateway's part of verifying ann's addresses."""

    router: Harness = field(default_factory=Harness)
    channel: str = "sms"
    calls: int = 0

    def claim(self, address: str | None = None) -> None:
        address = address or ADDRESS[self.channel]
        self.router.command("profile.set", **{FIELD[self.channel]: address}, claimed=True)

    def request(self, address: str | None = None, user_id: str = "ann") -> dict[str, Any]:
        """Asks for a code; returns the answer."""
        name = self._name()
        mark = mark_of(SECRET, user_id, self.channel, address or ADDRESS[self.channel], name)
        return self._feed({"type": "code.request", "id": name, "address": mark}, user_id)

    def check(self, code: str, user_id: str = "ann") -> dict[str, Any]:
        name = self._name()
        proof = proof_of(SECRET, user_id, self.channel, code, name)
        return self._feed({"type": "code.check", "id": name, "proof": proof}, user_id)

    def set_verified(self, verified: bool) -> None:
        fields: dict[str, Any] = {f"{FIELD[self.channel]}_verified": verified}
        self.router.command("profile.set", **fields)

    @property
    def code(self) -> str:
        """What the latest message shows."""
        return code_for(self.router.sends[-1], ADDRESS[self.channel])

    def seen(self, name: str = "", user_id: str = "ann") -> dict[str, Any]:
        params = {"channel": self.channel, "id": name}
        most = self.router.machine.catalog.bounds.codes
        return verification_view(self.router.states[0], user_id, params, most, self.router.now)

    def is_verified(self) -> bool:
        return bool(self.seen()["verified"])

    def _feed(self, message: dict[str, Any], user_id: str) -> dict[str, Any]:
        message |= {"user_id": user_id, "channel": self.channel}
        self.router.feed(topics.VERIFICATIONS, user_id.encode(), json.dumps(message).encode())
        return self.seen(message["id"], user_id)

    def _name(self) -> str:
        self.calls += 1
        return str(UUID(int=self.calls, version=4))


def code_for(send: Send, address: str) -> str:
    return code_of(SECRET, send.user_id, send.channel, address, send.notification_id)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


@pytest.fixture(params=["sms", "email"])
def ann(request: pytest.FixtureRequest) -> Verifying:
    """She has claimed an address."""
    verifying = Verifying(channel=request.param)
    verifying.claim()
    return verifying


def test_a_claimed_address_gets_its_code_and_is_verified_by_it(ann: Verifying) -> None:
    assert ann.request()["outcome"] == "sent"
    assert ann.router.reported() == [("accepted", None, None), ("queued", ann.channel, None)]
    assert ann.check(ann.code)["outcome"] == "verified"
    assert ann.is_verified()
    profile = ann.router.states[0].known.profile("ann")
    assert profile is not None
    assert not profile.email_claimed
    assert not profile.phone_claimed


def test_why_says_what_it_was(ann: Verifying) -> None:
    ann.request()
    [entry] = [entry for entry in ann.router.last()["detail"]["trail"] if entry[0] == "address"]
    assert words(entry) == "the address isn't verified, and this is the code that verifies it"


def test_only_an_unverified_address_that_is_there_gets_one(ann: Verifying) -> None:
    ann.set_verified(True)
    assert ann.request()["outcome"] == "verified"
    ann.router.command("profile.set", **{FIELD[ann.channel]: None})
    assert ann.request()["outcome"] == "no_address"
    assert ann.request(user_id="nobody")["outcome"] is None
    assert ann.router.sends == []


def test_an_address_that_a_service_set_and_did_not_verify_gets_one_too() -> None:
    bob = Verifying(channel="email")
    bob.router.command("profile.set", email=EMAIL)
    assert bob.request()["outcome"] == "sent"
    assert bob.check(bob.code)["outcome"] == "verified"


def test_five_wrong_tries_make_a_code_void(ann: Verifying) -> None:
    ann.request()
    left = [ann.check(wrong(ann.code))["number"] for _ in range(MOST_WRONG)]

    assert left == [4, 3, 2, 1, 0]
    assert ann.check(ann.code)["outcome"] == "void"
    assert not ann.is_verified()


def test_a_code_is_good_once_and_for_ten_minutes(ann: Verifying) -> None:
    ann.request()
    ann.router.after(CODE_MS - 1)
    assert ann.seen()["pending"]
    late, code = ann.router.sends[-1], ann.code
    assert late.expires_at == ann.router.now + 1
    ann.router.after(1)
    assert not ann.seen()["pending"]
    assert ann.check(code)["outcome"] == "void"

    ann.request()
    code = ann.code
    assert ann.check(code)["outcome"] == "verified"
    ann.set_verified(False)
    assert ann.check(code)["outcome"] == "void"


def test_a_newer_code_makes_the_older_one_void_and_withdraws_it(ann: Verifying) -> None:
    ann.request()
    old, first = ann.code, ann.router.sends[-1]
    ann.request()

    assert [taken.send_id for taken in ann.router.withdrawals] == [first.send_id]
    assert ann.check(old)["outcome"] == "wrong"
    assert ann.check(ann.code)["outcome"] == "verified"


def test_another_address_makes_a_code_void_and_is_not_verified_by_it(ann: Verifying) -> None:
    ann.request()
    code = ann.code
    ann.claim({"sms": OTHER, "email": "eve@example.com"}[ann.channel])

    assert ann.check(code)["outcome"] == "void"
    assert not ann.is_verified()


def test_an_address_that_changed_between_gateway_and_router_gets_nothing(ann: Verifying) -> None:
    assert ann.request(address={"sms": OTHER, "email": "eve@example.com"}[ann.channel])["outcome"] == "changed"
    assert ann.router.sends == []
    assert ann.seen()["next_ms"] is None


def test_a_command_that_verifies_speaks_of_exactly_one_address() -> None:
    ann = Verifying()
    ann.claim()
    ann.router.command("address.verify", channel="sms", address=OTHER)
    ann.router.command("address.verify", channel="email", address=EMAIL)
    assert not ann.is_verified()
    ann.router.command("address.verify", channel="sms", address=PHONE)
    assert ann.is_verified()


def test_a_user_gets_so_many_codes_in_an_hour_by_all_channels_together() -> None:
    ann = Verifying()
    ann.claim()
    sent = []
    for number in range(7):
        sent.append(ann.request()["outcome"])
        ann.router.after(MINUTE)
        if number == 2:
            ann.channel = "email"
            ann.claim()

    assert sent == ["sent"] * 5 + ["limited"] * 2
    limited = ann.request()
    assert limited["number"] == limited["next_ms"] == ann.router.now - 7 * MINUTE + HOUR
    ann.router.at(limited["next_ms"])
    assert ann.request()["outcome"] == "sent"
    assert ann.request()["outcome"] == "limited"


def test_one_users_codes_are_nothing_to_another() -> None:
    ann = Verifying()
    ann.claim()
    ann.request()
    code = ann.code
    ann.router.command("profile.set", "eve", phone=PHONE, claimed=True)
    ann.request(user_id="eve")

    assert ann.check(code, user_id="eve")["outcome"] == "wrong"
    assert not ann.seen(user_id="eve")["verified"]


def test_a_suppressed_address_gets_no_code_and_it_counts(ann: Verifying) -> None:
    ann.router.command("suppression.add", None, channel=ann.channel, address=ADDRESS[ann.channel], reason="stop")
    outcomes = [ann.request()["outcome"] for _ in range(6)]

    assert outcomes == ["suppression_list"] * 5 + ["limited"]
    assert ann.router.reported()[:2] == [("accepted", None, None), ("suppressed", ann.channel, "suppression_list")]
    assert not ann.seen()["pending"]


def test_without_a_provider_it_fails_and_says_so() -> None:
    ann = Verifying(Harness(providers={"sms": frozenset()}))
    ann.claim()
    assert ann.request()["outcome"] == "no_provider"
    assert ann.router.reported()[-1] == ("failed", "sms", "no_provider")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("preferences.set", {"preferences": {"channels": {"sms": False}, "categories": {"security": {"sms": False}}}}),
        ("preferences.set", {"preferences": {"event_types": {"tocsin.*": {"sms": False}, VERIFY: {"sms": False}}}}),
        ("preferences.set", {"preferences": {"dnd": {"enabled": True, "until": None}}}),
        ("consent.set", {"channel": "sms", "category": "security", "granted": False}),
    ],
)
def test_nothing_that_a_user_or_a_policy_says_holds_a_code_up(kind: str, fields: dict[str, Any]) -> None:
    strict = """
defaults: {quiet_hours: {start: "00:00", end: "23:59"}, channels: {sms: {verified: true}}}
categories:
  security: {channels: [sms], consent: [sms], default: {sms: false}}
caps: [{name: none, limit: 1, window: 24h}]
event_types: {"tocsin.*": {category: security, priority: low}}
"""
    ann = Verifying(Harness(strict))
    ann.claim()
    ann.router.command(kind, **fields)

    assert [ann.request()["outcome"] for _ in range(3)] == ["sent"] * 3
    assert {send.priority for send in ann.router.sends} == {"critical"}
    assert {send.category for send in ann.router.sends} == {"security"}


def test_the_policy_may_name_a_template() -> None:
    ann = Verifying(Harness(POLICY + "  tocsin.verify: {template: note}\n"))
    ann.claim()
    ann.request()
    assert ann.router.sends[-1].template_id == "note"


def test_neither_topic_nor_table_holds_a_code_or_whose_address_it_is(ann: Verifying) -> None:
    ann.request()
    code, send = ann.code, ann.router.sends[-1]
    ann.check(wrong(code))
    ann.check(code)

    message = [record.value for record in ann.router.log if record.topic == topics.VERIFICATIONS]
    message += [msgspec.json.encode(each) for each in (*ann.router.sends, *ann.router.events)]
    message += [row for name, rows in ann.router.rows[0].tables.items() for row in rows.values() if name != "profiles"]
    for value in message:
        assert code.encode() not in (value or b"").replace(send.notification_id.encode(), b"").replace(
            send.send_id.encode(), b""
        )
        assert ADDRESS[ann.channel].encode() not in (value or b"")


def test_a_record_that_is_read_again_changes_nothing(ann: Verifying) -> None:
    ann.request()
    ann.check(wrong(ann.code))
    before = dict(ann.router.rows[0].tables["verifications"]), len(ann.router.events)
    for record in [record for record in ann.router.log if record.topic == topics.VERIFICATIONS]:
        ann.router.again(record)

    assert (dict(ann.router.rows[0].tables["verifications"]), len(ann.router.events)) == before


def test_of_an_erased_user_no_code_is_left(ann: Verifying) -> None:
    ann.request()
    code = ann.code
    ann.router.command("user.erase")

    assert ann.router.rows[0].tables["verifications"] == {}
    ann.check(code)
    ann.request()
    assert ann.router.rows[0].tables["verifications"] == {}
    ann.claim()
    assert ann.check(code)["outcome"] == "void"


@pytest.mark.parametrize(
    "fields",
    [
        {"channel": "push"},
        {"channel": "in_app"},
        {"id": "one"},
        {"id": "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e\n"},
        {"address": "+442071838751"},
        {"address": "ab" * 33},
        {"user_id": ""},
        {"type": "code.send"},
    ],
)
def test_what_the_gateway_would_not_write_is_refused(fields: dict[str, Any]) -> None:
    router = Harness()
    good = {"type": "code.request", "id": str(UUID(int=1)), "user_id": "ann", "channel": "sms", "address": "ab" * 32}
    router.feed(topics.VERIFICATIONS, b"ann", json.dumps({**good, **fields}).encode())
    assert len(router.dead) == 1


# --- nobody else can use that way in ---


@pytest.mark.parametrize("topic", topics.EVENT_TOPICS)
def test_no_request_is_of_that_event_type(topic: str) -> None:
    router = Harness()
    router.command("profile.set", phone=PHONE, claimed=True)
    router.request(event_type=VERIFY, topic=topic, content={"title": "t", "body": "b"}, channels=["sms"])
    event = {"specversion": "1.0", "id": "1", "source": "tocsin", "type": VERIFY, "subject": "ann"}
    router.feed(topic, b"ann", json.dumps(event).encode())

    assert [invalid.field for invalid in router.dead] == ["event_type", "type"]
    assert router.events == []


def test_what_marks_a_code_is_an_unknown_field_elsewhere() -> None:
    router = Harness()
    router.command("profile.set", phone=PHONE, claimed=True)
    mark = mark_of(SECRET, "ann", "sms", PHONE, str(UUID(int=1)))
    marked = {"verifies": mark, "address": mark, "source": "tocsin", "category": "security", "position": "x"}
    router.request(event_type="login.otp", channels=["sms"], notification_id=str(UUID(int=1)), **marked)

    assert router.reported() == [("accepted", None, None), ("suppressed", "sms", "unverified")]


@pytest.mark.parametrize("topic", [*topics.EVENT_TOPICS, topics.COMMANDS, topics.RECEIPTS])
def test_a_code_request_on_a_public_topic_is_refused(topic: str) -> None:
    ann = Verifying()
    ann.claim()
    name = str(UUID(int=1))
    message = {"type": "code.request", "id": name, "user_id": "ann", "channel": "sms", "at": "2026-03-04T12:00:00Z"}
    message["address"] = mark_of(SECRET, "ann", "sms", PHONE, name)
    ann.router.feed(topic, b"ann", json.dumps(message).encode())

    assert len(ann.router.dead) == 1
    assert ann.router.sends == []


def test_a_record_in_anothers_place_is_refused_there() -> None:
    ann = Verifying()
    ann.claim()
    name = str(UUID(int=1))
    message = {"type": "code.request", "id": name, "user_id": "ann", "channel": "sms"}
    message["address"] = mark_of(SECRET, "ann", "sms", PHONE, name)
    ann.router.feed(topics.VERIFICATIONS, b"bob", json.dumps(message).encode())
    refused: list[Invalid] = ann.router.dead
    assert isinstance(refused[0], Misplaced)


# --- whatever is tried in whatever order ---

_STEPS = st.lists(
    st.sampled_from(["request", "right", "wrong", "old", "change", "back", "late", "unverify"]), min_size=1, max_size=14
)


@given(_STEPS)
def test_an_address_is_verified_only_by_its_own_newest_code_in_time(steps: list[str]) -> None:
    ann = Verifying()
    ann.claim()
    address, good_until, good, tries = PHONE, 0, "", 0
    codes = ["000000"]
    for step in steps:
        before, sent = ann.is_verified(), len(ann.router.sends)
        code = ""
        match step:
            case "request":
                ann.request(address)
                if len(ann.router.sends) > sent:
                    good, good_until, tries = code_for(ann.router.sends[-1], address), ann.router.now + CODE_MS, 0
                    codes.append(good)
            case "right":
                code = codes[-1]
            case "old":
                code = codes[0]
            case "wrong":
                code = wrong(codes[-1])
            case "change" | "back":
                address = OTHER if step == "change" else PHONE
                ann.claim(address)
            case "late":
                ann.router.after(CODE_MS)
            case _:
                ann.router.command("profile.set", phone_verified=False)
        if code:
            ann.check(code)
            is_the_one = code == good and ann.router.now < good_until and tries < MOST_WRONG
            fits = bool(ann.router.sends) and good == code_for(ann.router.sends[-1], address)
            assert ann.is_verified() == (before or (is_the_one and fits))
            if not before and good and ann.router.now < good_until and fits:
                tries += 1
                good = "" if ann.is_verified() else good
        elif step not in ("change", "back", "unverify"):
            assert ann.is_verified() == before
        assert len(ann.router.sends) <= sent + (step == "request")
