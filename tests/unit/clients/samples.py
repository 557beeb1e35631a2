"""Arguments with which each method of the client can be called, by resource and method."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.fuzz.gateway import A_HOOK, A_KEY, CAMPAIGN, known_id

_CHANNELS = {"push": {"en": {"title": "Hello", "body": "{{ name }}"}}}
_SAID = {"event_type": "a.b", "content": {"title": "t", "body": "b"}}
_OUTAGE = {"from_": "2026-03-04T10:00:00Z", "to": "2026-03-04T11:00:00Z"}
_POLICY = "defaults: {category: other}\ncategories: {other: {channels: [in_app]}}\n"
_UNKNOWN = "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5f"


class Sample(NamedTuple):
    """``key``: who may call so. ``refused``: what a right gateway answers with, as there is no such thing."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    key: str = "shop"
    refused: int | None = None


def samples() -> dict[tuple[str, str], Sample]:
    """One for each method."""
    admin, user = "ops", "ann"
    return {
        ("notifications", "send"): Sample((), {**_SAID, "user_id": "ann"}),
        ("notifications", "cancel"): Sample((known_id(),)),
        ("notifications", "status"): Sample((known_id(),)),
        ("notifications", "events"): Sample((known_id(),), {"user_id": "ann", "limit": 50}),
        ("notifications", "why"): Sample((known_id(),), {"user_id": "ann"}),
        ("campaigns", "create"): Sample((), {**_SAID, "user_ids": ["ann", "bob"], "campaign_id": "one"}),
        ("campaigns", "upload"): Sample(([{"user_id": "ann"}],), {**_SAID, "channels": ["push"]}),
        ("campaigns", "upload_csv"): Sample((b"user_id,name\nann,Ann\n",), _SAID),
        ("campaigns", "list"): Sample((), {"limit": 10}),
        ("campaigns", "get"): Sample((CAMPAIGN,)),
        ("campaigns", "pause"): Sample((CAMPAIGN,)),
        ("campaigns", "resume"): Sample((CAMPAIGN,)),
        ("campaigns", "cancel"): Sample((CAMPAIGN,)),
        ("users", "profile"): Sample(("ann",), key=admin),
        ("users", "update_profile"): Sample(("ann",), {"name": "Ann", "locale": None}, admin),
        ("users", "send_code"): Sample(("ann",), {"channel": "email"}, user),
        ("users", "verify"): Sample(("ann",), {"channel": "email", "code": "000000"}, user),
        ("users", "preferences"): Sample(("ann",), key=admin),
        ("users", "set_preferences"): Sample(("ann", {"channels": {"sms": False}}), key=admin),
        ("users", "update_preferences"): Sample(("ann", {"channels": {"sms": None}}), key=admin),
        ("users", "devices"): Sample(("ann",), key=admin),
        ("users", "add_device"): Sample(("ann",), {"device_id": "d9", "platform": "android", "token": "t9"}, admin),
        ("users", "remove_device"): Sample(("ann", "d1"), key=admin),
        ("users", "consents"): Sample(("ann",), key=admin),
        ("users", "set_consent"): Sample(
            ("ann",), {"channel": "sms", "category": "other", "granted": True, "evidence": "form 7"}, admin
        ),
        ("users", "report"): Sample(("ann",), {"status": "opened", "notification_id": known_id()}, user),
        ("users", "active"): Sample(("ann",), {"timezone": "Europe/London"}, user),
        ("users", "inbox"): Sample(("ann",), {"unread": False, "limit": 5}, user),
        ("users", "inbox_count"): Sample(("ann",), key=user),
        ("users", "mark"): Sample(("ann", known_id(), "read"), key=user),
        ("users", "read_all"): Sample(("ann",), key=user),
        ("users", "inbox_summary"): Sample(("ann",), key=user),
        ("users", "snooze"): Sample(("ann", known_id()), {"until": None}, user),
        ("users", "inbox_ticket"): Sample(("ann",), key=user),
        # One that is opened doesn't end (tests/unit/clients/test_streaming.py).
        ("users", "inbox_stream"): Sample(("somebody",), {"last_event_id": "1"}, user, refused=403),
        ("users", "notifications"): Sample(("ann",), {"limit": 5}, user),
        ("users", "preference_choices"): Sample(("ann",), key=user),
        ("users", "preferences_link"): Sample(("ann",), key=admin),
        ("users", "erase"): Sample(("bob",), key=admin),
        ("users", "erasure"): Sample((_UNKNOWN,), key=admin, refused=404),
        ("templates", "list"): Sample(key=admin),
        ("templates", "create"): Sample((), {"id": "another", "channels": _CHANNELS}, admin),
        ("templates", "get"): Sample(("comment_created",), key=admin),
        ("templates", "put"): Sample(("comment_created",), {"channels": _CHANNELS}, admin),
        ("templates", "delete"): Sample(("nothing",), key=admin, refused=404),
        ("templates", "preview"): Sample(("comment_created",), {"data": {"name": "Ann"}, "channels": _CHANNELS}, admin),
        ("templates", "versions"): Sample(("comment_created",), key=admin),
        ("templates", "rollback"): Sample(("comment_created",), {"version": 1}, admin, refused=422),
        ("policy", "get"): Sample(key=admin),
        ("policy", "put"): Sample((_POLICY,), {}, admin),
        ("policy", "validate"): Sample(({"categories": {"other": {"channels": ["in_app"]}}},), {}, admin),
        ("hooks", "list"): Sample(),
        ("hooks", "create"): Sample((), {"url": "https://example.com/hooks", "statuses": ["sent"]}),
        ("hooks", "delete"): Sample((A_HOOK,)),
        ("hooks", "enable"): Sample((A_HOOK,)),
        ("hooks", "replay"): Sample((A_HOOK,), _OUTAGE),
        ("replays", "begin"): Sample((), {"channel": "push", "dry_run": True, **_OUTAGE}, admin),
        ("replays", "list"): Sample((), {"limit": 5}, admin),
        ("replays", "get"): Sample((_UNKNOWN,), key=admin, refused=404),
        ("replays", "candidates"): Sample((_UNKNOWN,), {"outcome": "sent", "limit": 5}, admin, 404),
        ("replays", "stop"): Sample((_UNKNOWN,), key=admin, refused=404),
        ("replays", "resume"): Sample((_UNKNOWN,), key=admin, refused=404),
        ("providers", "list"): Sample(key=admin),
        ("providers", "pause"): Sample(("fcm",), {"why": "maintenance"}, admin),
        ("providers", "resume"): Sample(("push",), {"why": "over"}, admin),
        ("dead_letters", "list"): Sample((), {"topic": "notify_events", "from_": _OUTAGE["from_"]}, admin),
        ("dead_letters", "get"): Sample(("0-0",), key=admin),
        ("dead_letters", "redrive"): Sample((), {"ids": ["0-0"], "dry_run": True}, admin),
        ("keys", "list"): Sample(key=admin),
        ("keys", "create"): Sample((), {"id": "another", "scopes": ["send"], "source": "shop"}, admin),
        ("keys", "get"): Sample((A_KEY,), key=admin),
        ("keys", "revoke"): Sample((A_KEY,), key=admin),
        ("keys", "rotate"): Sample((A_KEY,), {"overlap": "0s"}, admin),
        ("keys", "end_secret"): Sample((A_KEY, 1), key=admin),
        ("operators", "query"): Sample(("SELECT 1",), {"limit": 5}, admin),
        ("operators", "audit_log"): Sample((), {"action": "policy", "limit": 5}, admin),
    }
