"""Campaigns, on ``tocsin_campaigns`` by key, and their recipients, on ``tocsin_campaign_recipients``.

A campaign is named by its notification's id, which is a function of source and campaign id. Its records are

- ``job/ID/ATTEMPT``: a ``CampaignJob``, what was asked for. Of several that were written at once the first counts;
- ``wish/ID``: a ``CampaignControl``, the latest act that anybody requested;
- ``upload/ID/UPLOAD``: an ``Upload`` of recipients, written by the gateway that takes it;
- ``listed/ID``: a ``Listed``, once the recipients that it begins with are all there;
- ``state/ID``: a ``CampaignState``, written only by the gateway that runs it.

Nobody overwrites what another writes.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.decode import AnyId, CampaignId, EventType, Locale, Reader, Source, TemplateId, UserId
from schemas.requests import Content, LocalTime
from schemas.verifications import Uuid
from schemas.words import Channel, Priority

#: Both topics have one partition: the order of a campaign's recipients is that of the log.
PARTITION = 0
#: How long after its end a campaign is remembered.
KEPT_DAYS = 30
#: How many of the rows that were refused are shown.
MOST_ERRORS = 100

JOB, CONTROL, UPLOAD, LISTED, STATE = b"job/", b"wish/", b"upload/", b"listed/", b"state/"

Reach = Literal["push", "email", "sms"]
#: Where its users come from: they are listed in uploads, or the routers find them.
Audience = Literal["listed", "segment", "all"]


class Segment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom a campaign is for, by what is known of users; all of it must hold. ``has``: an address or device."""

    attributes: dict[str, Any] | None = None
    locale: Locale | None = None
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    has: Annotated[tuple[Reach, ...], Meta(max_length=3)] | None = None


class CampaignJob(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Times are Unix milliseconds. ``by``: the API key's id. ``rate``: requests in ``per_ms``; 0: no limit. ``canary``
    and ``holdout``: in hundredths of a percent. ``data``: an object's JSON. ``digests``: by parameter, a hash of what
    was asked for."""

    notification_id: Uuid
    campaign_id: CampaignId
    source: Source
    by: AnyId
    at: int
    event_type: EventType
    audience: Audience
    priority: Priority
    digests: dict[str, str]
    template_id: TemplateId | None = None
    content: Content | None = None
    data: str | None = None
    channels: tuple[Channel, ...] | None = None
    send_at: int | None = None
    local_time: LocalTime | None = None
    expires_at: int | None = None
    rate: int = 0
    per_ms: int = 1000
    canary: int | None = None
    holdout: int | None = None
    segment: Segment | None = None


class CampaignControl(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``beyond_canary``: the pause after the canary is over."""

    act: Literal["run", "pause", "cancel"]
    by: AnyId
    at: int
    beyond_canary: bool = False


class Upload(Struct, frozen=True, kw_only=True):
    """``at``: when bytes of it came last (Unix ms). ``open``: it goes on."""

    at: int
    open: bool


class Listed(Struct, frozen=True, kw_only=True):
    at: int


class RowError(Struct, frozen=True, kw_only=True):
    """A row of an upload that was refused. ``line``: from 1."""

    line: int
    field: str | None
    detail: str


class Place(Struct, frozen=True, array_like=True, order=True):
    """A recipient's place: the offset of the chunk that lists them, and the row in it. -1: before all others."""

    chunk: int = -1
    row: int = -1


class CampaignState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``through``: up to where requests were produced. ``halted_at``: where the canary ended, up to which its users
    have their requests; the others are produced behind it from the beginning. ``closing``: it is being found out
    whether anybody has been added since all were produced."""

    phase: Literal["running", "closing", "done", "cancelled"]
    at: int
    begun: bool = False
    recipients: int = 0
    refused: int = 0
    errors: tuple[RowError, ...] = ()
    produced: int = 0
    through: Place = Place()
    halted_at: Place | None = None


class Row(Struct, frozen=True, array_like=True, omit_defaults=True):
    """One recipient, with the data that is theirs alone: an object's JSON."""

    user_id: UserId
    data: str | None = None


class Chunk(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some rows of an upload, or some users whom a router found; its key is ``ID/UPLOAD/NUMBER``.

    ``place``: the offset of the record that it stands in for (of an erased user's data there is nothing in it); None:
    its own. ``refused``: a hash of each row that was refused. ``found``: for a router's users, (partition, key behind
    which to go on; None: these were the last).
    """

    rows: tuple[Row, ...] = ()
    place: int | None = None
    refused: tuple[int, ...] = ()
    errors: tuple[RowError, ...] = ()
    found: tuple[int, str | None] | None = None


read_campaign_job: Final = Reader[CampaignJob](CampaignJob, own=True)
read_campaign_control: Final = Reader[CampaignControl](CampaignControl, own=True)
read_upload: Final = Reader[Upload](Upload, own=True)
read_listed: Final = Reader[Listed](Listed, own=True)
read_campaign_state: Final = Reader[CampaignState](CampaignState, own=True)
read_chunk: Final = Reader[Chunk](Chunk, own=True)
read_segment: Final = Reader[Segment](Segment)
encode_campaign: Final = msgspec.json.Encoder().encode
