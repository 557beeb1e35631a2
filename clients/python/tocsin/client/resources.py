"""What the gateway can be asked for: each method makes one call, and says whether it may be made twice."""

import builtins
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack

import msgspec

from tocsin.client import answers, bodies
from tocsin.client.calls import (
    JSON,
    Call,
    Following,
    Pages,
    Resource,
    Way,
    asked,
    json_of,
    listing,
    nothing,
    operation,
    path,
    reader,
    stream,
)

T = TypeVar("T")
Page = TypeVar("Page", bound=msgspec.Struct)
Stated = TypeVar("Stated", answers.CampaignTaken, answers.ReplayBegun)

_YAML = "application/yaml"
_NDJSON = "application/x-ndjson"
_NOTIFICATIONS, _CAMPAIGNS, _TEMPLATES = "/v1/notifications", "/v1/campaigns", "/v1/templates"
_POLICY, _HOOKS, _REPLAYS, _DEAD, _KEYS = "/v1/policy", "/v1/hooks", "/v1/replays", "/v1/dead", "/v1/keys"
#: Rows of an upload go over the wire about so many bytes at a time.
_PIECE_BYTES = 64 * 1024
_UPLOAD_S = 3600.0

Mark = Literal["seen", "read", "unread", "archive"]


class CampaignRow(TypedDict, total=False):
    """One recipient of an upload; ``data`` is theirs alone."""

    user_id: str
    data: dict[str, Any]


class CampaignTerms(TypedDict, total=False):
    """What goes beside an upload's rows."""

    campaign_id: str | None
    event_type: str
    template_id: str | None
    content: bodies.Content | None
    data: dict[str, Any] | None
    channels: list[bodies.Channel] | None
    priority: bodies.Priority | None
    send_at: bodies.Instant | None
    local_time: str | None
    expires_at: bodies.Instant | None
    rate: str | None
    canary: str | None
    holdout: str | None


def new_key() -> str:
    """A key of one's own for a request that its caller gives none."""
    return uuid.uuid4().hex


def pages(
    target: str, kind: type[Page], items: Callable[[Page], list[T]], cursor: Callable[[Page], str | None]
) -> Pages[T]:
    read = reader(kind)

    def read_page(body: bytes) -> tuple[list[T], str | None]:
        page = read(body)
        return items(page), cursor(page)

    return Pages(Call("GET", target, read_page))


class Notifications(Resource[Way]):
    """To tell users something, and what became of it."""

    @operation
    def send(self, **notification: Unpack[bodies.Notification]) -> Call[answers.Accepted]:
        """Tells one user (``user_id``) or up to 1,000 (``user_ids``). Without ``idempotency_key`` it gets one before
        the first attempt, so that an answer that was lost never makes it be sent twice."""
        body = json_of({"idempotency_key": new_key(), **given(notification)})
        return Call("POST", _NOTIFICATIONS, reader(answers.Accepted), body)

    @operation
    def cancel(self, notification_id: str, /, *, idempotency_key: str | None = None) -> Call[answers.Cancelling]:
        """What isn't sent yet of it; the truth is in the events."""
        headers = {"Idempotency-Key": idempotency_key or new_key()}
        target = path(f"{_NOTIFICATIONS}/{{id}}", id=notification_id)
        return Call("DELETE", target, reader(answers.Cancelling), headers=headers)

    @operation
    def status(self, notification_id: str, /) -> Call[answers.NotificationStatus]:
        """How far it is, by channel."""
        return Call("GET", path(f"{_NOTIFICATIONS}/{{id}}", id=notification_id), reader(answers.NotificationStatus))

    @listing
    def events(
        self, notification_id: str, /, *, user_id: str | None = None, limit: int | None = None
    ) -> Pages[answers.LifecycleEvent]:
        """Everything that happened to it, oldest first. ``limit``: how many in a page."""
        target = asked(path(f"{_NOTIFICATIONS}/{{id}}/events", id=notification_id), user_id=user_id, limit=limit)
        return pages(target, answers.Events, lambda page: page.events, lambda page: page.next_cursor)

    @operation
    def why(self, notification_id: str, /, *, user_id: str) -> Call[answers.Explanation]:
        """Why the recipient got it, or didn't."""
        target = asked(path(f"{_NOTIFICATIONS}/{{id}}/why", id=notification_id), user_id=user_id)
        return Call("GET", target, reader(answers.Explanation))


