"""The words of the records that the checker judges, written down here a second time so that nothing is shared."""

import uuid

WAITS = frozenset(("scheduled", "held"))
ENDS = frozenset(("sent", "suppressed", "failed", "expired", "cancelled", "aggregated", "unknown"))
CAME_BACK = frozenset(("delivered", "opened", "clicked", "seen", "read", "bounced", "complained", "unsubscribed"))
#: Of a shown status, which never moves back but into or out of a hold. What came back stands beside it.
RANK = {
    **dict.fromkeys(("accepted", "repeated"), 0),
    **dict.fromkeys(WAITS, 1),
    "queued": 2,
    **dict.fromkeys(("sending", "in_doubt", "retrying"), 3),
    **dict.fromkeys(ENDS, 4),
}

#: The channels whose sends are calls to a provider.
CALLED = frozenset(("push", "email", "sms"))
#: What DND and quiet hours may stop.
DND_STOPS = CALLED

#: Where the text of a wait's time stands.
STATED = {"held": ("until", "due"), "scheduled": ("until", "due"), "retrying": ("retry_at",), "in_doubt": ("until",)}
#: Waits whose end depends on what else happens, so that they have no time.
UNTIMED = frozenset(("rate_cap",))

#: What ``detail`` may hold, and nothing else.
DETAIL_KEYS = frozenset(
    (
        *("of", "differs", "by", "into", "cap", "used_by", "until", "due", "retry_at", "error", "latency_ms"),
        *("device_id", "trail", "origin", "claimed_at", "segments", "machine"),
    )
)

EVENT_TOPICS = frozenset(("notify_events_critical", "notify_events", "notify_events_bulk"))
COMMANDS, LIFECYCLE, DEAD = "notify_commands", "notify_lifecycle", "notify_dead"
SEND_TOPICS = frozenset(
    f"notify_send_{channel}{lane}"
    for channel in ("push", "email", "sms", "in_app")
    for lane in ("", "_critical", "_bulk")
)
TOPICS = frozenset((*EVENT_TOPICS, *SEND_TOPICS, COMMANDS, LIFECYCLE, DEAD))

#: Provider codes that say "later" or "your settings are wrong": such a refusal uses no attempt up.
NO_ATTEMPT = frozenset(
    (
        *("throttle", "config"),
        *("TooManyRequests", "TooManyProviderTokenUpdates", "ExpiredProviderToken", "InvalidProviderToken"),
        *("MissingProviderToken", "BadCertificate", "BadCertificateEnvironment"),
        *("QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED", "THIRD_PARTY_AUTH_ERROR"),
        *("TooManyRequestsException", "Throttling", "ThrottlingException", "LimitExceededException"),
        *("MailFromDomainNotVerifiedException", "AccountSuspendedException", "SendingPausedException"),
        *("InvalidClientTokenId", "SignatureDoesNotMatch", "AccessDeniedException"),
        *("429", "20429", "20003", "14107"),
    )
)

#: The sandbox's faults after which a caller has no answer, or none that it can read.
LOSING = frozenset(
    (
        *("hang", "accept_and_hang", "reset", "accept_and_reset", "reset_stream", "accept_and_reset_stream"),
        *("refuse_stream", "answer"),
    )
)
#: Of these, those that take a connection with all that is under way on it.
SWEEPING = frozenset(("reset", "accept_and_reset"))

_KEYED = uuid.UUID("6f1c9a52-0d57-5b0e-9a39-5f5c1d3f7a10")


def keyed_id(source: str, key: str) -> str:
    """The notification id of a request with a key."""
    return str(uuid.uuid5(_KEYED, f"{source}\n{key}"))
