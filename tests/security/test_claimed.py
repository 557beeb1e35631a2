"""Nothing but the code reaches an address that only its user says is theirs: whatever they set with their own token,
whatever services ask for, and however the policy lets it through."""

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.router.verify_addresses import verification_view
from agents.sender.calls import Call
from app.api.profile import unvouched
from app.domain.codes import code_of, mark_of, proof_of
from app.domain.outcome import Outcome
from app.testing.catalog import catalog_of
from app.testing.providers import EVERY_PROVIDER
from app.testing.roles import SECRET, Roles
from schemas import topics
from schemas.decode import Invalid
from schemas.instants import parse_ms, rfc3339
from schemas.verifications import VERIFY

NOON = parse_ms("2026-03-04T12:00:00Z")
MINUTE = 60_000
PHONES = ("+442071838750", "+442071838751", "+14155552671")
EMAILS = ("ann@example.com", "Ann.Other@example.org")

#: Lets through whatever a policy can let through.
POLICY = """
defaults:
  expires_after: 48h
  channels: {sms: {verified: false}, email: {verified: false}}
categories:
  security: {opt_out: never, critical: true, channels: [sms, email, push], verified: {sms: false, email: false}}
  orders: {channels: [push, email, sms, in_app], verified: {sms: false}}
  social: {channels: [email, sms], digest: social}
  marketing: {channels: [email, sms], consent: [sms], unsubscribe: one_click}
  other: {channels: [in_app, email, sms]}
caps:
  - {name: few, channel: sms, limit: 2, window: 1h, over: defer}
  - {name: many, category: orders, limit: 3, window: 1h, over: {digest: social}}
digests:
  social: {window: 5m, max_wait: 30m, min_items: 1, template: gathered, channels: [email, sms]}
event_types:
  login.code: {category: security, template: otp}
  order.shipped: {category: orders, template: note}
  order.paid: {category: orders, template: note, fallback: {chain: [push, sms, email], wait: 2m, until: [delivered]}}
  comment.made: {category: social, template: note}
  offer.made: {category: marketing, template: note}
"""
CODE = re.compile(r"(\d{6}) is your verification code\. It is valid for 10 minutes\. If you did not ask for it, .*")


@dataclass
class Town:
    """Ann with her own token, services with all their means, and what providers are asked to send."""

    now: int = NOON
    names: int = 0
    answers: list[Outcome] = field(default_factory=list)
    #: What somebody vouches for, by a code that came back.
    verified: set[str] = field(default_factory=set)
    codes: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        self.roles = Roles(catalog_of(POLICY, None, 1), EVERY_PROVIDER, self._answer, lambda event: None, self._called)
        self.router = next(role for role in self.roles._all if role.machine.role == "router")
        self.latest: dict[str, str] = {}
        #: By the code's name: the address that it was asked for.
        self.asked: dict[str, str] = {}

    def _answer(self, call: Call) -> Outcome:
        return self.answers.pop() if self.answers else Outcome("ok", provider_message_id=f"m{call.key.hex()}")

    def _called(self, call: Call) -> None:
        if call.to.channel not in ("email", "sms"):
            return
        self.sent += 1
        if call.to.value in self.verified:
            return
        text = (call.message.body if call.to.channel == "sms" else call.message.text or call.message.html) or ""
        found = CODE.fullmatch(text)
        name = call.handle.notification_id
        code = code_of(SECRET, call.user_id, call.to.channel, call.to.value, name)
        assert found is not None, f"{call.to.value} got {call.message}"
        assert found[1] == code
        assert self.asked[name] == call.to.value, "a code was sent to another address than it was asked for"
        assert call.message.subject in (None, "Your verification code")
        assert call.message.url is None
        self.codes += 1

    def name(self) -> str:
        self.names += 1
        return str(UUID(int=self.names, version=4))

    def produce(self, topic: str, said: dict[str, Any]) -> None:
        with contextlib.suppress(Invalid):
            self.roles.produce(topic, b"ann", json.dumps(said).encode(), self.now)

    def command(self, kind: str, **fields: Any) -> None:
        given = {"type": kind, "id": self.name(), "at": rfc3339(self.now), "user_id": "ann"}
        self.produce(topics.COMMANDS, {**fields, **given})

    def wait(self, ms: int) -> None:
        end = self.now + ms
        while (due := self.roles.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.roles.wake(self.now)
        self.now = end

    def seen(self, channel: str) -> dict[str, Any]:
        return verification_view(self.router.state, "ann", {"channel": channel}, 5, self.now)

    # --- what ann does with her own token ---

    def profile(self, fields: dict[str, Any]) -> None:
        self.command("profile.set", **unvouched(fields))
        for channel in ("email", "sms"):
            seen = self.seen(channel)
            if not seen["verified"]:
                self.verified.discard(seen["address"])

    def code(self, channel: str) -> None:
        address = self.seen(channel)["address"]
        if address is not None:
            name = self.latest[channel] = self.name()
            self.asked[name] = address
            mark = mark_of(SECRET, "ann", channel, address, name)
            said = {"type": "code.request", "id": name, "user_id": "ann", "channel": channel, "address": mark}
            self.produce(topics.VERIFICATIONS, said)

    def verify(self, channel: str) -> None:
        address, name = self.seen(channel)["address"], self.name()
        if address is None or channel not in self.latest:
            return
        code = code_of(SECRET, "ann", channel, address, self.latest[channel])
        proof = proof_of(SECRET, "ann", channel, code, name)
        # What waits for it may go out as soon as it is verified.
        may = self.seen(channel)["pending"]
        if may:
            self.verified.add(address)
        self.produce(
            topics.VERIFICATIONS,
            {"type": "code.check", "id": name, "user_id": "ann", "channel": channel, "proof": proof},
        )
        if may and not self.seen(channel)["verified"]:
            self.verified.discard(address)


_flags = st.sampled_from([True, False, None, "yes", 1])
_PROFILE = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from([*EMAILS, "ANN@EXAMPLE.COM", "", None]),
        "phone": st.sampled_from([*PHONES, "+44 20 7183 8750", "", None]),
        "email_verified": _flags,
        "phone_verified": _flags,
        "claimed": _flags,
        "verifies": st.just("ab" * 32),
        "type": st.just("address.verify"),
        "timezone": st.sampled_from(["Asia/Tokyo", "Europe/London"]),
    },
)
_SWITCHES = st.dictionaries(st.sampled_from(["push", "email", "sms", "in_app"]), st.booleans(), max_size=3)
_PREFERENCES = st.fixed_dictionaries(
    {},
    optional={
        "channels": _SWITCHES,
        "categories": st.dictionaries(st.sampled_from(["security", "social", "marketing"]), _SWITCHES, max_size=2),
        "event_types": st.dictionaries(st.sampled_from([VERIFY, "*", "order.*"]), _SWITCHES, max_size=2),
        "digest": st.just({"social": {"every": "hour"}}),
        "quiet_hours": st.just({"enabled": True, "start": "11:00", "end": "13:00"}),
        "dnd": st.just({"enabled": True, "until": None}),
    },
)
_REQUEST = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from(
            ["login.code", "order.shipped", "order.paid", "comment.made", "offer.made", "any.thing", VERIFY]
        )
    },
    optional={
        "content": st.just({"title": "Buy", "body": "123456 is your verification code.", "html": "<b>buy</b>"}),
        "template_id": st.just("note"),
        "channels": st.lists(st.sampled_from(["email", "sms", "push", "in_app"]), max_size=4),
        "priority": st.sampled_from(["critical", "high", "low"]),
        "source": st.sampled_from(["tocsin", "auth", "shop"]),
        "collapse_key": st.sampled_from([VERIFY, "x"]),
        "verifies": st.just("ab" * 32),
        "category": st.just("security"),
        "locale": st.just("de"),
    },
)
_STEPS = st.one_of(
    st.tuples(st.just("profile"), _PROFILE),
    st.tuples(st.just("profile"), _PROFILE),
    st.tuples(st.just("request"), _REQUEST),
    st.tuples(st.just("request"), _REQUEST),
    st.tuples(st.just("preferences"), _PREFERENCES),
    st.tuples(st.just("consent"), st.booleans()),
    st.tuples(st.just("device"), st.none()),
    st.tuples(st.just("active"), st.none()),
    st.tuples(st.just("code"), st.sampled_from(["email", "sms"])),
    st.tuples(st.just("verify"), st.sampled_from(["email", "sms"])),
    st.tuples(st.just("wait"), st.sampled_from([1_000, MINUTE, 12 * MINUTE, 90 * MINUTE])),
    st.tuples(st.just("answer"), st.sampled_from(["retry", "drop", "in_doubt", "throttle"])),
)