class Campaigns(Resource[Way]):
    """One message to many."""

    @operation
    def create(self, **campaign: Unpack[bodies.CampaignBody]) -> Call[answers.CampaignTaken]:
        """To ``user_ids``, a ``segment`` or ``all``. Without ``campaign_id`` it gets one before the first attempt."""
        body = json_of({"campaign_id": new_key(), **given(campaign)})
        return Call("POST", _CAMPAIGNS, reader(answers.CampaignTaken), body)

    @operation
    def upload(self, rows: Iterable[CampaignRow], /, **terms: Unpack[CampaignTerms]) -> Call[answers.CampaignTaken]:
        """To those whom ``rows`` name, however many: they are sent as they are read. A list, or what else can be read
        again, is sent again when the connection breaks or the gateway says "not now"; an iterator goes out once at
        most: upload the same again then, with the same ``campaign_id``."""
        return _upload(lambda: _lines(rows), _NDJSON, terms, can_send_again=iter(rows) is not rows)

    @operation
    def upload_csv(
        self, csv: bytes | Iterable[bytes], /, **terms: Unpack[CampaignTerms]
    ) -> Call[answers.CampaignTaken]:
        """The same as CSV (RFC 4180, UTF-8, with a header): whole, or in pieces of bytes such as an open file's."""
        pieces = [csv] if isinstance(csv, bytes) else csv
        return _upload(lambda: iter(pieces), "text/csv", terms, can_send_again=iter(pieces) is not pieces)

    @listing
    def list(self, *, limit: int | None = None) -> Pages[answers.Campaign]:
        """Newest first."""
        target = asked(_CAMPAIGNS, limit=limit)
        return pages(target, answers.CampaignList, lambda page: page.campaigns, lambda page: page.next_cursor)

    @operation
    def get(self, campaign_id: str, /) -> Call[answers.Campaign]:
        return Call("GET", path(f"{_CAMPAIGNS}/{{id}}", id=campaign_id), reader(answers.Campaign))

    @operation
    def pause(self, campaign_id: str, /) -> Call[answers.CampaignTaken]:
        return Call("POST", path(f"{_CAMPAIGNS}/{{id}}/pause", id=campaign_id), reader(answers.CampaignTaken))

    @operation
    def resume(self, campaign_id: str, /) -> Call[answers.CampaignTaken]:
        target = path(f"{_CAMPAIGNS}/{{id}}/resume", id=campaign_id)
        done = _that_is("done", path(f"{_CAMPAIGNS}/{{id}}", id=campaign_id), answers.CampaignTaken)
        return Call("POST", target, reader(answers.CampaignTaken), settled_by=done)

    @operation
    def cancel(self, campaign_id: str, /) -> Call[answers.CampaignTaken]:
        target = path(f"{_CAMPAIGNS}/{{id}}", id=campaign_id)
        cancelled = _that_is("cancelled", target, answers.CampaignTaken)
        return Call("DELETE", target, reader(answers.CampaignTaken), settled_by=cancelled)


