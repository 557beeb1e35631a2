"""What is in force: one policy, the templates, what the settings allow: a snapshot that is replaced as a whole between
batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from app.defaults import default_policy_text, default_templates
from app.domain.bounds import DEFAULT_BOUNDS, Bounds
from app.domain.policy import Policy, PolicyError, parse_policy
from schemas.config import TemplateVersion
from schemas.words import Channel


@dataclass(frozen=True, slots=True)
class Catalog:
    policy: Policy
    policy_version: int
    #: The versions in force, by id.
    templates: Mapping[str, TemplateVersion]
    bounds: Bounds = DEFAULT_BOUNDS
    #: All that are known, by id and version: a send keeps the one that its first call rendered.
    versions: Mapping[str, Mapping[int, TemplateVersion]] = field(default_factory=dict, compare=False, repr=False)
    #: The texts of all policies that are known, by version, and what was read of them (None: it can't be used).
    policy_texts: Mapping[int, str] = field(default_factory=dict, compare=False, repr=False)
    _policies: dict[int, Policy | None] = field(default_factory=dict, compare=False, repr=False)
    _channels: dict[str, frozenset[Channel]] = field(default_factory=dict, compare=False, repr=False)
    _mark: list[bytes] = field(default_factory=list, compare=False, repr=False)

    def template(self, template_id: str) -> TemplateVersion | None:
        """None for an unknown or deleted one."""
        found = self.templates.get(template_id)
        return None if found is None or found.deleted else found

    def template_at(self, template_id: str, version: int) -> TemplateVersion | None:
        """That version, whatever is in force now; None where it isn't kept."""
        newest = self.templates.get(template_id)
        if newest is not None and newest.version == version:
            return newest
        return self.versions.get(template_id, {}).get(version)

    def policy_at(self, version: int) -> Policy | None:
        """The policy of that version, whatever is in force now; None where it isn't kept, or can't be used."""
        if version == self.policy_version:
            return self.policy
        if version not in self._policies and version in self.policy_texts:
            try:
                self._policies[version] = parse_policy(self.policy_texts[version], stored=True)
            except PolicyError:
                self._policies[version] = None
        return self._policies.get(version)

    @property
    def mark(self) -> bytes:
        """Names what is in force: the policy's version and that of each template; and what is traced, as sends carry
        it."""
        if not self._mark:
            versions = sorted((name, its.version) for name, its in self.templates.items())
            traced = () if self.bounds.traced is None else (self.bounds.traced,)
            text = repr((self.policy_version, versions, *traced))
            self._mark.append(blake2b(text.encode(), digest_size=8).digest())
        return self._mark[0]

    def channels_of_template(self, template_id: str) -> frozenset[Channel]:
        """The channels that the template has, in any variant; none for an unknown one."""
        channels = self._channels.get(template_id)
        if channels is None:
            found = self.template(template_id)
            if found is None:
                return frozenset()
            variants = found.template.variants or []
            channels = frozenset(found.template.channels).union(*(variant.channels for variant in variants))
            self._channels[template_id] = channels
        return channels


def default_catalog(bounds: Bounds = DEFAULT_BOUNDS) -> Catalog:
    """What is in force until somebody applies a policy: version 0 of the policy and of each template."""
    templates = {
        identity: TemplateVersion(version=0, template=template, at="1970-01-01T00:00:00Z")
        for identity, template in default_templates().items()
    }
    return Catalog(parse_policy(default_policy_text(), templates=templates), 0, templates, bounds)
