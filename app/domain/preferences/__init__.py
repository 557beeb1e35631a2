"""Preferences, consent and do-not-disturb: what a user lets through."""

from app.domain.preferences.document import parse_preferences
from app.domain.preferences.rules import (
    NO_PREFERENCES,
    Answer,
    Dnd,
    Limit,
    OwnHours,
    Preferences,
    Refused,
    caps_in_force,
    check_digest_choice,
    dnd_active,
    evaluate_consent,
    evaluate_preference,
    hours_in_force,
    own_cap_name,
    rhythm_in_force,
    unsubscribed,
)

__all__ = [
    "NO_PREFERENCES",
    "Answer",
    "Dnd",
    "Limit",
    "OwnHours",
    "Preferences",
    "Refused",
    "caps_in_force",
    "check_digest_choice",
    "dnd_active",
    "evaluate_consent",
    "evaluate_preference",
    "hours_in_force",
    "own_cap_name",
    "parse_preferences",
    "rhythm_in_force",
    "unsubscribed",
]