class Users(Resource[Way]):
    """What is known of a user, and the user's inbox. With the user's own token, or for most a key with ``admin``."""

    @operation
    def profile(self, user_id: str, /) -> Call[answers.Profile]:
        return Call("GET", _user("profile", user_id), reader(answers.Profile))

    @operation
    def update_profile(self, user_id: str, /, **profile: Unpack[bodies.ProfileSet]) -> Call[answers.Profile]:
        """What is left out stays, None removes."""
        return Call("PATCH", _user("profile", user_id), reader(answers.Profile), json_of(profile))

    @operation
    def send_code(self, user_id: str, /, *, channel: Literal["email", "sms"]) -> Call[answers.CodeSent | None]:
        """Sends the user a code that verifies the address; None: it is verified already. User's token only."""
        target = _user("profile/verify", user_id)
        return Call("POST", target, _or_nothing(answers.CodeSent), json_of({"channel": channel}), is_idempotent=False)

    @operation
    def verify(self, user_id: str, /, *, channel: Literal["email", "sms"], code: str) -> Call[None]:
        """Raises Refused for a wrong code (``document["left"]``: the tries that are left). User's token only."""
        body = json_of({"channel": channel, "code": code})
        return Call("POST", _user("profile/verify", user_id), nothing, body, is_idempotent=False)

    @operation
    def preferences(self, user_id: str, /) -> Call[dict[str, Any]]:
        return Call("GET", _user("preferences", user_id), reader(dict[str, Any]))

    @operation
    def set_preferences(self, user_id: str, preferences: Mapping[str, Any], /) -> Call[dict[str, Any]]:
        """The whole document."""
        body = json_of({"preferences": preferences})
        return Call("PUT", _user("preferences", user_id), reader(dict[str, Any]), body)

    @operation
    def update_preferences(self, user_id: str, preferences: Mapping[str, Any], /) -> Call[dict[str, Any]]:
        """A part, merged (RFC 7396): what is left out stays, None removes."""
        body = json_of({"preferences": preferences})
        return Call("PATCH", _user("preferences", user_id), reader(dict[str, Any]), body)

    @operation
    def preference_choices(self, user_id: str, /) -> Call[answers.PreferenceChoices]:
        """What the user can choose, for a panel of your own, and the patch that changes each choice."""
        return Call("GET", _user("preferences/choices", user_id), reader(answers.PreferenceChoices))

    @operation
    def devices(self, user_id: str, /) -> Call[list[answers.Device]]:
        return Call("GET", _user("devices", user_id), _part(answers.Devices, lambda each: each.devices))

    @operation
    def add_device(self, user_id: str, /, **device: Unpack[bodies.DeviceAdd]) -> Call[answers.Device]:
        """Adds or renews it."""
        return Call("POST", _user("devices", user_id), reader(answers.Device), json_of(given(device)))

    @operation
    def remove_device(self, user_id: str, device_id: str, /) -> Call[None]:
        target = path("/v1/users/{id}/devices/{device_id}", id=user_id, device_id=device_id)
        return Call("DELETE", target, nothing, is_gone_done=True)

    @operation
    def consents(self, user_id: str, /) -> Call[list[answers.RecordedConsent]]:
        return Call("GET", _user("consents", user_id), _part(answers.Consents, lambda each: each.consents))

    @operation
    def set_consent(self, user_id: str, /, **consent: Unpack[bodies.ConsentSet]) -> Call[answers.Consent]:
        """``evidence`` is required to grant."""
        return Call("PUT", _user("consents", user_id), reader(answers.Consent), json_of(given(consent)))

    @operation
    def report(self, user_id: str, /, **receipt: Unpack[bodies.AppReceipt]) -> Call[answers.Noted]:
        """What the app saw of a send: delivered, opened, clicked, seen. User's token only."""
        target = _user("receipts", user_id)
        return Call("POST", target, reader(answers.Noted), json_of(given(receipt)), is_idempotent=False)

    @operation
    def active(self, user_id: str, /, **activity: Unpack[bodies.ActivitySeen]) -> Call[answers.Noted]:
        """The user is in the app now. User's token only."""
        return Call("POST", _user("activity", user_id), reader(answers.Noted), json_of(given(activity)))

    @listing
    def inbox(self, user_id: str, /, *, unread: bool | None = None, limit: int | None = None) -> Pages[dict[str, Any]]:
        """Its items, newest first. User's token only, as all of the inbox."""
        target = asked(_user("inbox", user_id), unread=unread, limit=limit)
        return pages(target, answers.InboxPage, lambda page: page.notifications, lambda page: page.next_cursor)

    @operation
    def inbox_count(self, user_id: str, /) -> Call[answers.InboxCount]:
        return Call("GET", _user("inbox/count", user_id), reader(answers.InboxCount))

    @operation
    def mark(self, user_id: str, notification_id: str, mark: Mark, /) -> Call[None]:
        values = {"id": user_id, "notification_id": notification_id, "mark": mark}
        return Call("POST", path("/v1/users/{id}/inbox/{notification_id}/{mark}", **values), nothing)

    @operation
    def read_all(self, user_id: str, /) -> Call[None]:
        return Call("POST", _user("inbox/read-all", user_id), nothing)

    @operation
    def inbox_summary(self, user_id: str, /) -> Call[answers.InboxSummary]:
        """The badge and all counts."""
        return Call("GET", _user("inbox/summary", user_id), reader(answers.InboxSummary))

    @operation
    def snooze(self, user_id: str, notification_id: str, /, *, until: str | None) -> Call[None]:
        """Puts an item off until an instant (RFC 3339); None brings it back."""
        values = {"id": user_id, "notification_id": notification_id}
        target = path("/v1/users/{id}/inbox/{notification_id}/snooze", **values)
        return Call("POST", target, nothing, json_of({"until": until}))

    @operation
    def inbox_ticket(self, user_id: str, /) -> Call[answers.TicketAnswer]:
        """Opens one stream of the inbox, within a minute."""
        return Call("POST", _user("inbox/ticket", user_id), reader(answers.TicketAnswer))

    @stream
    def inbox_stream(self, user_id: str, /, *, last_event_id: str | None = None) -> Following:
        """The inbox's events as they happen, for as long as they are asked for. Where the stream ends it is taken up
        again from behind the last event. After ``reset`` read the inbox anew. User's token only."""
        return Following(_user("inbox/stream", user_id), last_event_id)

    @listing
    def notifications(self, user_id: str, /, *, limit: int | None = None) -> Pages[dict[str, Any]]:
        """The user's history of 90 days, newest first."""
        target = asked(_user("notifications", user_id), limit=limit)
        return pages(target, answers.UserHistory, lambda page: page.notifications, lambda page: page.next_cursor)

    @operation
    def preferences_link(self, user_id: str, /) -> Call[answers.PreferencesLink]:
        """To the page on which the user chooses what to get, without a password."""
        return Call("POST", _user("preferences/link", user_id), reader(answers.PreferencesLink))

    @operation
    def erase(self, user_id: str, /) -> Call[answers.Erasing]:
        """Forgets the user. It isn't asked for again by itself where the answer is lost: the user may have begun
        anew."""
        return Call("DELETE", path("/v1/users/{id}", id=user_id), reader(answers.Erasing), is_idempotent=False)

    @operation
    def erasure(self, erasure_id: str, /) -> Call[answers.Certificate]:
        """What was done where, and what is still to come."""
        return Call("GET", path("/v1/erasures/{id}", id=erasure_id), reader(answers.Certificate))


