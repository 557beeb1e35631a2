"""What the gateway may read of a user."""

from typing import Any

import pytest

from tests.agents.harness import Harness


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
