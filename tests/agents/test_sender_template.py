"""The template's version in force at the first call is rendered in all attempts, and the events name it."""

from dataclasses import replace as replaced
from itertools import count

import pytest
from msgspec.structs import replace

from app.domain.catalog import Catalog
from schemas.config import TemplateVersion
from tests.agents.senders import sms
from tests.agents.stage import TEMPLATE, Stage, a_send


def version(number: int, *, deleted: bool = False) -> TemplateVersion:
    body = {"en": {"body": f"version {number}"}}
    template = replace(TEMPLATE.template, channels={**TEMPLATE.template.channels, "sms": body})
    return replace(TEMPLATE, version=number, template=template, deleted=deleted)


def put_in_force(stage: Stage, number: int, *, deleted: bool = False, kept: bool = True) -> None:
    known: Catalog = stage.machine.catalog
    old = known.templates["greeting"]
    before = {**known.versions.get("greeting", {}), old.version: old} if kept else {}
    new = version(number, deleted=deleted)
    stage.machine.catalog = replaced(known, templates={"greeting": new}, versions={"greeting": before})


def versions_of(stage: Stage) -> list[tuple[str, int | None]]:
    return [(event.status, event.template_version) for event in stage.events]


def test_a_version_that_came_before_the_first_call_is_rendered_and_named() -> None:
    stage = sms()
    put_in_force(stage, 8)
    stage.take(a_send())
    assert stage.calls[0].message.body == "version 8"
    stage.answer("ok")

    assert versions_of(stage) == [("sending", 8), ("sent", 8)]


def test_all_attempts_render_the_version_of_the_first_call() -> None:
    stage = sms()
    put_in_force(stage, 8)
    stage.take(a_send())
    stage.answer("retry")
    put_in_force(stage, 9)
    stage.wait_for_call()
    assert stage.calls[0].message.body == "version 8"
    stage.crash()
    stage.wait_for_call()  # the question after the doubt
    assert stage.calls[0].message.body == "version 8"
    stage.answer("ok")

    assert {number for _, number in versions_of(stage)} == {8}


def test_a_template_that_was_deleted_since_is_rendered_all_the_same() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    put_in_force(stage, 8, deleted=True)
    stage.wait_for_call()

    assert stage.calls[0].message.body == "Hello Ada"


def test_a_version_that_is_gone_ends_the_send() -> None:
    stage = sms()
    stage.take(a_send())
    stage.answer("retry")
    put_in_force(stage, 9, kept=False)
    stage.wait_for_call()

    assert stage.story()[-1] == ("failed", "bad_template")
    assert versions_of(stage)[-1] == ("failed", 7)


def test_before_the_first_call_events_name_the_version_that_was_queued() -> None:
    stage = sms()
    put_in_force(stage, 8)
    stage.command("preferences.set", preferences={"dnd": {"enabled": True}})
    stage.take(a_send())

    assert versions_of(stage) == [("suppressed", 7)]


def test_the_router_learns_which_version_was_rendered() -> None:
    stage = sms()
    put_in_force(stage, 8)
    stage.take(a_send(variant="b"))
    put_in_force(stage, 9)
    stage.answer("ok")

    assert [(result.template_version, result.variant) for result in stage.results] == [(8, "b")]


def test_a_rendering_that_takes_too_long_ends_its_send_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = sms()
    body = {"en": {"body": "{% for n in range(9000) %}{{ n }}{% endfor %}"}}
    slow = replace(TEMPLATE, template=replace(TEMPLATE.template, id="slow", channels={"sms": body}))
    stage.machine.catalog = replaced(stage.machine.catalog, templates={"greeting": TEMPLATE, "slow": slow})
    seconds = count()
    monkeypatch.setattr("agents.shared.compose.thread_time", lambda: next(seconds))
    stage.take(a_send(1, template_id="slow"))
    stage.take(a_send(2))
    assert stage.story(1) == [("failed", "bad_template")]
    assert stage.answer_all() == [a_send(2).send_id]