class Templates(Resource[Way]):
    """How each event is shown on each channel; scope ``admin``."""

    @operation
    def list(self) -> Call[list[answers.TemplateDocument]]:
        return Call("GET", _TEMPLATES, _part(answers.Templates, lambda each: each.templates))

    @operation
    def create(self, **template: Unpack[bodies.Template]) -> Call[answers.TemplateDocument]:
        """Raises Conflict where there is one."""
        body = json_of(given(template))
        return Call("POST", _TEMPLATES, reader(answers.TemplateDocument), body, is_idempotent=False)

    @operation
    def get(self, template_id: str, /) -> Call[answers.TemplateDocument]:
        return Call("GET", path(f"{_TEMPLATES}/{{id}}", id=template_id), reader(answers.TemplateDocument))

    @operation
    def put(
        self,
        template_id: str,
        /,
        *,
        channels: Mapping[bodies.Channel, Mapping[str, Mapping[str, str]]],
        variants: Iterable[bodies.Variant] | None = None,
    ) -> Call[answers.TemplateDocument]:
        """A new version, or the first."""
        body = json_of(given({"channels": channels, "variants": None if variants is None else [*variants]}))
        target, read = path(f"{_TEMPLATES}/{{id}}", id=template_id), reader(answers.TemplateDocument)
        return Call("PUT", target, read, body, is_idempotent=False)

    @operation
    def delete(self, template_id: str, /) -> Call[None]:
        return Call("DELETE", path(f"{_TEMPLATES}/{{id}}", id=template_id), nothing, is_gone_done=True)

    @operation
    def preview(self, template_id: str, /, **shown: Unpack[bodies.PreviewBody]) -> Call[answers.Preview]:
        target = path(f"{_TEMPLATES}/{{id}}/preview", id=template_id)
        return Call("POST", target, reader(answers.Preview), json_of(given(shown)))

    @operation
    def versions(self, template_id: str, /) -> Call[builtins.list[answers.TemplateDocument]]:
        """Oldest first."""
        target = path(f"{_TEMPLATES}/{{id}}/versions", id=template_id)
        return Call("GET", target, _part(answers.Versions, lambda each: each.versions))

    @operation
    def rollback(self, template_id: str, /, *, version: int) -> Call[answers.TemplateDocument]:
        """That version again, as a new one."""
        target, body = path(f"{_TEMPLATES}/{{id}}/rollback", id=template_id), json_of({"version": version})
        return Call("POST", target, reader(answers.TemplateDocument), body, is_idempotent=False)


