"""The policy and the templates in force, as notify_config has them: followed from its start by every process."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from app.defaults import default_policy_text
from app.domain.catalog import Catalog, default_catalog
from app.domain.policy import Policy, PolicyError, parse_policy
from app.ports import LogRecord
from app.store.follower import TopicFollower
from schemas.config import PolicyVersion, TemplateVersion, read_config
from schemas.decode import Invalid
from schemas.topics import CONFIG

log = structlog.get_logger(__name__)


class ConfigFollower:
    """In force is the newest version that can be used: one that can't is logged, and the one before it stays.

    ``on_change`` is called with each new catalog, but not for what was there at the start.
    """

    def __init__(self, client_options: Mapping[str, Any], on_change: Callable[[Catalog], None] | None = None) -> None:
        self._follower = TopicFollower(client_options, CONFIG, self._take)
        self._on_change = on_change
        self._started = False
        self._default = default_catalog()
        self._policies: dict[int, PolicyVersion] = {}
        #: By version; None: it can't be used.
        self._compiled: dict[int, Policy | None] = {}
        self._templates: dict[str, dict[int, TemplateVersion]] = {}
        self._catalog = self._default

    async def start(self) -> None:
        """Returns when all that was in the topic is in the catalog. Raises KafkaError, LookupError for no topic."""
        await self._follower.start()
        self._catalog = self._build()
        self._started = True

    async def close(self) -> None:
        await self._follower.close()

    async def reached(self, offset: int) -> None:
        """Returns when the record at that offset is in the catalog. Raises TimeoutError after a while."""
        await self._follower.reached(offset)

    @property
    def started(self) -> bool:
        return self._started

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    @property
    def policy_text(self) -> str:
        """The policy in force as its author wrote it."""
        written = self._policies.get(self._catalog.policy_version)
        return default_policy_text() if written is None else written.text

    @property
    def newest_policy_version(self) -> int:
        """Of all that were written, broken ones too: the next one has a higher number."""
        return max(self._policies, default=self._default.policy_version)

    def versions(self, template_id: str) -> list[TemplateVersion]:
        """All versions of a template, oldest first; none for an unknown one."""
        versions = self._templates.get(template_id, {})
        return [versions[number] for number in sorted(versions)]

    def _take(self, record: LogRecord) -> None:
        if record.value is None:
            return
        try:
            version = read_config(record.value)
        except Invalid as invalid:
            log.error("a version can't be read", offset=record.offset, reason=str(invalid))
            return
        match version:
            case PolicyVersion():
                self._policies[version.version] = version
                self._compiled.pop(version.version, None)
            case TemplateVersion():
                self._templates.setdefault(version.template.id, {})[version.version] = version
        if self._started:
            self._swap()

    def _swap(self) -> None:
        catalog = self._build()
        if catalog != self._catalog:
            self._catalog = catalog
            if self._on_change is not None:
                self._on_change(catalog)

    def _build(self) -> Catalog:
        newest = {name: versions[max(versions)] for name, versions in self._templates.items()}
        policy, version = self._policy_in_force()
        return Catalog(policy, version, {**self._default.templates, **newest})

    def _policy_in_force(self) -> tuple[Policy, int]:
        for version in sorted(self._policies, reverse=True):
            if (policy := self._usable(version)) is not None:
                return policy, version
        return self._default.policy, self._default.policy_version

    def _usable(self, version: int) -> Policy | None:
        if version not in self._compiled:
            try:
                self._compiled[version] = parse_policy(self._policies[version].text)
            except PolicyError as error:
                self._compiled[version] = None
                log.error("a policy can't be used", version=version, reason=str(error))
        return self._compiled[version]
