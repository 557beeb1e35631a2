"""Whether a send was out in time, for the service level of its category (``slo_total``)."""

from schemas.words import Status

#: The ends that count: what a user, a rule or a service stopped was never due.
MEASURED: frozenset[Status] = frozenset(("sent", "failed", "expired", "unknown"))


def is_within(status: Status, took_ms: int, target_ms: int | None) -> bool | None:
    """``took_ms``: from ``accepted``, or from the end of the last wait that a rule asked for, to the end. None: it
    counts for no service level."""
    if target_ms is None or status not in MEASURED:
        return None
    return status == "sent" and took_ms <= target_ms