class Policy(Resource[Way]):
    """Who is told what, when and where; scope ``admin``. A policy is YAML as text, or its document."""

    @operation
    def get(self) -> Call[answers.PolicyDocument]:
        return Call("GET", _POLICY, reader(answers.PolicyDocument))

    @operation
    def put(self, policy: str | Mapping[str, Any], /) -> Call[answers.PolicyDocument]:
        """A new version. Raises Refused with ``errors``. It is in force once ``in_force`` of ``get`` is true."""
        body, media = _policy(policy)
        return Call("PUT", _POLICY, reader(answers.PolicyDocument), body, media, is_idempotent=False)

    @operation
    def validate(self, policy: str | Mapping[str, Any], /) -> Call[answers.Valid]:
        """Raises Refused with ``errors``."""
        body, media = _policy(policy)
        return Call("POST", f"{_POLICY}/validate", reader(answers.Valid), body, media)


class Hooks(Resource[Way]):
    """Outbound webhooks of the key's source. ``verify_webhook`` verifies their calls."""

    @operation
    def list(self) -> Call[list[answers.HookShown]]:
        return Call("GET", _HOOKS, _part(answers.HookList, lambda each: each.hooks))

    @operation
    def create(self, **hook: Unpack[bodies.HookAsked]) -> Call[answers.HookMade]:
        """Its secret is shown this once."""
        return Call("POST", _HOOKS, reader(answers.HookMade), json_of(given(hook)), is_idempotent=False)

    @operation
    def delete(self, hook_id: str, /) -> Call[None]:
        return Call("DELETE", path(f"{_HOOKS}/{{id}}", id=hook_id), nothing, is_gone_done=True)

    @operation
    def enable(self, hook_id: str, /) -> Call[None]:
        return Call("POST", path(f"{_HOOKS}/{{id}}/enable", id=hook_id), nothing)

    @operation
    def replay(self, hook_id: str, /, *, from_: bodies.Instant, to: bodies.Instant) -> Call[answers.ReplayShown]:
        """It is called again for what was recorded in ``[from_, to)``."""
        body = json_of({"from": from_, "to": to})
        target = path(f"{_HOOKS}/{{id}}/replay", id=hook_id)
        return Call("POST", target, reader(answers.ReplayShown), body, is_idempotent=False)


