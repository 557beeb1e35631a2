"""Receipts by a user's own token: of the user's own sends only, and never a dead letter."""

import json
from typing import Any, get_args

import pytest

from app.api import app_reports
from app.domain.partition import partition_of
from app.store.owner_client import OwnerUnavailableError
from schemas.receipts import ReceiptStatus
from schemas.sends import Send
from schemas.topics import RECEIPTS
from tests.agents.harness import Harness
from tests.calling import user_token
from tests.security.conftest import Door, Opening, Reply

PARTITIONS = 4
STATUSES = get_args(ReceiptStatus)
APPS = {"delivered", "opened", "clicked", "seen"}
NO_SEND = "00000000-0000-4000-8000-00000000000{digit}"


class Owner:
    """Routers that own every partition; they become known of sends by ``decided``, after so many reads."""

    def __init__(self) -> None:
        self.router = Harness(partitions=PARTITIONS)
        self.reads = 0
        self.answers = True
        self.of_before = False
        self.hidden_for = 0

    async def read_partition(self, role: str, partition: int, view: str, params: dict[str, str]) -> Any:
        self.reads += 1
        if not self.answers:
            raise OwnerUnavailableError("no router answers")
        if self.of_before:
            return None
        if self.reads <= self.hidden_for:
            return {"whose": "unknown"}
        user_id, machine = params["user_id"], self.router.machine
        given = {name: value for name, value in params.items() if name != "user_id"}
        return machine.read(view, user_id, given, self.router.states[partition], self.router.now)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_reports, "_PAUSES_S", (0.0, 0.0, 0.0))


def user_in(partition: int, name: str) -> str:
    return next(f"{name}{n}" for n in range(1000) if partition_of(f"{name}{n}".encode(), PARTITIONS) == partition)


def sent_to(owner: Owner, user_id: str) -> Send:
    owner.router.known(user_id)
    owner.router.request(user_id, "mail.sent")
    send = owner.router.sends[-1]
    owner.router.forget()
    return send


async def receipt(door: Door, user_id: str, **said: Any) -> Reply:
    body = json.dumps(said).encode()
    return await door.call("POST", f"/v1/users/{user_id}/receipts", body, key=user_token(user_id))


def told_by(door: Door, owner: Owner) -> list[str]:
    """What the router tells of the receipts that were written."""
    for record in door.log.records:
        owner.router.feed(RECEIPTS, record.key, record.value)
    assert not owner.router.dead
    return [event["status"] for event in owner.router.events]


ADA, BOB, EVE = user_in(1, "ada"), user_in(1, "bob"), user_in(2, "eve")

#: What a receipt of Ada's may name, and its answer where the status is one that apps know of.
NAMED = {
    "own send": 202,
    "own send in capitals": 202,
    "own notification": 202,
    "own send and notification": 202,
    "own channel": 202,
    "a neighbour's send": 403,
    "a send in another partition": 403,
    "another's send beside the own notification": 403,
    "another's notification": 404,
    "an unknown send": 404,
    "an unknown send of another partition": 404,
    "an unknown notification": 404,
    "a partition that is none": 404,
    "no id": 404,
    "an empty id": 404,
    "an erased user's": 404,
}


def named(owner: Owner, how: str) -> dict[str, Any]:
    own, bobs, eves = (sent_to(owner, user) for user in (ADA, BOB, EVE))
    match how:
        case "own send":
            return {"send_id": own.send_id}
        case "own send in capitals":
            return {"send_id": own.send_id.upper()}
        case "own notification":
            return {"notification_id": own.notification_id}
        case "own send and notification":
            return {"send_id": own.send_id, "notification_id": own.notification_id}
        case "own channel":
            return {"notification_id": own.notification_id, "channel": "email"}
        case "a neighbour's send":
            return {"send_id": bobs.send_id}
        case "a send in another partition":
            return {"send_id": eves.send_id}
        case "another's send beside the own notification":
            return {"send_id": bobs.send_id, "notification_id": own.notification_id}
        case "another's notification":
            return {"notification_id": bobs.notification_id}
        case "an unknown send":
            return {"send_id": NO_SEND.format(digit=1)}
        case "an unknown send of another partition":
            return {"send_id": NO_SEND.format(digit=2)}
        case "an unknown notification":
            return {"notification_id": NO_SEND.format(digit=1)}
        case "a partition that is none":
            return {"send_id": NO_SEND.format(digit=9)}
        case "no id":
            return {"send_id": "no-id"}
        case "an empty id":
            return {"send_id": ""}
        case _:
            owner.router.command("user.erase", ADA)
            owner.router.wait_until_now()
            owner.router.forget()
            return {"send_id": own.send_id}


@pytest.mark.parametrize("how", NAMED)
@pytest.mark.parametrize("status", STATUSES)
async def test_only_a_users_own_sends_can_be_told_of_and_nothing_is_a_dead_letter(
    open_door: Opening, status: str, how: str
) -> None:
    owner = Owner()
    said = named(owner, how)
    async with open_door(owner=owner) as door:
        reply = await receipt(door, ADA, status=status, **said)
        told = told_by(door, owner)

    assert reply.status == (NAMED[how] if status in APPS else 422)
    assert (status in told) is (reply.status == 202)
    assert len(door.log.records) == (reply.status == 202)
    if reply.status != 202:
        assert json.loads(reply.text)["field"] == ("status" if status not in APPS else next(iter(said)))


async def test_a_send_that_was_only_just_decided_is_waited_for(open_door: Opening) -> None:
    owner = Owner()
    own = sent_to(owner, ADA)
    owner.hidden_for = 3
    async with open_door(owner=owner) as door:
        assert (await receipt(door, ADA, status="opened", send_id=own.send_id)).status == 202
        assert told_by(door, owner) == ["delivered", "opened"]


async def test_the_wait_for_a_send_ends_whatever_its_owner_does(
    open_door: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_reports, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(app_reports, "_PAUSES_S", (3600.0,))
    async with open_door(owner=Owner()) as door:
        assert (await receipt(door, ADA, status="opened", send_id=NO_SEND.format(digit=1))).status == 404


@pytest.mark.parametrize("fault", ["silent", "of the version before"])
async def test_what_no_owner_can_tell_is_taken_and_counted_later(open_door: Opening, fault: str) -> None:
    owner = Owner()
    own = sent_to(owner, ADA)
    owner.answers, owner.of_before = fault != "silent", fault != "silent"
    async with open_door(owner=owner) as door:
        assert (await receipt(door, ADA, status="seen", send_id=own.send_id)).status == 202
        assert (await receipt(door, ADA, status="seen", send_id=NO_SEND.format(digit=1))).status == 202
        assert (await receipt(door, ADA, status="seen", send_id=NO_SEND.format(digit=2))).status == 403
        assert told_by(door, owner) == ["delivered", "seen"]


async def test_a_user_has_few_receipts_of_unknown_sends_waited_for(open_door: Opening) -> None:
    owner = Owner()
    own = sent_to(owner, ADA)
    async with open_door(owner=owner) as door:
        said = {"status": "opened", "send_id": NO_SEND.format(digit=1)}
        statuses = [(await receipt(door, ADA, **said)).status for _ in range(60)]
        assert statuses == [404] * 50 + [429] * 10
        assert (await receipt(door, ADA, status="opened", send_id=own.send_id)).status == 202
        assert (await receipt(door, BOB, **said)).status == 404
