"""Takes API keys over from a settings file that changes, without a restart."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from app.config import ApiKey, ConfigError

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0

_Stamp = tuple[int, int, int] | None


class KeyFollower:
    """``load`` reads the keys of the settings, or raises ConfigError; ``take`` puts them in force."""

    def __init__(
        self, file: Path, load: Callable[[], Sequence[ApiKey]], take: Callable[[Sequence[ApiKey]], None]
    ) -> None:
        self._file = file
        self._load = load
        self._take = take
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
            log.error("the changed settings can't be used: the API keys stay as they were", problem=str(error))
            return
        self._take(keys)
        log.info("API keys were read again", keys=[key.id for key in keys])

    async def follow(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()

    def _stamp(self) -> _Stamp:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