class Replays(Resource[Way]):
    """To send again what a channel did not get out; scope ``admin``."""

    @operation
    def begin(self, **replay: Unpack[bodies.AskingReplayAsked]) -> Call[answers.ReplayBegun]:
        return Call("POST", _REPLAYS, reader(answers.ReplayBegun), json_of(given(replay)), is_idempotent=False)

    @listing
    def list(self, *, limit: int | None = None) -> Pages[answers.Receipt]:
        """Newest first."""
        target = asked(_REPLAYS, limit=limit)
        return pages(target, answers.ReplayList, lambda page: page.replays, lambda page: page.next_cursor)

    @operation
    def get(self, replay_id: str, /) -> Call[answers.Receipt]:
        return Call("GET", path(f"{_REPLAYS}/{{id}}", id=replay_id), reader(answers.Receipt))

    @listing
    def candidates(
        self, replay_id: str, /, *, outcome: str | None = None, limit: int | None = None
    ) -> Pages[answers.Candidate]:
        target = asked(path(f"{_REPLAYS}/{{id}}/candidates", id=replay_id), outcome=outcome, limit=limit)
        return pages(target, answers.CandidateList, lambda page: page.candidates, lambda page: page.next_cursor)

    @operation
    def stop(self, replay_id: str, /) -> Call[answers.ReplayBegun]:
        return Call("POST", path(f"{_REPLAYS}/{{id}}/stop", id=replay_id), reader(answers.ReplayBegun))

    @operation
    def resume(self, replay_id: str, /) -> Call[answers.ReplayBegun]:
        target, read = path(f"{_REPLAYS}/{{id}}/resume", id=replay_id), reader(answers.ReplayBegun)
        done = _that_is("done", path(f"{_REPLAYS}/{{id}}", id=replay_id), answers.ReplayBegun)
        return Call("POST", target, read, settled_by=done)


class Providers(Resource[Way]):
    """How vendors are doing; scope ``admin``. A name is a provider's, or a channel's for all of its own."""

    @operation
    def list(self) -> Call[list[answers.ProviderDocument]]:
        return Call("GET", "/v1/providers", _part(answers.ProviderList, lambda each: each.providers))

    @operation
    def pause(self, name: str, /, *, why: str) -> Call[answers.PauseAnswer]:
        target = path("/v1/providers/{provider}/pause", provider=name)
        return Call("POST", target, reader(answers.PauseAnswer), json_of({"why": why}))

    @operation
    def resume(self, name: str, /, *, why: str | None = None) -> Call[answers.PauseAnswer]:
        target = path("/v1/providers/{provider}/resume", provider=name)
        return Call("POST", target, reader(answers.PauseAnswer), json_of(given({"why": why})))


class DeadLetters(Resource[Way]):
    """Records that couldn't be taken; scope ``admin``."""

    @listing
    def list(
        self,
        *,
        reason: str | None = None,
        code: str | None = None,
        field: str | None = None,
        topic: str | None = None,
        from_: bodies.Instant | None = None,
        to: bodies.Instant | None = None,
        limit: int | None = None,
    ) -> Pages[dict[str, Any]]:
        """Newest first."""
        narrowed = {"reason": reason, "code": code, "field": field, "topic": topic, "from": from_, "to": to}
        target = asked(_DEAD, **narrowed, limit=limit)
        return pages(target, answers.DeadPage, lambda page: page.letters, lambda page: page.next_cursor)

    @operation
    def get(self, letter_id: str, /) -> Call[dict[str, Any]]:
        return Call("GET", path(f"{_DEAD}/{{letter_id}}", letter_id=letter_id), reader(dict[str, Any]))

    @operation
    def redrive(self, **letters: Unpack[bodies.RedriveBody]) -> Call[answers.Redriving]:
        """Puts them back as they were."""
        return Call("POST", f"{_DEAD}/redrive", reader(answers.Redriving), json_of(given(letters)))


