"""The policy and the templates in force, as notify_config has them: followed from its start by every process."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from app.defaults import default_policy_text
from app.domain.bounds import DEFAULT_BOUNDS, Bounds
from app.domain.catalog import Catalog, default_catalog
from app.domain.policy import Policy, PolicyError, parse_policy
from app.ports import Guard, LogRecord
from app.store.follower import TopicFollower
from schemas.config import ConfigRecord, PolicyVersion, TemplateVersion, read_config
from schemas.decode import Invalid
from schemas.topics import CONFIG

log = structlog.get_logger(__name__)

#: The limit to judging one policy. Any that its author could put takes less than a second, alone on a core.
COMPILED_S = 60.0


class ConfigFollower:
    """In force is the newest version that can be used: one that can't is logged, and the one before it stays. Of two
    records of one version the first counts: who wrote the second learns it and takes another number.

    ``on_change`` is called with each new catalog, but not for what was there at the start.
    """

    def __init__(
        self,
        client_options: Mapping[str, Any],
        on_change: Callable[[Catalog], None] | None = None,
        bounds: Bounds = DEFAULT_BOUNDS,
        guard: Guard | None = None,
    ) -> None:
        self._follower = TopicFollower(client_options, CONFIG, self._take, self._settle, guard)
        self._on_change = on_change
        self._started = False
        self._default = default_catalog(bounds)
        self._policies: dict[int, PolicyVersion] = {}
        #: By version; None: it can't be used.
        self._compiled: dict[int, Policy | None] = {}
        self._templates: dict[str, dict[int, TemplateVersion]] = {}
        self._catalog = self._default

    async def start(self) -> None:
        """Returns when all that was in the topic is in the catalog. Raises KafkaError, LookupError for no topic."""
        await self._follower.start()
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

    def policies(self) -> list[PolicyVersion]:
        """All versions that were written, newest first, and the default one, which has the number 0."""
        default = PolicyVersion(
            version=self._default.policy_version, text=default_policy_text(), at="1970-01-01T00:00:00Z"
        )
        known = {default.version: default} | self._policies
        return [known[number] for number in sorted(known, reverse=True)]

    def first_of(self, version: ConfigRecord) -> ConfigRecord:
        """The record that has the number of this one, which was read: this one or another that came before it."""
        match version:
            case PolicyVersion():
                return self._policies[version.version]
            case TemplateVersion():
                return self._templates[version.template.id][version.version]

    def versions(self, template_id: str) -> list[TemplateVersion]:
        """All versions of a template, oldest first; none for an unknown one."""
        versions = self._templates.get(template_id, {})
        return [versions[number] for number in sorted(versions)]

    async def apply(self, record: LogRecord) -> Catalog:
        """Takes one more record, instead of following; returns what is in force then."""
        self._take(record)
        await self._settle()
        return self._catalog

    def _take(self, record: LogRecord) -> None:
        if record.value is None:
            return
        try:
            version = read_config(record.value)
        except Invalid as invalid:
            log.error("can't read a version", offset=record.offset, reason=str(invalid))
            return
        match version:
            case PolicyVersion():
                self._policies.setdefault(version.version, version)
            case TemplateVersion():
                self._templates.setdefault(version.template.id, {}).setdefault(version.version, version)

    async def _settle(self) -> None:
        policy, version = await self._policy_in_force()
        newest = {name: versions[max(versions)] for name, versions in self._templates.items()}
        known = {name: {template.version: template} for name, template in self._default.templates.items()}
        versions = known | {name: {**known.get(name, {}), **its} for name, its in self._templates.items()}
        templates = {**self._default.templates, **newest}
        texts = {self._default.policy_version: default_policy_text()}
        texts |= {number: written.text for number, written in self._policies.items()}
        catalog = Catalog(policy, version, templates, self._default.bounds, versions, texts, self._compiled)
        if catalog != self._catalog:
            self._catalog = catalog
            if self._started and self._on_change is not None:
                self._on_change(catalog)

    async def _policy_in_force(self) -> tuple[Policy, int]:
        for version in sorted(self._policies, reverse=True):
            if (policy := await self._usable(version)) is not None:
                return policy, version
        return self._default.policy, self._default.policy_version

    async def _usable(self, version: int) -> Policy | None:
        if version not in self._compiled:
            text = self._policies[version].text
            try:  # beside the loop: a large one takes most of a second
                async with asyncio.timeout(COMPILED_S):
                    self._compiled[version] = await asyncio.to_thread(parse_policy, text, stored=True)
            except PolicyError as error:
                self._compiled[version] = None
                log.error("can't use a policy", version=version, reason=str(error))
            except Exception as error:  # a bug, or far too long: the version before stays
                self._compiled[version] = None
                log.error("can't use a policy", version=version, reason=type(error).__name__)
        return self._compiled[version]
