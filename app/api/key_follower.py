"""Takes API keys over from a settings file that changes, without a restart."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import structlog

from app.config import ApiKey, ConfigError
from app.domain.api_keys import in_words
from app.store.publisher import PublishError
from schemas.instants import to_ms

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0

_Stamp = tuple[int, int, int] | None


class KeyFollower:
    """``load`` reads the keys of the settings, or raises ConfigError; ``take`` puts them in force. ``enter`` writes
    in the audit log what has changed; where it raises PublishError, it is called again later. ``is_made``: whether
    there is a key of that id that was made over HTTP."""

    def __init__(
        self,
        file: Path,
        load: Callable[[], Sequence[ApiKey]],
        take: Callable[[Sequence[ApiKey]], None],
        in_force: Sequence[ApiKey] = (),
        enter: Callable[[str], Awaitable[None]] | None = None,
        is_made: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._file = file
        self._load = load
        self._take = take
        self._in_force = in_force
        self._enter = enter
        self._is_made = is_made
        self._to_enter: list[str] = []
        self._taken = self._seen = self._stamp()

    def look(self) -> None:
        """Takes a changed file over once it looks the same twice: an editor may be writing it."""
        stamp, before = self._stamp(), self._seen
        self._seen = stamp
        if stamp is None or stamp != before or stamp == self._taken:
            return
        self._taken = stamp
        try:
            keys = self._load()
        except ConfigError as error:
            log.error("the changed settings are invalid: keeping the API keys as they were", problem=str(error))
            return
        self._take(keys)
        self._to_enter.extend(_changes(self._in_force, keys, self._is_made))
        self._in_force = keys
        log.info("reloaded the API keys", keys=[key.id for key in keys])

    async def follow(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()
            await self.enter_changes()

    async def enter_changes(self) -> None:
        """What could not be written waits for the next time."""
        while self._enter is not None and self._to_enter:
            try:
                await self._enter(self._to_enter[0])
            except PublishError as error:
                log.warning("a change of API keys isn't in the audit log yet", reason=str(error))
                return
            del self._to_enter[0]

    def _stamp(self) -> _Stamp:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _changes(before: Sequence[ApiKey], after: Sequence[ApiKey], is_made: Callable[[str], bool]) -> Iterator[str]:
    """In words, without secrets or hashes: what was added, changed and removed."""
    old, new = {key.id: key for key in before}, {key.id: key for key in after}
    for key_id, key in new.items():
        if old.get(key_id) != key:
            expires_at = None if key.expires_at is None else to_ms(key.expires_at)
            bound = key.certificates
            words = in_words(key_id, key.scopes, key.source, expires_at, critical=key.critical, certificates=bound)
            yield f"{'changed' if key_id in old else 'added'} {words}"
    for key_id in (each for each in old if each not in new):
        revived = ": the one that was made over HTTP counts again" if is_made(key_id) else ""
        yield f"removed {key_id}{revived}"