class Keys(Resource[Way]):
    """API keys; scope ``admin``. What is made or rotated is shown this once, so it isn't asked for again by itself."""

    @operation
    def list(self) -> Call[list[answers.KeyShown]]:
        return Call("GET", _KEYS, _part(answers.KeyList, lambda each: each.keys))

    @operation
    def create(self, **key: Unpack[bodies.KeyAsked]) -> Call[answers.KeyMade]:
        return Call("POST", _KEYS, reader(answers.KeyMade), json_of(given(key)), is_idempotent=False)

    @operation
    def get(self, key_id: str, /) -> Call[answers.KeyShown]:
        return Call("GET", path(f"{_KEYS}/{{id}}", id=key_id), reader(answers.KeyShown))

    @operation
    def revoke(self, key_id: str, /) -> Call[None]:
        """Within 2 s no gateway takes it any more."""
        return Call("DELETE", path(f"{_KEYS}/{{id}}", id=key_id), nothing, is_gone_done=True)

    @operation
    def rotate(self, key_id: str, /, *, overlap: str | None = None) -> Call[answers.KeyRotated]:
        """A new secret; the one before it goes on for ``overlap``."""
        target, body = path(f"{_KEYS}/{{id}}/rotate", id=key_id), json_of(given({"overlap": overlap}))
        return Call("POST", target, reader(answers.KeyRotated), body, is_idempotent=False)

    @operation
    def end_secret(self, key_id: str, number: int, /) -> Call[None]:
        """One of the two of a key that was rotated."""
        target = path(f"{_KEYS}/{{id}}/secrets/{{number}}", id=key_id, number=str(number))
        return Call("DELETE", target, nothing, is_gone_done=True)


class Operators(Resource[Way]):
    """What operators ask; scope ``admin``, or ``admin:read``."""

    @operation
    def query(self, sql: str, /, *, limit: int | None = None) -> Call[answers.QueryAnswer]:
        """One statement that only reads."""
        return Call("GET", asked("/v1/query", sql=sql, limit=limit), reader(answers.QueryAnswer))

    @listing
    def audit_log(
        self,
        *,
        action: str | None = None,
        key_id: str | None = None,
        from_: bodies.Instant | None = None,
        to: bodies.Instant | None = None,
        limit: int | None = None,
    ) -> Pages[dict[str, Any]]:
        """Who changed what, newest first."""
        narrowed = {"action": action, "key_id": key_id, "from": from_, "to": to}
        target = asked("/v1/audit-log", **narrowed, limit=limit)
        return pages(target, answers.AuditPage, lambda page: page.entries, lambda page: page.next_cursor)


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are. (In what is merged, None removes; everywhere else it is nothing.)"""
    return {name: value for name, value in fields.items() if value is not None}


def _user(what: str, user_id: str) -> str:
    return path(f"/v1/users/{{id}}/{what}", id=user_id)


def _part(kind: type[Page], part: Callable[[Page], T]) -> Callable[[bytes], T]:
    read = reader(kind)
    return lambda body: part(read(body))


def _or_nothing(kind: type[T]) -> Callable[[bytes], T | None]:
    read = reader(kind)
    return lambda body: read(body) if body else None


def _that_is(status: str, target: str, kind: type[Stated]) -> Call[Stated | None]:
    """Reads what there is, in the form of the answer to a call that changes it; None if its status is another."""
    read = reader(kind)

    def read_if(body: bytes) -> Stated | None:
        found = read(body)
        return found if found.status == status else None

    return Call("GET", target, read_if)


def _policy(policy: str | Mapping[str, Any]) -> tuple[bytes, str]:
    return (policy.encode(), _YAML) if isinstance(policy, str) else (msgspec.json.encode(policy), JSON)


def _upload(
    body: Callable[[], Iterator[bytes]], media: str, terms: Mapping[str, Any], *, can_send_again: bool
) -> Call[answers.CampaignTaken]:
    target = asked(_CAMPAIGNS, **{"campaign_id": new_key(), **given(terms)})
    read = reader(answers.CampaignTaken)
    return Call("POST", target, read, body, media, can_send_again=can_send_again, total_s=_UPLOAD_S)


def _lines(rows: Iterable[CampaignRow]) -> Iterator[bytes]:
    piece = bytearray()
    for row in rows:
        piece += msgspec.json.encode(row) + b"\n"
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


class Resources(Generic[Way]):
    """Everything that a client can ask for."""

    def __init__(self, way: Way) -> None:
        self.notifications = Notifications(way)
        self.campaigns = Campaigns(way)
        self.users = Users(way)
        self.templates = Templates(way)
        self.policy = Policy(way)
        self.hooks = Hooks(way)
        self.replays = Replays(way)
        self.providers = Providers(way)
        self.dead_letters = DeadLetters(way)
        self.keys = Keys(way)
        self.operators = Operators(way)
