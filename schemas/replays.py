"""Replays: a send that a channel did not get out is made again (docs/decisions/0018), on Tocsin's own topics.

The job that runs a replay writes one ``ReplayRequest`` for each candidate to ``tocsin_replay_requests``. The
candidate's router decides and answers with ``ReplayOutcome`` on ``tocsin_replay_outcomes``: once when it has decided,
and again whenever the outcome of the send that it began changes. The latest answer counts. Both are keyed by user.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from schemas.decode import Reader, Reason, UserId, Version
from schemas.sends import Send
from schemas.verifications import Uuid
from schemas.words import Provider

#: Why nothing was begun for a candidate, in the order in which they are asked: the first that holds counts.
NotBegun = Literal[
    "erased",
    "forgotten",
    "cancelled",
    "replayed_before",
    "already_sent",
    "in_doubt",
    "open",
    "expired",
    "opted_out",
    "suppressed",
]
#: What a dry run says of the others.
Would = Literal["would_wait", "would_send"]
#: What became of a send that was begun. One that ended otherwise has the name of its reason in ``NotBegun``.
Begun = Literal["waiting", "sent", "failed", "unknown"]


class ReplayRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Asks the router to judge one candidate and, unless ``dry_run``, to begin its send.

    Asking again for one candidate of one replay changes nothing; it is answered as before. Times are Unix milliseconds.
    """

    replay_id: Uuid
    user_id: UserId
    #: The candidate as its router produced it: the last of its (notification, user, channel, device).
    send: Send
    #: The provider of its last attempt, if one was made.
    provider: Provider | None = None
    dry_run: bool = False
    #: With the policy and template version of then, and caps not asked again.
    as_decided: bool = False
    #: The version of its last ``sending``, else of its ``queued``.
    template_version: Version | None = None
    #: New time for what has expired, or None.
    expires_at: int | None = None
    #: A newer candidate of its collapse key in this replay, on this channel: its notification.
    newer: str | None = None
    #: Nothing is begun after it, and nothing answered: the replay may have been stopped by then. The job asks again.
    #: None (in a dry run): no matter when.
    until: int | None = None


class ReplayOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """``at``: Unix milliseconds, when the router decided or learned it."""

    replay_id: Uuid
    user_id: UserId
    notification_id: str
    #: The candidate.
    send_id: str
    outcome: NotBegun | Would | Begun
    at: int
    reason: Reason | None = None
    #: The send that was begun for it.
    new_send_id: str | None = None
    dry_run: bool = False


read_replay_request: Reader[ReplayRequest] = Reader(ReplayRequest, own=True)
encode_replay_request = msgspec.json.Encoder().encode
read_replay_outcome: Reader[ReplayOutcome] = Reader(ReplayOutcome, own=True)
encode_replay_outcome = msgspec.json.Encoder().encode
