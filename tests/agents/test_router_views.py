"""What the gateway may read of a user."""

from typing import Any

import pytest

from app.store.erased import ErasedUsers
from app.testing.roles import Record
from schemas.instants import rfc3339
from schemas.topics import ERASURES
from tests.agents.harness import HOUR, NOON, Harness


def read(router: Harness, view: str, user_id: str = "ann") -> Any:
    return router.machine.read(view, user_id, {}, router.states[0], router.now)


def test_a_profile_is_shown_as_it_was_merged() -> None:
    router = Harness()
    router.known(name="Ann")

    shown = read(router, "profile")
    assert (shown["email"], shown["email_verified"], shown["name"]) == ("ann@example.com", True, "Ann")
    assert read(router, "profile", "bob") is None


def test_no_token_is_shown_whole() -> None:
    router = Harness()
    router.device(token="a long and secret token")

    (device,) = read(router, "devices")
    assert (device["device_id"], device["token"]) == ("d1", "…oken")


def test_preferences_are_shown_as_the_document_that_was_said() -> None:
    router = Harness()
    document = {"channels": {"sms": False}, "dnd": {"enabled": False, "until": None}}
    router.command("preferences.set", preferences=document)

    assert read(router, "preferences") == document


def test_consents_are_shown_with_their_evidence() -> None:
    router = Harness()
    router.command("consent.set", channel="sms", category="marketing", granted=True, evidence={"form": 7})

    (consent,) = read(router, "consents")
    assert (consent["granted"], consent["evidence"]) == (True, {"form": 7})


def test_a_withdrawn_consent_keeps_the_evidence_of_its_grant() -> None:
    router = Harness()
    message = {"channel": "sms", "category": "marketing"}
    router.command("consent.set", **message, granted=True, evidence={"form": 7})
    router.after(HOUR)
    router.command("consent.set", **message, granted=False, evidence={"reply": "STOP"})
    router.command("consent.set", **message, granted=False)

    (consent,) = read(router, "consents")
    assert (consent["granted"], consent["at"], consent["evidence"]) == (False, rfc3339(NOON + HOUR), None)
    assert consent["withdrawn_grant"] == {"at": rfc3339(NOON), "evidence": {"form": 7}}

    router.command("consent.set", **message, granted=True, evidence={"form": 8})
    (again,) = read(router, "consents")
    assert (again["evidence"], again["withdrawn_grant"]) == ({"form": 8}, None)


def test_consents_and_their_evidence_go_with_the_user() -> None:
    router = Harness()
    router.known()
    router.command("consent.set", channel="sms", category="marketing", granted=True, evidence={"signature": "Ann"})
    router.command("user.erase")

    assert read(router, "consents") == []
    rows = [row for tables in router.rows for table in tables.tables.values() for row in table.values()]
    assert not any(b"signature" in row for row in rows)


def test_evidence_has_its_limit() -> None:
    router = Harness()
    router.command("consent.set", channel="sms", category="marketing", granted=True, evidence="x" * 20_000)

    assert [refused.field for refused in router.dead] == ["evidence"]


def test_an_erased_user_is_known_as_such() -> None:
    router = Harness()
    router.known()
    before = read(router, "known")
    router.command("user.erase")

    assert before == {"known": True, "erased": False}
    assert read(router, "known") == {"known": False, "erased": True}


def test_a_view_that_there_is_not_is_an_error() -> None:
    with pytest.raises(LookupError):
        read(Harness(), "secrets")


def test_an_erasure_has_a_certificate_that_holds_nothing_of_the_user() -> None:
    router = Harness()
    router.known()
    router.command("user.erase", id="erasure-1")
    router.after(HOUR)
    router.command("user.erase", id="erasure-2")
    shown = [
        router.machine.read("erasure", "", {"erasure_id": name}, router.states[0], router.now)
        for name in ("erasure-1", "erasure-2", "erasure-3")
    ]

    assert [each and (each["erasure_id"], each["erased_at"]) for each in shown] == [
        ("erasure-1", rfc3339(NOON)),
        ("erasure-2", rfc3339(NOON + HOUR)),
        None,
    ]
    assert "ann" not in str(shown)


def test_an_erasure_is_told_to_those_who_keep_no_tables_and_a_new_beginning_too() -> None:
    router = Harness()
    router.known()
    router.command("user.erase", id="erasure-1")
    router.after(HOUR)
    router.command("user.erase", id="erasure-2")
    router.after(HOUR)
    router.known()

    users = ErasedUsers()
    for number, record in enumerate(router.erasures):
        assert (record.topic, record.partition) == (ERASURES, 0)
        users.take(Record(ERASURES, number, router.now, record.key, record.value))

    assert {name: each.user_id for name, each in users.to_redact.items()} == {"erasure-1": "ann", "erasure-2": "ann"}
    assert users.hides("ann", NOON + HOUR)
    assert not users.hides("ann", NOON + 3 * HOUR)
    assert users.since("ann", NOON + HOUR)
    assert not users.since("ann", NOON + HOUR + 1)
    assert all(b"ann" not in (record.key or b"") for record in router.erasures)
