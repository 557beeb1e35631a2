"""What the vendors' wires have in common: time limits, TLS, Retry-After, and outcomes that need no vendor's words."""

import ssl
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

from app.domain.outcome import Outcome, OutcomeKind

#: Seconds until a connection (TCP and TLS) must stand.
CONNECT_S = 3.0


def tls_context(ca_file: Path | None, protocol: Literal["http/1.1", "h2"] = "http/1.1") -> ssl.SSLContext:
    """Verifies servers against ``ca_file``, or against the system's authorities when there is none, and asks for
    ``protocol``.

    Raises:
        ValueError: the file can't be read or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:
        raise ValueError(f"ca_file: {ca_file}: not a readable PEM file of certificates") from error
    context.set_alpn_protocols([protocol])
    return context


def retry_after_ms(header: str | None, now_s: float) -> int | None:
    """Milliseconds that a ``Retry-After`` header (seconds or a date) asks to wait; None if absent or nonsense."""
    if not header:
        return None
    try:
        wait_s = float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - now_s
    except ValueError:
        return None
    return max(0, round(wait_s * 1000))


def not_sent(code: str) -> Outcome:
    """The request never left, or certainly was not processed."""
    return Outcome("retry", code=code)


def lost(doubt: Literal["timeout", "connection_lost"], code: str | None = None) -> Outcome:
    """The request left and its answer didn't come."""
    return Outcome("in_doubt", code=code, doubt=doubt)


def dropped(code: str, why: Literal["permanent", "too_large", "opted_out"] = "permanent") -> Outcome:
    """This message can never work."""
    return Outcome("drop", code=code, why=why)


def answered(kind: OutcomeKind, code: str, retry_after: int | None = None) -> Outcome:
    """A refusal of ``kind``; ``retry_after`` in milliseconds."""
    match kind:
        case "drop":
            return dropped(code)
        case "in_doubt":
            return lost("connection_lost", code)
        case "retry" | "throttle":
            return Outcome(kind, code=code, retry_after_ms=retry_after)
        case _:
            return Outcome(kind, code=code)


def kind_of_status(status: int) -> OutcomeKind:
    """What an HTTP status means where the vendor gave no code that its table knows."""
    match status:
        case 401 | 403 | 404:  # a path of ours that isn't there is a wrong base URL, not a wrong message
            return "config"
        case 429:
            return "throttle"
        case _ if 400 <= status < 500:
            return "drop"
        case _:
            return "in_doubt"
