"""New versions of the policy and of templates, numbered and written to notify_config, one at a time."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from app.store.config_follower import ConfigFollower
from app.store.publisher import KafkaPublisher, Outgoing
from schemas.config import (
    ConfigRecord,
    PolicyVersion,
    Template,
    TemplateVersion,
    encode_config,
    policy_key,
    template_key,
)
from schemas.instants import rfc3339
from schemas.topics import CONFIG

#: The key of a version; None: of the current one.
Key = Callable[[int | None], str]


class ConfigWriter:
    """Returns when the version is acknowledged and in this process's catalog. ``clock``: Unix milliseconds.

    Where another process takes the same number at the same moment, the first in the log has it and the other the next.

    All methods raise PublishError, and TimeoutError when the catalog doesn't follow.
    """

    def __init__(self, publisher: KafkaPublisher, config: ConfigFollower, clock: Callable[[], int]) -> None:
        self._publisher = publisher
        self._config = config
        self._clock = clock
        self._writing = asyncio.Lock()

    async def write_policy(self, text: str) -> PolicyVersion:
        """``text``: a policy that was found valid."""
        async with self._writing:
            while True:
                number = self._config.newest_policy_version + 1
                version = PolicyVersion(version=number, text=text, at=rfc3339(self._clock()))
                if await self._takes(policy_key, version):
                    return version

    async def write_template(self, template: Template, *, deleted: bool = False) -> TemplateVersion:
        """``template``: one that was found valid; ``deleted``: from this version on there is none."""
        async with self._writing:
            while True:
                number = max((known.version for known in self._config.versions(template.id)), default=0) + 1
                version = TemplateVersion(version=number, template=template, at=rfc3339(self._clock()), deleted=deleted)
                if await self._takes(partial(template_key, template.id), version):
                    return version

    async def _takes(self, key: Key, version: ConfigRecord) -> bool:
        """Whether the version takes its number; if not, another process's record with that number came before it."""
        await self._write((key(version.version), key(None)), version)
        first = self._config.first_of(version)
        if first == version:
            return True
        await self._write((key(version.version),), first)  # compaction keeps the last of a key
        return False

    async def _write(self, keys: Sequence[str], version: ConfigRecord) -> None:
        value = encode_config(version)
        positions = await self._publisher.publish_many([Outgoing(CONFIG, key.encode(), value) for key in keys])
        await self._config.reached(max(offset for _, offset in positions))
