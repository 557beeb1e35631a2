"""preferences: what a user wants to get where and when, and what they consented to."""

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from app.domain.merge import merge_patch
from app.domain.policy import Policy
from app.domain.preferences import NO_PREFERENCES, Preferences, parse_preferences, unsubscribed
from schemas.commands import ConsentSet, PreferencesUnsubscribe
from schemas.decode import TooLarge
from schemas.instants import parse_ms
from schemas.words import Channel
from tables.table import TableSpec

#: As compact JSON.
MAX_DOCUMENT_BYTES = 32 * 1024
#: What a document may have beyond that of opt-outs by links.
ROOM_FOR_OPT_OUTS = 16 * 1024
#: Consents of one user, and the evidence of all of them. A withdrawal is always taken, if need be without its evidence.
MAX_CONSENTS = 500
MAX_ALL_EVIDENCE_BYTES = 256 * 1024


class Grant(Struct, frozen=True, array_like=True, gc=False):
    """A consent that was granted and is withdrawn now: what shows that sends before the withdrawal were allowed."""

    at_ms: int
    evidence: bytes


class Consent(Struct, frozen=True, array_like=True, gc=False):
    """What the user said last of a channel and category. ``evidence``: what was given as proof, as JSON."""

    channel: Channel
    category: str
    granted: bool
    at_ms: int
    evidence: bytes = b"null"
    #: Of a withdrawn one: what it withdrew.
    grant: Grant | None = None


class StoredPreferences(Struct, frozen=True, array_like=True, gc=False):
    """A user's preferences, the JSON document they were said in, and consents."""

    preferences: Preferences = NO_PREFERENCES
    document: bytes = b"{}"
    consents: tuple[Consent, ...] = ()

    def consent(self, channel: Channel, category: str) -> bool | None:
        """True granted, False withdrawn, None never said."""
        for consent in self.consents:
            if consent.channel == channel and consent.category == category:
                return consent.granted
        return None


NO_WISHES = StoredPreferences()

PREFERENCES: TableSpec[StoredPreferences] = TableSpec("preferences", StoredPreferences, kept=800)


def with_document(old: StoredPreferences, document: dict[str, Any]) -> StoredPreferences:
    """Replaces the whole document. Raises Invalid with the field."""
    encoded = msgspec.json.encode(document)
    if len(encoded) > MAX_DOCUMENT_BYTES:
        raise TooLarge("is larger than 32 KiB as compact JSON", "preferences")
    return replace(old, preferences=parse_preferences(document), document=encoded)


def with_patch(old: StoredPreferences, patch: dict[str, Any]) -> StoredPreferences:
    """Merges a part into the document as RFC 7396. Raises Invalid with the field."""
    return with_document(old, merge_patch(document_of(old), patch))


def without(old: StoredPreferences, message: PreferencesUnsubscribe, policy: Policy | None) -> StoredPreferences:
    """Opts out of a category on a channel. An opt-out is taken even where the document has no more room."""
    document = unsubscribed(document_of(old), message.category, message.channel, policy)
    encoded = msgspec.json.encode(document)
    if len(encoded) > MAX_DOCUMENT_BYTES + ROOM_FOR_OPT_OUTS:
        raise TooLarge("is larger than 32 KiB as compact JSON", "preferences")
    return replace(old, preferences=parse_preferences(document), document=encoded)


def document_of(wishes: StoredPreferences) -> dict[str, Any]:
    """The document, in a form that is still taken: earlier revisions let a day be named twice."""
    document: dict[str, Any] = msgspec.json.decode(wishes.document)
    hours = document.get("quiet_hours")
    if isinstance(hours, dict) and isinstance(hours.get("days"), list):
        document["quiet_hours"] = {**hours, "days": list(dict.fromkeys(hours["days"]))}
    return document


def with_consent(old: StoredPreferences, message: ConsentSet) -> StoredPreferences:
    """Takes what was said last of the channel and category; a withdrawal keeps the grant's evidence. Raises Invalid."""
    evidence = msgspec.json.encode(message.evidence)
    before = next((c for c in old.consents if (c.channel, c.category) == (message.channel, message.category)), None)
    grant = None if message.granted or before is None else _grant_of(before)
    consent = Consent(message.channel, message.category, message.granted, parse_ms(message.at), evidence, grant)
    others = tuple(c for c in old.consents if c is not before)
    if len(others) >= MAX_CONSENTS:
        raise TooLarge(f"exceeds the {MAX_CONSENTS} consents that a user may have", "category")
    if sum(map(_evidence_bytes, (*others, consent))) > MAX_ALL_EVIDENCE_BYTES:
        if message.granted:
            raise TooLarge("exceeds 256 KiB together with the user's other consents", "evidence")
        consent = replace(consent, evidence=b"null")
    return replace(old, consents=(*others, consent))


def _evidence_bytes(consent: Consent) -> int:
    return len(consent.evidence) + (len(consent.grant.evidence) if consent.grant is not None else 0)


def _grant_of(consent: Consent) -> Grant | None:
    return Grant(consent.at_ms, consent.evidence) if consent.granted else consent.grant
