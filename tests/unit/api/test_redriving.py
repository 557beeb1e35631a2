"""What a dry run says is what the roles then do; and what may be asked of `POST /v1/dead/redrive`."""

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from app.api.redriving import would_become
from schemas import topics
from schemas.dead import dead_letter
from schemas.instants import rfc3339
from tests.agents.harness import HOUR, NOON
from tests.agents.test_redriven import HOME, KINDS, Kind, original, put_back, words, world
from tests.fuzz.corpus import command, seeds
from tests.fuzz.machines import PARTITIONS
from tests.records import Record
from tests.unit.api.test_hostile_calls import A_LETTER, A_REQUEST, KEY, gateway

CONTENT = {"title": "t", "body": "b"}
BAD = [
    Kind(topics.EVENTS, {"user_id": "ann"}),
    Kind(topics.EVENTS, {"user_id": "bob", "event_type": "mail.sent"}),
    Kind(topics.EVENTS, {"user_id": "ann", "event_type": "nothing.known"}),
    Kind(topics.EVENTS, {"user_id": "ann", "event_type": "x", "content": {**CONTENT, "url": "javascript:1"}}),
    Kind(topics.EVENTS, {"user_id": "ann", "event_type": "x", "content": CONTENT, "expires_at": rfc3339(NOON + 1)}),
    Kind(topics.EVENTS, {"user_id": "ann", "event_type": "x", "content": CONTENT, "created_at": rfc3339(0)}),
    Kind(topics.COMMANDS, command(901, {"type": "profile.set", "timezone": "Mars/Olympus"})),
    Kind(topics.COMMANDS, command(902, {"type": "user.erase"}), b"bob"),
    Kind(topics.COMMANDS, {**command(903, {"type": "suppression.add"}), "user_id": None}),
    Kind(topics.RECEIPTS, {"id": "r", "status": "opened", "send_id": "none", "occurred_at": rfc3339(NOON)}, None),
    *(Kind(topic, said) for topic in (topics.EVENTS, topics.COMMANDS, topics.RECEIPTS) for said in seeds()[topic]),
]


@pytest.mark.parametrize("kind", [*KINDS, *BAD], ids=words)
@pytest.mark.parametrize("days", [0, 5])
def test_a_dry_run_says_what_the_router_then_does(kind: Kind, days: int) -> None:
    machines = world()
    machines.strict = False
    machines.after(days * 24 * HOUR)
    machines.letters.clear()
    it = original(kind, HOME)
    said = would_become(it, machines.catalog, PARTITIONS, machines.now)
    before = len(machines.events)
    put_back(machines, it)

    ends = {e.status for e in machines.events[before:]} & {"expired"} if kind.topic in topics.EVENT_TOPICS else set()
    # Whether somebody asked for the same before is known to the owner only.
    repeated = any(e.status == "repeated" or e.reason == "duplicate" for e in machines.events[before:])
    became = "dead" if machines.letters else "expired" if ends else "accepted"
    assert said == became or (repeated and said != "dead")


async def call(body: Any, *, letters: Any = None) -> tuple[int, Any, Any]:
    async with gateway() as (client, log):
        if letters is not None:
            log.letters[:] = letters
        answer = await client.post("/v1/dead/redrive", headers={"Authorization": f"Bearer {KEY}"}, json=body)
        return answer.status, await answer.json(), log


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"),
        ({"dry_run": True}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["7"]}, "ids"),
        ({"ids": ["0-0\n"]}, "ids"),
        ({"ids": ["0-0"], "topic": "notify_events"}, "ids"),
        ({"ids": ["0-0"] * 1001}, "ids"),
        ({"from": "yesterday"}, "from"),
        ({"topic": "x", "to": "2300-01-01T00:00:00Z"}, "to"),
        ({"topic": "x", "edited": {"value": ""}}, "edited"),
        ({"ids": ["0-0"], "edited": {"value": "?"}}, "edited.value"),
        ({"ids": ["0-0"], "edited": {"value": "e30="}}, "edited.user_id"),
        ({"ids": ["0-0"], "edited": {"key": "Ym9i", "value": b64encode(A_REQUEST).decode()}}, "edited.key"),
        ({"ids": ["0-9"], "edited": {"value": "e30="}}, "ids"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_its_field(body: Any, field: str) -> None:
    status, problem, log = await call(body)

    assert status in (400, 404, 422)
    assert problem["field"] == field
    assert (log.published, log.audit.entries) == ([], [])


async def test_a_letter_is_put_back_and_shows_it() -> None:
    async with gateway() as (client, log):
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = await client.post("/v1/dead/redrive", headers=headers, json={"ids": ["0-0"]})
        shown = await (await client.get("/v1/dead/0-0", headers=headers)).json()
        [listed] = (await (await client.get("/v1/dead?topic=notify_events", headers=headers)).json())["letters"]

        assert (answer.status, await answer.json()) == (
            202,
            {"matched": 1, "redriven": 1, "refused": [], "left_out": 0},
        )
        assert shown == listed
        assert (shown["redriven"]["by"], shown["redriven"]["to"].rpartition(":")[0]) == ("all", f"{topics.EVENTS}:0")
        assert log.published == [topics.EVENTS]
        assert [(e.action, e.what) for e in log.audit.entries] == [("dead.redrive", "1 letters: 0-0")]


@pytest.mark.parametrize("body", [{"ids": ["0-0"]}, {"code": "internal"}, {"from": "1970-01-01T00:00:00Z"}])
async def test_a_dry_run_says_what_would_come_of_it_and_changes_nothing(body: Any) -> None:
    status, answer, log = await call({**body, "dry_run": True})

    assert (status, answer["would"]) == (200, {"accepted": 1, "expired": 0, "dead": 0})
    assert (answer["matched"], answer["redriven"]) == (1, 0)
    assert (log.published, log.audit.entries) == ([], [])


async def test_most_of_what_is_old_would_expire_and_a_dry_run_says_so() -> None:
    old = msgspec.structs.replace(A_LETTER, timestamp=NOON - 5 * 24 * HOUR)
    _, answer, _ = await call({"topic": topics.EVENTS, "dry_run": True}, letters=[old])

    assert answer["would"] == {"accepted": 0, "expired": 1, "dead": 0}


async def test_a_corrected_letter_goes_to_the_partition_of_its_key() -> None:
    record = Record(topics.EVENTS, 0, 7, NOON, b"bob", A_REQUEST)
    letter = dead_letter(record, "misplaced", "is not the user_id", "key", "router", NOON)
    edited = {"key": b64encode(b"ada").decode(), "value": b64encode(A_REQUEST + b" ").decode()}
    dry, answer, _ = await call({"ids": ["0-0"], "edited": edited, "dry_run": True}, letters=[letter])
    status, done, log = await call({"ids": ["0-0"], "edited": edited}, letters=[letter])

    assert (dry, answer["would"]["accepted"]) == (200, 1)
    assert (status, done["redriven"]) == (202, 1)
    assert log.refused == []
