"""The inbox: what comes in, what users say of it, what they are shown."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agents.inbox.machine import InAppMachine
from app.domain.bounds import Bounds
from schemas.decode import Invalid
from schemas.instants import rfc3339
from schemas.requests import Button, Content, InboxOptions
from schemas.sends import Send, Withdraw
from tables.inbox import KEPT_MS, MOST_ITEMS
from tests.agents.stage import DAY, HOUR, NOON, Stage, a_catalog, a_send


def inbox() -> Stage:
    stage = Stage(InAppMachine(a_catalog()))
    stage.command("profile.set", name="Ada", timezone="Europe/London")
    return stage


def an_item(number: int = 1, **changes: Any) -> Send:
    return a_send(number, channel="in_app", **changes)


def shown(stage: Stage, user_id: str = "u1", **params: str) -> dict[str, Any]:
    page: dict[str, Any] = stage.machine.read("inbox", user_id, params, stage.state, stage.now)
    return page


def ids(page: dict[str, Any]) -> list[int]:
    return [int(item["id"][-12:], 16) for item in page["notifications"]]


def count(stage: Stage) -> dict[str, int]:
    counts: dict[str, int] = stage.machine.read("inbox_count", "u1", {}, stage.state, stage.now)
    return counts


def mark(stage: Stage, mark: str, number: int | None = 1) -> None:
    what = {"all": True} if number is None else {"notification_id": an_item(number).notification_id}
    stage.command("inbox.mark", **what, **{"as": mark})


# --- what comes in


def test_an_item_is_there_at_once_and_sent_by_the_inbox() -> None:
    stage = inbox()
    stage.take(an_item())

    assert stage.story() == [("sending", None), ("sent", None)]
    assert {(e.provider, e.attempt) for e in stage.events} == {("inbox", 1)}
    assert stage.reported() == [("sent", None)]
    assert stage.calls == []


def test_an_item_is_shown_as_the_contract_says() -> None:
    stage = inbox()
    stage.take(an_item())

    assert shown(stage) == {
        "notifications": [
            {
                "id": an_item().notification_id,
                "title": "Hello",
                "body": "Hello Ada",
                "url": "https://a.example/x",
                "image": None,
                "data": {"who": "Ada"},
                "created_at": rfc3339(NOON - 2000),
                "seen": False,
                "read": False,
                "archived": False,
                "icon": None,
                "actions": [],
                "expires_at": None,
                "category": "orders",
                "snoozed_until": None,
            }
        ],
        "unread_count": 1,
        "next_cursor": None,
        "last_event_id": str(NOON * 1000),
    }


def test_literal_content_is_shown_as_it_is() -> None:
    stage = inbox()
    stage.take(an_item(template_id=None, content=Content("T {{ x }}", "B", image="https://a.example/i.png")))
    [item] = shown(stage)["notifications"]

    assert (item["title"], item["body"], item["image"]) == ("T {{ x }}", "B", "https://a.example/i.png")


def test_the_same_record_again_adds_nothing() -> None:
    stage = inbox()
    stage.take(an_item())
    stage.take(an_item())

    assert count(stage) == {"unread": 1, "unseen": 1}
    assert len(stage.events) == 2


def test_dnd_and_quiet_hours_do_not_stop_the_inbox() -> None:
    stage = inbox()
    stage.command("preferences.set", preferences={"dnd": {"enabled": True}})
    stage.now = NOON + 11 * HOUR
    stage.take(an_item())

    assert stage.story()[-1] == ("sent", None)


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (("user.erase", {}), ("suppressed", "erased")),
        (("notification.cancel", {"campaign_id": "c1"}), ("cancelled", None)),
        (("preferences.set", {"preferences": {"channels": {"in_app": False}}}), ("suppressed", "opted_out")),
    ],
    ids=str,
)
def test_what_became_known_before_stops_it(command: tuple[str, dict[str, Any]], end: tuple[str, str | None]) -> None:
    kind, fields = command
    stage = inbox()
    stage.command(kind, **fields)
    stage.take(an_item())

    assert stage.story() == [end]
    assert stage.reported() == [end]
    assert shown(stage)["notifications"] == []


def test_nothing_is_put_there_after_its_expiry() -> None:
    stage = inbox()
    stage.take(an_item(expires_at=NOON))

    assert stage.story() == [("expired", None)]


def test_a_template_that_cannot_be_rendered_fails_the_send() -> None:
    stage = inbox()
    stage.take(an_item(data=msgspec.Raw(b"{}")))

    assert stage.story() == [("failed", "bad_template")]


def test_what_is_taken_back_before_it_comes_never_appears() -> None:
    stage = inbox()
    stage.take(Withdraw(send_id=an_item().send_id, user_id="u1", status="suppressed", reason="replaced", by="n2"))
    stage.take(an_item())

    assert stage.story() == [("suppressed", "replaced")]
    assert stage.events[0].detail == {"by": "n2"}
    assert shown(stage)["notifications"] == []


def test_a_send_of_another_channel_is_refused() -> None:
    with pytest.raises(Invalid):
        inbox().read("notify_send_in_app", msgspec.json.encode(a_send(channel="sms")))


# --- collapse and replay


def test_a_newer_item_replaces_unread_ones_of_its_collapse_key() -> None:
    stage = inbox()
    for number, key in ((1, "k"), (2, "other"), (3, "k")):
        stage.take(an_item(number, collapse_key=key))

    assert ids(shown(stage)) == [3, 2]
    assert count(stage) == {"unread": 2, "unseen": 2}


def test_what_was_read_is_not_replaced() -> None:
    stage = inbox()
    stage.take(an_item(1, collapse_key="k"))
    mark(stage, "read")
    stage.take(an_item(2, collapse_key="k"))

    assert ids(shown(stage)) == [2, 1]


def test_a_replayed_item_takes_its_own_place() -> None:
    stage = inbox()
    stage.take(an_item())
    stage.take(an_item(2, notification_id=an_item().notification_id, replay_id="r1"))

    assert ids(shown(stage)) == [1]
    assert count(stage) == {"unread": 1, "unseen": 1}


# --- what users say


def test_seen_says_delivered_and_seen_once() -> None:
    stage = inbox()
    stage.take(an_item())
    mark(stage, "seen")
    mark(stage, "seen")

    assert [s for s, _ in stage.story()[2:]] == ["delivered", "seen"]
    assert count(stage) == {"unread": 1, "unseen": 0}


def test_read_says_delivered_opened_and_read_once() -> None:
    stage = inbox()
    stage.take(an_item())
    mark(stage, "read")
    mark(stage, "unread")
    mark(stage, "read")

    assert [s for s, _ in stage.story()[2:]] == ["delivered", "opened", "read"]


def test_the_router_learns_of_each_mark_once() -> None:
    stage = inbox()
    stage.take(an_item())
    for each in ("seen", "seen", "read", "unread", "read", "archived"):
        mark(stage, each)

    assert stage.reported() == [("sent", None), ("seen", None), ("read", None)]
    assert {(r.send_id, r.user_id, r.channel) for r in stage.results} == {(an_item().send_id, "u1", "in_app")}


def test_seen_and_then_read_says_each_once() -> None:
    stage = inbox()
    stage.take(an_item())
    mark(stage, "seen")
    mark(stage, "read")

    assert [s for s, _ in stage.story()[2:]] == ["delivered", "seen", "opened", "read"]


def test_events_of_marks_say_what_the_send_said() -> None:
    stage = inbox()
    stage.take(an_item())
    mark(stage, "read")
    sent, read = stage.events[1], stage.events[-1]

    for name in ("notification_id", "send_id", "event_type", "category", "campaign_id", "template_version", "provider"):
        assert getattr(read, name) == getattr(sent, name)


def test_reading_counts_and_taking_it_back_too() -> None:
    stage = inbox()
    stage.take(an_item(1))
    stage.take(an_item(2))
    mark(stage, "read")
    assert count(stage) == {"unread": 1, "unseen": 1}

    mark(stage, "unread")
    assert count(stage) == {"unread": 2, "unseen": 1}


def test_archived_items_are_still_listed_but_not_counted() -> None:
    stage = inbox()
    stage.take(an_item())
    mark(stage, "archived")
    page = shown(stage)

    assert count(stage) == {"unread": 0, "unseen": 0}
    assert page["notifications"][0]["archived"] is True
    assert [s for s, _ in stage.story()[2:]] == []


def test_all_can_be_marked_at_once() -> None:
    stage = inbox()
    for number in (1, 2, 3):
        stage.take(an_item(number))
    mark(stage, "read", None)

    assert count(stage) == {"unread": 0, "unseen": 0}
    assert [e.status for e in stage.events[6:]] == ["delivered", "opened", "read"] * 3


def test_marking_what_is_not_there_changes_nothing() -> None:
    stage = inbox()
    mark(stage, "read", 9)

    assert stage.events == []
    assert count(stage) == {"unread": 0, "unseen": 0}


def test_users_see_and_mark_only_their_own() -> None:
    stage = inbox()
    stage.take(an_item(1))
    stage.take(an_item(2, user_id="u10"))
    mark(stage, "read", None)

    assert ids(shown(stage, "u10")) == [2]
    assert shown(stage, "u10")["unread_count"] == 1


# --- what users are shown


def test_pages_run_newest_first_by_arrival() -> None:
    stage = inbox()
    for number in range(1, 6):
        stage.take(an_item(number))
    first = shown(stage, limit="2")
    second = shown(stage, limit="2", cursor=first["next_cursor"])
    third = shown(stage, limit="2", cursor=second["next_cursor"])

    assert [ids(page) for page in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert third["next_cursor"] is None
    assert {page["unread_count"] for page in (first, second, third)} == {5}


def test_a_page_is_not_disturbed_by_what_comes_meanwhile() -> None:
    stage = inbox()
    for number in range(1, 4):
        stage.take(an_item(number))
    first = shown(stage, limit="2")
    stage.take(an_item(4))

    assert ids(shown(stage, limit="2", cursor=first["next_cursor"])) == [1]


def test_unread_alone_can_be_asked_for() -> None:
    stage = inbox()
    for number in range(1, 5):
        stage.take(an_item(number))
    mark(stage, "read", 3)
    first = shown(stage, limit="2", unread="true")
    second = shown(stage, limit="2", unread="true", cursor=first["next_cursor"])

    assert ids(first) + ids(second) == [4, 2, 1]


@pytest.mark.parametrize(
    ("params", "field"),
    [({"limit": "0"}, "limit"), ({"limit": "101"}, "limit"), ({"limit": "x"}, "limit"), ({"cursor": "-1"}, "cursor")],
)
def test_a_bad_parameter_is_named(params: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        shown(inbox(), **params)
    assert refused.value.field == field


def test_an_unknown_user_has_an_empty_inbox() -> None:
    nothing = {"notifications": [], "unread_count": 0, "next_cursor": None, "last_event_id": "0"}
    assert shown(inbox(), "nobody") == nothing


def test_an_unknown_view_is_refused() -> None:
    stage = inbox()
    with pytest.raises(LookupError):
        stage.machine.read("outbox", "u1", {}, stage.state, stage.now)


# --- what is forgotten


def test_an_erased_user_leaves_nothing_behind() -> None:
    stage = inbox()
    stage.take(an_item())
    stage.command("user.erase")

    assert shown(stage)["notifications"] == []
    assert stage.rows_of("inbox") == stage.rows_of("inbox_counts") == stage.rows_of("schedule") == {}
    assert stage.rows_of("inbox_changes") == {}


def test_the_oldest_make_room_and_counts_stay_true() -> None:
    stage = inbox()
    for number in range(1, MOST_ITEMS + 101):
        stage.take(an_item(number))

    assert len(stage.rows_of("inbox")) == MOST_ITEMS
    assert count(stage) == {"unread": MOST_ITEMS, "unseen": MOST_ITEMS}
    assert ids(shown(stage, limit="1")) == [MOST_ITEMS + 100]


def test_items_are_kept_for_their_time_and_no_longer() -> None:
    stage = inbox()
    stage.take(an_item(1))
    stage.wait(DAY)
    stage.take(an_item(2, expires_at=NOON + 9 * DAY))
    stage.wait(KEPT_MS - DAY)
    assert ids(shown(stage)) == [2]
    assert count(stage) == {"unread": 1, "unseen": 1}

    stage.wait(DAY)
    assert ids(shown(stage)) == []
    assert stage.rows_of("schedule") == {}


def test_a_user_has_as_many_devices_as_the_settings_say() -> None:
    stage = Stage(InAppMachine(replace(a_catalog(), bounds=Bounds(devices=1))))
    for number in range(2):
        stage.command("device.add", device_id=f"d{number}", platform="android", token=f"t{number}")

    assert [device.device_id for device in stage.state.knowledge.devices("u1")] == ["d1"]


@pytest.mark.parametrize("unread", ["true", "false"])
def test_a_page_of_large_items_ends_at_a_megabyte_and_says_where_to_go_on(unread: str) -> None:
    stage = inbox()
    for number in range(1, 21):
        stage.take(an_item(number, content=Content(title="t", body="x" * 150_000)))
    pages, cursor = [], ""
    while cursor is not None:
        asked = {"cursor": cursor} if cursor else {}
        pages.append(shown(stage, limit="100", unread=unread, **asked))
        cursor = pages[-1]["next_cursor"]

    assert [number for page in pages for number in ids(page)] == list(range(20, 0, -1))
    assert all(len(msgspec.json.encode(page)) < 1.1 * 2**20 for page in pages)
    assert len(pages) == 4


def test_an_item_that_is_larger_than_a_page_is_a_page() -> None:
    stage = inbox()
    for number in (1, 2):
        stage.take(an_item(number, content=Content(title="t", body="x" * 2_000_000)))

    assert [ids(shown(stage, **more)) for more in ({}, {"cursor": "2"})] == [[2], [1]]


# --- what the sender wishes


def test_an_item_shows_what_the_request_says_of_it() -> None:
    stage = inbox()
    actions = [Button("Track", "https://a.example/t")]
    leaves = rfc3339(NOON + HOUR)
    stage.take(an_item(inbox=InboxOptions(icon="parcel", actions=actions, expires_at=leaves)))
    [item] = shown(stage)["notifications"]

    assert (item["icon"], item["actions"]) == ("parcel", [{"label": "Track", "url": "https://a.example/t"}])
    assert (item["expires_at"], item["category"]) == (leaves, "orders")


def test_an_item_leaves_when_its_sender_says() -> None:
    stage = inbox()
    stage.take(an_item(1, inbox=InboxOptions(expires_at=rfc3339(NOON + HOUR))))
    stage.take(an_item(2))
    stage.wait(HOUR - 1)
    assert ids(shown(stage)) == [2, 1]

    stage.wait(1)
    assert ids(shown(stage)) == [2]
    assert count(stage) == {"unread": 1, "unseen": 1}


def test_what_had_left_before_it_came_is_expired() -> None:
    stage = inbox()
    stage.take(an_item(inbox=InboxOptions(expires_at=rfc3339(NOON))))

    assert stage.story() == [("expired", None)]
    assert shown(stage)["notifications"] == []


def test_the_policy_says_how_long_items_stay_and_how_many() -> None:
    stage = Stage(InAppMachine(a_catalog(inbox={"keep": "2h", "items": 3})))
    stage.command("profile.set", name="Ada")
    for number in range(1, 6):
        stage.take(an_item(number))
    assert ids(shown(stage)) == [5, 4, 3]

    stage.wait(2 * HOUR)
    assert ids(shown(stage)) == []
    assert stage.rows_of("schedule") == {}


# --- snoozing


def snooze(stage: Stage, until: int | None, number: int = 1) -> None:
    named = an_item(number).notification_id
    stage.command("inbox.snooze", notification_id=named, until=None if until is None else rfc3339(until))


def test_what_is_put_off_counts_as_nothing_until_it_comes_back_as_new() -> None:
    stage = inbox()
    stage.take(an_item(1))
    stage.take(an_item(2))
    mark(stage, "read", 1)
    snooze(stage, NOON + HOUR)
    snoozed = shown(stage)["notifications"][1]
    assert (snoozed["snoozed_until"], snoozed["read"]) == (rfc3339(NOON + HOUR), True)
    assert count(stage) == {"unread": 1, "unseen": 1}
    assert ids(shown(stage, unread="true")) == [2]

    stage.wait(HOUR)
    back = shown(stage)["notifications"][1]
    assert (back["snoozed_until"], back["read"], back["seen"]) == (None, False, False)
    assert count(stage) == {"unread": 2, "unseen": 2}


@pytest.mark.parametrize("until", [None, NOON - 1, NOON])
def test_a_time_that_is_over_brings_an_item_back_now(until: int | None) -> None:
    stage = inbox()
    stage.take(an_item())
    snooze(stage, NOON + HOUR)
    snooze(stage, until)

    assert shown(stage)["notifications"][0]["snoozed_until"] is None
    assert count(stage) == {"unread": 1, "unseen": 1}
    assert [due for due in stage.rows_of("schedule") if b"item" in due] == []


def test_snoozing_again_counts_from_the_latest() -> None:
    stage = inbox()
    stage.take(an_item())
    snooze(stage, NOON + HOUR)
    snooze(stage, NOON + 3 * HOUR)
    stage.wait(2 * HOUR)
    assert count(stage)["unread"] == 0

    stage.wait(HOUR)
    assert count(stage)["unread"] == 1


@pytest.mark.parametrize("number", [1, None])
def test_archiving_ends_a_snooze(number: int | None) -> None:
    stage = inbox()
    stage.take(an_item())
    snooze(stage, NOON + HOUR)
    mark(stage, "archived", number)
    stage.wait(2 * HOUR)

    item = shown(stage)["notifications"][0]
    assert (item["archived"], item["snoozed_until"]) == (True, None)
    assert count(stage) == {"unread": 0, "unseen": 0}


def test_what_was_archived_comes_back_after_a_snooze() -> None:
    stage = inbox()
    stage.take(an_item())
    mark(stage, "archived")
    snooze(stage, NOON + HOUR)
    stage.wait(HOUR)

    assert shown(stage)["notifications"][0]["archived"] is False
    assert count(stage) == {"unread": 1, "unseen": 1}


def test_a_snoozed_item_that_leaves_never_comes_back() -> None:
    stage = inbox()
    stage.take(an_item(inbox=InboxOptions(expires_at=rfc3339(NOON + HOUR))))
    snooze(stage, NOON + 2 * HOUR)
    stage.wait(3 * HOUR)

    assert shown(stage)["notifications"] == []
    assert count(stage) == {"unread": 0, "unseen": 0}


# --- lists and counts


def test_a_page_can_be_of_one_kind_of_items() -> None:
    stage = inbox()
    for number in range(1, 5):
        stage.take(an_item(number, category="orders" if number % 2 else "other"))
    mark(stage, "archived", 1)
    snooze(stage, NOON + HOUR, 2)

    assert ids(shown(stage, archived="true")) == [1]
    assert ids(shown(stage, archived="false", snoozed="false")) == [4, 3]
    assert ids(shown(stage, snoozed="true")) == [2]
    assert ids(shown(stage, category="orders")) == [3, 1]
    assert ids(shown(stage, category="nothing")) == []


def test_a_summary_has_the_badge_and_every_count() -> None:
    stage = inbox()
    for number in range(1, 5):
        stage.take(an_item(number))
    mark(stage, "archived", 1)
    mark(stage, "seen", 2)
    snooze(stage, NOON + HOUR, 3)
    summary = stage.machine.read("inbox_summary", "u1", {}, stage.state, stage.now)

    last_id = summary.pop("last_event_id")
    assert summary == {"badge": 2, "unread": 2, "unseen": 1, "total": 4, "archived": 1, "snoozed": 1}
    assert last_id == shown(stage)["last_event_id"]
