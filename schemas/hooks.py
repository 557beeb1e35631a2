"""What lies on ``tocsin_hooks`` (ours, compacted, one partition): which service wants to be called at which events; and
on ``tocsin_hook_positions``, how far each hook is. Records of the first are signed as announcements are
(``app/domain/announcing.py``). Times are Unix ms."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.decode import Reader, Source
from schemas.words import Status

_HOOK, _DISABLED, _REPLAY = "hook:", "disabled:", "replay:"

#: Of a hook's URL, in characters.
MAX_URL_CHARS = 2048
Url = Annotated[str, Meta(min_length=1, max_length=MAX_URL_CHARS)]
HookId = Annotated[str, Meta(min_length=1, max_length=36, pattern=r"^[0-9a-f-]+$(?!\n)")]


class Hook(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service's wish to be called. ``sealed``: its secret, encrypted for the installation."""

    id: HookId
    source: Source
    url: Url
    statuses: list[Status]
    sealed: bytes
    at: int
    #: The API key.
    by: str | None = None

    @property
    def key(self) -> bytes:
        return hook_key(self.id)


class HookDisabled(Struct, frozen=True, kw_only=True):
    """The hook isn't called any more, until it is enabled again."""

    id: HookId
    at: int
    why: str

    @property
    def key(self) -> bytes:
        return disabled_key(self.id)


class HookReplay(Struct, frozen=True, kw_only=True):
    """The hook is called again for what was recorded in ``[from_ms, to_ms)``. Of a hook the latest counts."""

    id: HookId
    replay_id: HookId
    from_ms: int
    to_ms: int
    at: int

    @property
    def key(self) -> bytes:
        return replay_key(self.id)


class PendingCall(Struct, frozen=True, array_like=True):
    """An event before the position whose call isn't over. ``first_at`` None: no call was made yet."""

    offset: int
    attempts: int = 0
    first_at: int | None = None


class HookPosition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a hook is in one partition of ``notify_lifecycle``: all before ``next`` is over but what is pending.
    ``until``: where its replay ends. ``failing_since``: no call has succeeded since then."""

    next: int
    until: int | None = None
    pending: list[PendingCall] = []
    failing_since: int | None = None


def hook_key(hook_id: str) -> bytes:
    return f"{_HOOK}{hook_id}".encode()


def disabled_key(hook_id: str) -> bytes:
    return f"{_DISABLED}{hook_id}".encode()


def replay_key(hook_id: str) -> bytes:
    return f"{_REPLAY}{hook_id}".encode()


read_hook: Reader[Hook] = Reader(Hook, own=True)
read_hook_disabled: Reader[HookDisabled] = Reader(HookDisabled, own=True)
read_hook_replay: Reader[HookReplay] = Reader(HookReplay, own=True)
read_hook_position: Reader[HookPosition] = Reader(HookPosition, own=True)
encode_hook_record = msgspec.json.Encoder().encode

#: By the beginning of its key, what reads the record.
READERS: dict[bytes, Reader[Hook] | Reader[HookDisabled] | Reader[HookReplay]] = {
    _HOOK.encode(): read_hook,
    _DISABLED.encode(): read_hook_disabled,
    _REPLAY.encode(): read_hook_replay,
}
