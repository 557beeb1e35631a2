"""What a role says of an erasure: its part of the certificate."""

from typing import Any

from schemas.instants import rfc3339
from tables.knowledge import Knowledge


def certificate(known: Knowledge, erasure_id: str) -> dict[str, Any] | None:
    """What was erased when, and what remains; None for an erasure that this partition knows nothing of."""
    at_ms = known.erased_at(erasure_id)
    if at_ms is None:
        return None
    return {
        "erasure_id": erasure_id,
        "erased_at": rfc3339(at_ms),
        "deleted": ["profile", "devices", "preferences", "consents", "caps", "whatever waited, with its content"],
        "remains": [
            "a hash of the user id, until a profile.set",
            "ids of notifications, as long as they are remembered",
        ],
    }
