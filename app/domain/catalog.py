"""What is in force: one policy and the templates, a snapshot that is replaced as a whole between batches."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.policy import Policy
from schemas.config import TemplateVersion
from schemas.words import Channel


@dataclass(frozen=True, slots=True)
class Catalog:
    policy: Policy
    policy_version: int
    #: The versions in force, by id.
    templates: Mapping[str, TemplateVersion]

    def template(self, template_id: str) -> TemplateVersion | None:
        """None for an unknown or deleted one."""
        found = self.templates.get(template_id)
        return None if found is None or found.deleted else found

    def channels_of_template(self, template_id: str) -> frozenset[Channel]:
        """The channels that the template has, in any variant; none for an unknown one."""
        found = self.template(template_id)
        if found is None:
            return frozenset()
        variants = found.template.variants or []
        return frozenset(found.template.channels).union(*(variant.channels for variant in variants))
