"""Keys of rows hold no words of the user, as deletions name them; rows from before are still found by theirs."""

import pytest

import agents.router.collapse
import agents.router.collect_digest
from tables.collapses import collapse_key, plain_collapse_key
from tables.digests import digest_key, plain_digest_key
from tests.agents.harness import MINUTE, Harness
from tests.agents.test_router_digest import decided, like, social


def test_keys_hold_hashes_of_what_was_said() -> None:
    assert b"secret" not in collapse_key("ann", "secret")
    assert b"secret" not in digest_key("ann", "rule", "secret", "push")
    assert collapse_key("ann", "a") != collapse_key("ann", "b")
    assert digest_key("ann", "rule", "a", "push") != digest_key("ann", "rule", "b", "push")


def test_what_was_queued_before_keys_were_hashed_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Harness()
    router.known()
    with monkeypatch.context() as before:
        before.setattr(agents.router.collapse, "collapse_key", plain_collapse_key)
        before.setattr(agents.router.collapse, "plain_collapse_key", lambda user_id, key: b"none")
        router.request(collapse_key="cart", channels=["push"])
    router.request(collapse_key="cart", channels=["push"], data={"n": 2})

    older, newer = router.sends
    assert [(each.send_id, each.by) for each in router.withdrawals] == [(older.send_id, newer.notification_id)]
    assert router.states[0].collapses.get(plain_collapse_key("ann", "cart")) is None


def test_a_digest_that_was_opened_before_keys_were_hashed_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    router = social()
    with monkeypatch.context() as before:
        before.setattr(agents.router.collect_digest, "digest_key", plain_digest_key)
        like(router, 1)
    like(router, 2)
    router.after(10 * MINUTE)

    assert [reported[0] for reported in decided(router)] == ["held", "held", "aggregated", "aggregated", "queued"]
