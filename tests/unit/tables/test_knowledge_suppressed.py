"""The suppression list, as commands and broadcasts say it."""

import msgspec
import pytest

from app.domain.addresses import parsed_hash
from schemas.broadcasts import AddressSuppressed
from tables.knowledge import Knowledge
from tables.rows import MemoryRows
from tests.unit.tables.known import NOON, Known

HASH = parsed_hash("email", "ann@example.com").hex()
ON = "suppression.add"
OFF = "suppression.remove"


def bounced(at: int) -> AddressSuppressed:
    return AddressSuppressed(channel="email", address_hash=HASH, reason="hard_bounce", at=at)


@pytest.mark.parametrize("broadcast_first", [True, False])
@pytest.mark.parametrize(("bounced_at", "listed"), [(NOON - 5, False), (NOON, False), (NOON + 5, True)])
def test_of_a_bounce_and_a_removal_the_later_holds_whichever_is_read_first(
    known: Known, bounced_at: int, listed: bool, broadcast_first: bool
) -> None:
    """They lie on two topics. (At the same moment the removal holds: an operator says it again if need be.)"""
    if broadcast_first:
        known.knowledge.learn(bounced(bounced_at))
    known.say(OFF, None, channel="email", address="ann@example.com")
    if not broadcast_first:
        known.knowledge.learn(bounced(bounced_at))

    assert known.knowledge.is_suppressed("email", "ann@example.com") is listed


def test_commands_about_an_address_hold_in_the_order_of_the_log(known: Known) -> None:
    message = {"channel": "email", "address": "ann@example.com"}
    for kind, listed in ((ON, True), (OFF, False), (ON, True), (OFF, False)):
        known.now -= 1000  # another producer's clock
        known.say(kind, None, **message)
        assert known.knowledge.is_suppressed("email", "ann@example.com") is listed


def test_a_row_of_the_revision_before_is_read(known: Known) -> None:
    rows = MemoryRows()
    key = b"email\0" + bytes.fromhex(HASH)
    rows.write("suppressions", {key: b"\x01" + msgspec.msgpack.encode(["asked", NOON])})
    knowledge = Knowledge(rows)

    assert knowledge.is_suppressed("email", "ann@example.com")


def test_what_was_suppressed_in_idna_2003_form_stays_suppressed_until_it_is_removed(known: Known) -> None:
    known.say("suppression.add", None, channel="email", address="anna@strasse.example")
    before = known.knowledge.is_suppressed("email", "anna@xn--strae-oqa.example")
    known.say("suppression.remove", None, channel="email", address="anna@straße.example")

    assert (before, known.knowledge.is_suppressed("email", "anna@xn--strae-oqa.example")) == (True, False)


def test_suppressing_an_international_domain_leaves_the_other_spelling_alone(known: Known) -> None:
    known.say("suppression.add", None, channel="email", address="anna@straße.example")

    assert known.knowledge.is_suppressed("email", "anna@xn--strae-oqa.example")
    assert not known.knowledge.is_suppressed("email", "anna@strasse.example")
