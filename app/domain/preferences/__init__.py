"""Preferences, consent and do-not-disturb: what a user lets through."""

from app.domain.preferences.document import parse_preferences
from app.domain.preferences.rules import (
    NO_PREFERENCES,
    Answer,
    Dnd,
    OwnHours,
    Preferences,
    Refused,
    check_digest_choice,
    dnd_active,
    hours_in_force,
    judge_consent,
    judge_preference,
    rhythm_in_force,
    unsubscribed,
)

__all__ = [
    "NO_PREFERENCES",
    "Answer",
    "Dnd",
    "OwnHours",
    "Preferences",
    "Refused",
    "check_digest_choice",
    "dnd_active",
    "hours_in_force",
    "judge_consent",
    "judge_preference",
    "parse_preferences",
    "rhythm_in_force",
    "unsubscribed",
]
