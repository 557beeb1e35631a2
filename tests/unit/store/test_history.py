"""What the gateway and the command line are told of the past."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from clickhouse_connect.driver import AsyncClient

from app.config import Settings
from app.store.clickhouse import History, Unavailable, connect
from app.store.embedded import embedded_clickhouse
from app.store.migrations import Kept, migrate
from schemas.instants import rfc3339
from tests.unit.store.conftest import T0, event, settings_in, store


@pytest.fixture
async def history(settings: Settings, client: AsyncClient) -> AsyncIterator[History]:
    history = History(settings)
    yield history
    await history.close()


async def test_status_counts_sends_by_channel(history: History, client: AsyncClient) -> None:
    await store(
        client,
        event("accepted", source="shop"),
        event("sent", 5, channel="push", send_id="phone"),
        event("opened", 9, channel="push", send_id="phone"),
        event("failed", 5, channel="push", send_id="tablet", reason="invalid_token"),
        event("queued", 1, channel="email", send_id="mail"),
        event("accepted", 2, user_id="v"),
        event("suppressed", 3, user_id="v", reason="no_channel"),
    )

    status = await history.status("n")

    assert status is not None
    shown = {channel: {k: v for k, v in counts.items() if v} for channel, counts in status.pop("delivery").items()}
    assert shown == {
        "push": {"sent": 1, "delivered": 1, "opened": 1, "failed": 1},
        "email": {"pending": 1},
        "all": {"suppressed": 1},
    }
    assert status == {
        "recipients": 2,
        "created_at": rfc3339(T0),
        "source": "shop",
        "event_types": [],
        "done": False,
    }


async def test_status_is_done_when_every_recipient_has_come_to_an_end(history: History, client: AsyncClient) -> None:
    async def done() -> bool:
        status = await history.status("n")
        assert status is not None
        return bool(status["done"])

    await store(client, event("accepted"), event("accepted", user_id="v"))
    await store(client, event("sent", 5, channel="email", send_id="s"))
    before = await done()
    await store(client, event("suppressed", 6, channel="email", user_id="v", reason="opted_out"))

    assert not before
    assert await done()


async def test_an_unknown_notification_has_no_status_and_no_events(history: History) -> None:
    assert await history.status("unheard of") is None
    assert await history.events("unheard of") == ([], None)


async def test_events_come_as_written_once_and_oldest_first(history: History, client: AsyncClient) -> None:
    trail = event("queued", 0, channel="email", send_id="s", detail={"trail": [["caps", 3]], "differs": True})
    events = [event("sending", 5, attempt=1), trail, event("accepted"), event("accepted", user_id="v")]
    await store(client, *events)
    await store(client, trail)

    found, more = await history.events("n", "u")

    assert [each["status"] for each in found] == ["accepted", "queued", "sending"]
    assert found[1] == {name: getattr(trail, name) for name in trail.__struct_fields__}
    assert more is None


async def test_pages_of_events_join_without_gap_or_overlap(history: History, client: AsyncClient) -> None:
    events = [event("sending", ms // 3, attempt=ms) for ms in range(20)]
    await store(client, *events)
    await store(client, *events[::2])

    seen, cursor = [], None
    while True:
        page, cursor = await history.events("n", cursor=cursor, limit=7)
        assert len(page) <= 7
        seen += [each["event_id"] for each in page]
        if cursor is None:
            break

    assert sorted(seen) == sorted(each.event_id for each in events)


async def test_a_user_has_a_history_of_their_own_newest_first(history: History, client: AsyncClient) -> None:
    events = []
    for number in range(9):
        name = f"00000000-0000-4000-8000-{number:012x}"
        events += [
            event("accepted", number // 2, notification_id=name),
            event("sent", number + 5, notification_id=name, channel="push", send_id=f"p{number}"),
            event(
                "failed", number + 5, notification_id=name, channel="email", send_id=f"m{number}", reason="permanent"
            ),
        ]
    await store(client, *events, event("accepted", user_id="v"), event("suppressed", 1, user_id="v", reason="erased"))
    seen: list[dict[str, object]] = []
    cursor: str | None = None
    while True:
        page, cursor = await history.of_user("u", T0, cursor, limit=5)
        assert len(page) <= 5
        seen += page
        if cursor is None:
            break

    assert len({(each["notification_id"], each["channel"]) for each in seen}) == len(seen) == 18
    assert [each["at"] for each in seen] == sorted((str(each["at"]) for each in seen), reverse=True)
    assert {(each["channel"], each["status"], each["reason"]) for each in seen} == {
        ("push", "sent", None),
        ("email", "failed", "permanent"),
    }
    assert seen[0].keys() == {"notification_id", "event_type", "category", "channel", "status", "reason", "at"}
    assert (await history.of_user("v", T0))[0][0]["channel"] is None


async def test_what_is_too_long_ago_is_no_part_of_a_history(history: History, client: AsyncClient) -> None:
    await store(client, event("accepted"), event("sent", 5, channel="push", send_id="s"))

    assert len((await history.of_user("u", T0))[0]) == 1
    assert await history.of_user("u", T0 + 1) == ([], None)


async def test_a_cursor_of_somebody_else_is_refused(history: History) -> None:
    for cursor in ("", "nonsense", "W10", "é"):
        with pytest.raises(ValueError, match="cursor"):
            await history.events("n", cursor=cursor)
        with pytest.raises(ValueError, match="cursor"):
            await history.of_user("u", T0, cursor)


async def test_reads_go_on_after_the_role_was_restarted(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    history = History(settings)
    async with embedded_clickhouse(tmp_path / "clickhouse", tmp_path):
        async with await connect(settings, database=None) as client:
            await migrate(client, Kept())
            await store(client, event("accepted"))
        before = await history.status("n")
    with pytest.raises(Unavailable):
        await history.status("n")
    async with embedded_clickhouse(tmp_path / "clickhouse", tmp_path):
        after = await history.status("n")
    await history.close()

    assert before is not None
    assert after == before
