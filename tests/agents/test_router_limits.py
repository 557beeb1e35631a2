"""A user's own limits: as many messages of a channel an hour, a day or a week as they say."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.sends import Send
from tests.agents.harness import HOUR, POLICY, Harness

PER_MS = {"hour": HOUR, "day": 24 * HOUR, "week": 7 * 24 * HOUR}


def limited(most: int = 1, per: str = "hour", policy: str = POLICY) -> Harness:
    router = Harness(policy=policy)
    router.known()
    router.command("preferences.set", preferences={"limits": {"email": {"max": most, "per": per}}})
    return router


def mail(router: Harness, **fields: Any) -> tuple[str, str | None]:
    router.request(event_type="mail.sent", **fields)
    return router.last()["status"], router.last()["reason"]


def test_what_is_over_a_users_own_limit_is_suppressed_and_says_by_whom_it_is_used() -> None:
    router = limited()
    assert mail(router) == ("queued", None)
    first = router.events[0]["notification_id"]
    assert mail(router) == ("suppressed", "rate_cap")

    detail = router.last()["detail"]
    assert (detail["cap"], detail["used_by"]) == ("user:email", [first])
    assert ["cap", False, "user:email", 1, 1, HOUR, router.now + HOUR] in detail["trail"]


@pytest.mark.parametrize(("per", "ms"), PER_MS.items())
def test_a_limit_slides(per: str, ms: int) -> None:
    router = limited(per=per)
    mail(router)
    router.after(ms - 1)
    assert mail(router, data={"n": 1})[0] == "suppressed"
    router.after(1)
    assert mail(router, data={"n": 2})[0] == "queued"


def test_a_limit_stops_its_channel_only() -> None:
    router = limited()
    mail(router)
    router.forget()
    router.request()

    assert router.reported()[1:] == [("queued", "push", None), ("suppressed", "email", "rate_cap")]


def test_a_limit_is_judged_before_the_policys_caps_and_named_with_them() -> None:
    policy = f"{POLICY}\ncaps: [{{name: day, limit: 2, window: 24h, over: defer}}]\n"
    router = limited(2, policy=policy)
    mail(router)
    assert ["cap", True, "room", "user:email", "day"] in router.last()["detail"]["trail"]
    mail(router)
    assert mail(router) == ("suppressed", "rate_cap")
    router.after(HOUR)
    assert mail(router) == ("held", "rate_cap")


def test_critical_ones_count_and_are_not_stopped() -> None:
    router = Harness()
    router.known()
    router.command("preferences.set", preferences={"limits": {"sms": {"max": 1, "per": "day"}}})
    for n in range(2):
        router.request(event_type="login.otp", channels=["sms"], data={"n": n})
        assert router.last()["status"] == "queued"
    router.request(event_type="mail.sent", channels=["sms"])

    assert router.last()["reason"] == "rate_cap"


@pytest.mark.parametrize(
    ("end", "given_back"),
    [
        ("failed", True),
        ("expired", True),
        ("cancelled", True),
        ("suppressed", True),
        ("sent", False),
        ("unknown", False),
    ],
)
def test_a_place_is_given_back_where_no_provider_accepted_the_send(end: str, given_back: bool) -> None:
    router = limited()
    mail(router)
    router.settled(router.sends[-1], end)

    assert mail(router)[0] == ("queued" if given_back else "suppressed")


def test_a_patch_changes_a_limit_and_null_takes_it_away() -> None:
    router = limited()
    mail(router)
    router.command("preferences.patch", preferences={"limits": {"email": {"max": 2}}})
    assert mail(router)[0] == "queued"
    assert mail(router)[0] == "suppressed"
    router.command("preferences.patch", preferences={"limits": {"email": None}})
    assert mail(router)[0] == "queued"


def test_what_comes_out_of_a_digest_is_judged_by_the_limit_too() -> None:
    policy = POLICY.replace("mail: {channels: [email]}", "mail: {channels: [email], digest: all}")
    policy += "\ndigests: {all: {window: 10m, template: gathered}}\n"
    router = limited(policy=policy)
    for n in range(4):
        mail(router, data={"n": n})
        if n % 2:
            router.after(HOUR // 3)
    made = [(e["status"], e["reason"]) for e in router.events if e["source"] == "tocsin" and e["status"] != "accepted"]

    assert made == [("queued", None), ("suppressed", "rate_cap")]


@dataclass
class Model:
    """What a limit means, in the plainest way: of the sends that were queued and not given back, the times."""

    most: int
    window_ms: int
    places: dict[str, int] = field(default_factory=dict)

    def takes(self, notification_id: str, now: int) -> bool:
        if sum(now - self.window_ms < at for at in self.places.values()) >= self.most:
            return False
        self.places[notification_id] = now
        return True


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from(sorted(PER_MS)),
    st.lists(
        st.tuples(
            st.sampled_from(["request", "sent", "failed", "unknown", "expired"]),
            st.sampled_from([0, 1, HOUR - 1, HOUR, 24 * HOUR, 7 * 24 * HOUR - 1]),
        ),
        max_size=25,
    ),
)
def test_limits_do_what_the_plain_model_does(most: int, per: str, steps: list[tuple[str, int]]) -> None:
    router, model = limited(most, per), Model(most, PER_MS[per])
    open_sends: list[Send] = []
    for number, (step, wait_ms) in enumerate(steps):
        router.after(wait_ms)
        if step == "request":
            before = len(router.sends)
            mail(router, data={"n": number})
            queued = router.sends[before:]
            assert bool(queued) == model.takes(router.last()["notification_id"], router.now)
            open_sends += queued
        elif open_sends:
            send = open_sends.pop(0)
            router.settled(send, step)
            if step in ("failed", "expired"):
                del model.places[send.notification_id]