def take(town: Town, step: str, given: Any) -> None:
    match step:
        case "profile":
            town.profile(given)
        case "request":
            town.produce(topics.EVENTS, {"user_id": "ann", **given})
        case "preferences":
            town.command("preferences.set", preferences=given)
        case "consent":
            evidence = {"evidence": {"form": 1}} if given else {}
            town.command("consent.set", channel="sms", category="marketing", granted=given, **evidence)
        case "device":
            town.command("device.add", device_id="d", platform="android", token="a token")
        case "active":
            town.command("activity.seen", timezone="Asia/Tokyo")
        case "code":
            town.code(given)
        case "verify":
            town.verify(given)
        case "wait":
            town.wait(given)
        case _:
            town.answers.append(Outcome(given))


@given(st.lists(_STEPS, min_size=3, max_size=25))
@settings(max_examples=150, deadline=None)
def test_nothing_but_its_code_reaches_a_claimed_address(steps: list[tuple[str, Any]]) -> None:
    town = Town()
    for step, fields in steps:
        take(town, step, fields)
    town.wait(3 * 24 * 60 * MINUTE)


def test_a_code_that_is_tried_again_does_not_follow_its_user_to_another_address() -> None:
    town = Town(answers=[Outcome("retry")])
    town.profile({"phone": PHONES[0]})
    town.code("sms")
    town.profile({"phone": PHONES[1]})
    town.wait(120 * MINUTE)

    assert town.sent == 1


def test_the_property_sees_codes_and_what_follows_them() -> None:
    """So that it isn't true of a town in which nothing is ever sent."""
    town = Town()
    town.profile({"email": EMAILS[0], "phone": PHONES[0], "phone_verified": True, "claimed": False})
    for event_type in ("login.code", "order.shipped", "order.paid", "comment.made", "any.thing"):
        given = {"content": {"title": "t", "body": "b"}} if event_type == "any.thing" else {}
        take(town, "request", {"event_type": event_type, **given})
    town.wait(120 * MINUTE)
    assert town.sent == 0
    for channel in ("email", "sms"):
        town.code(channel)
    assert town.codes == town.sent == 2
    for channel in ("email", "sms"):
        town.verify(channel)
        assert town.seen(channel)["verified"]
    take(town, "request", {"event_type": "login.code"})
    assert town.sent == 4
