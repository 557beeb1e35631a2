"""What would become of a request that came now: what becomes of it when it comes, and nothing changes by asking."""

import json
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decode import Invalid
from schemas.lifecycle import encode_lifecycle
from tests.agents.harness import NOON, Harness
from tests.agents.test_router_caps import capped
from tests.unit.streaming.memory_store import MemoryStore
from tests.unit.streaming.test_runner import runner_of

_AT_NIGHT = {"quiet_hours": {"enabled": True, "start": "11:00", "end": "13:00"}}
_PREFERENCES = st.sampled_from([{}, {"channels": {"push": False}}, {"channels": {"email": False}}, _AT_NIGHT])
_REQUESTS = st.fixed_dictionaries(
    {"event_type": st.sampled_from(["order.shipped", "mail.sent", "offer.made", "login.otp", "comment.created"])},
    optional={
        "channels": st.lists(st.sampled_from(["push", "email", "sms", "in_app"]), min_size=1, unique=True),
        "priority": st.sampled_from(["low", "normal", "high", "critical"]),
        "content": st.just({"title": "T", "body": "B"}),
        "send_at": st.just("2026-03-05T12:00:00Z"),
    },
)


def looked_at(router: Harness, user_id: str, request: dict[str, Any]) -> list[dict[str, Any]]:
    """As a worker answers: from stored rows, and with a state of its own."""
    state = router.machine.open(router.rows[0], 0)
    asked = json.dumps({"user_id": user_id, **request})
    events: list[dict[str, Any]] = router.machine.read("outlook", user_id, {"request": asked}, state, router.now)
    return events


def said(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(each["channel"], each["status"], each["reason"], (each["detail"] or {}).get("trail")) for each in events]


@given(_PREFERENCES, _REQUESTS, st.booleans())
def test_the_outlook_is_what_happens_then(preferences: dict[str, Any], request: dict[str, Any], known: bool) -> None:
    router = Harness()
    if known:
        router.known()
        router.device()
        router.command("preferences.set", preferences=preferences)
    before = len(router.events)
    outlook = looked_at(router, "ann", request)
    router.request("ann", **request)
    assert outlook
    assert said(outlook) == said(json.loads(json.dumps(router.events[before:])))


@pytest.mark.parametrize("error", [None, RuntimeError("in the middle")])
async def test_nothing_of_an_outlook_is_there_for_who_reads_next(error: Exception | None) -> None:
    router, store = capped("name: day"), MemoryStore()
    store.write(router.rows[0].tables)
    runner, _ = runner_of(router.machine, None, due=0, store=store)
    runner.ready.set()

    async def read(view: str, **request: str) -> Any:
        asked = json.dumps({"user_id": "ann", "event_type": "mail.sent", **request})
        return await runner.read(view, "ann", {"request": asked}, None, 1.0)

    profile, outlook = await read("profile"), await read("outlook", idempotency_key="one")
    with patch("agents.router.outlook.encode_lifecycle", side_effect=error or encode_lifecycle), suppress(RuntimeError):
        await read("outlook", idempotency_key="two")

    assert (bool(profile), outlook[-1]["status"]) == (True, "queued")
    assert await read("profile") == profile
    assert said(await read("outlook", idempotency_key="three")) == said(outlook)  # (the cap has one place)


@pytest.mark.parametrize(
    "request_text", ["", "{", "[]", '{"user_id": "ann"}', '{"user_id": "bob", "event_type": "a.b"}']
)
def test_what_could_not_be_taken_has_no_outlook(request_text: str) -> None:
    router = Harness()
    with pytest.raises(Invalid):
        router.machine.read("outlook", "ann", {"request": request_text}, router.machine.open(router.rows[0], 0), NOON)
    with pytest.raises(Invalid, match="missing"):
        router.machine.read("outlook", "ann", {}, router.machine.open(router.rows[0], 0), NOON)
