"""Replays as jobs: what was asked for, whether it is to go on, and how far it is, on ``tocsin_replays`` by key.

- ``job/ID``: a ``ReplayJob``, written once by the gateway that took it;
- ``wish/ID``: a ``ReplayWish``, written by whichever gateway is told to stop it or go on;
- ``state/ID``: a ``ReplayState``, written only by the gateway that runs it.

Nobody overwrites what another writes: a stop that comes while the state moves on is never lost.
"""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from schemas.decode import AnyId, Reader
from schemas.verifications import Uuid
from schemas.words import Channel, Provider, Status

#: A receipt is kept for so long.
KEPT_DAYS = 90

JOB, WISH, STATE = b"job/", b"wish/", b"state/"

Phase = Literal["counting", "running", "done"]


class ReplayFilters(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which sends are candidates. Empty: no filter, or what is said by default. Times are Unix milliseconds."""

    from_ms: int
    to_ms: int
    provider: tuple[Provider, ...] = ()
    status: tuple[Status, ...] = ()
    reason: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    campaign: tuple[str, ...] = ()
    event_type: tuple[str, ...] = ()


class ReplayJob(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``by``: the API key's id. ``rate``: candidates in ``per_ms``. Times are Unix milliseconds."""

    replay_id: Uuid
    by: AnyId
    at: int
    channel: Channel
    filters: ReplayFilters
    rate: int
    per_ms: int
    as_decided: bool = False
    dry_run: bool = False
    expires_after_ms: int | None = None


class ReplayWish(Struct, frozen=True, kw_only=True):
    """The latest that anybody wished: that it runs, or that it is stopped."""

    stop: bool
    by: AnyId
    at: int


class ReplayState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``begin``, ``end``: the offsets on ``tocsin_replay_requests`` between which its candidates lie, by partition.
    ``collected``: the partitions whose candidates are all there."""

    phase: Phase
    at: int
    begin: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    collected: tuple[int, ...] = ()


read_replay_job: Final = Reader[ReplayJob](ReplayJob, own=True)
read_replay_wish: Final = Reader[ReplayWish](ReplayWish, own=True)
read_replay_state: Final = Reader[ReplayState](ReplayState, own=True)
encode_replay: Final = msgspec.json.Encoder().encode
