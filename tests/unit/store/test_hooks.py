"""What counts on tocsin_hooks."""

import dataclasses

import pytest
from msgspec.structs import replace

from app.store.hooks import HookStates
from schemas.hooks import HookDisabled, HookReplay
from tests.hook_topic import NOW, SECRET, HookTopic, a_hook


async def test_what_is_written_is_known_to_all_who_follow() -> None:
    topic = HookTopic()
    writer, other = topic.writer(), topic.follow()
    hook = a_hook("ab")
    disabled = HookDisabled(id="ab", at=NOW, why="it answered 410")
    replay = HookReplay(id="ab", replay_id="cd", from_ms=0, to_ms=1, at=NOW)
    for record in (hook, disabled, replay):
        await writer.write(record)

    for states in (writer.states, other, topic.follow()):
        assert states.all() == [hook]
        assert states.hook("ab") == hook
        assert states.disabled("ab") == disabled
        assert states.replay("ab") == replay

    await writer.enable("ab")
    assert other.disabled("ab") is None
    assert other.hook("ab") == hook

    await writer.delete("ab")
    for states in (writer.states, other, topic.follow()):
        assert (states.all(), states.disabled("ab"), states.replay("ab")) == ([], None, None)


async def test_a_hook_made_with_a_former_secret_is_known_still() -> None:
    topic, former = HookTopic(), b"what the secret was before it was changed"
    await topic.writer(topic.follow((former,)), secret=former).write(a_hook("ab"))

    assert topic.follow((SECRET, former)).hook("ab") is not None
    assert topic.follow((SECRET,)).hook("ab") is None


async def test_a_copy_of_what_was_deleted_changes_nothing() -> None:
    topic = HookTopic()
    writer = topic.writer()
    await writer.write(a_hook("ab"))
    copy = topic.records[0]
    await writer.delete("ab")

    writer.states.take(dataclasses.replace(copy, offset=9))

    assert writer.states.all() == []


async def test_a_record_under_anothers_key_does_not_count() -> None:
    topic = HookTopic()
    writer = topic.writer()
    states = HookStates((SECRET,))
    signed = writer._signed(
        a_hook("ab").key, b'{"id":"cd","source":"","url":"https://a.b","statuses":[],"sealed":"","at":1}'
    )
    topic._put([signed])
    states.take(topic.records[0])

    assert states.all() == []


@pytest.mark.parametrize("clock", [0, NOW - 1, NOW])
async def test_a_later_record_counts_whatever_the_clock_says(clock: int) -> None:
    topic = HookTopic()
    await topic.writer().write(a_hook("ab"))
    late = topic.writer(clock=lambda: clock)
    await late.write(replace(a_hook("ab"), url="https://example.com/other"))

    hook = topic.follow().hook("ab")
    assert hook is not None
    assert hook.url == "https://example.com/other"
