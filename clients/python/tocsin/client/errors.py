"""What can go wrong, as exceptions: a refusal carries the gateway's problem document (RFC 9457)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec


class TocsinError(Exception):
    """Whatever a call of the client raises."""


class Unreachable(TocsinError):
    """No answer came in time. ``is_in_doubt``: the call may have taken effect."""

    def __init__(self, detail: str, *, is_in_doubt: bool) -> None:
        super().__init__(f"{detail}; it {'may have been taken' if is_in_doubt else 'was not taken'}")
        self.detail = detail
        self.is_in_doubt = is_in_doubt


class BadAnswer(TocsinError):
    """An answer that isn't the gateway's: another server's, or of an API that has changed."""


class WebhookError(TocsinError):
    """A call that isn't known to be Tocsin's: answer it with 401, and don't read it."""


class ProblemError(TocsinError):
    """The gateway refused it. ``field``: what is to blame; ``errors``: of a policy, ``{line, path, message, remedy}``;
    ``document``: the whole problem. ``retry_after_s``: when it may be called again, as the gateway says."""

    #: The status that it is raised for.
    of: ClassVar[int | None] = None

    def __init__(self, status: int, document: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.status = status
        self.document = dict(document)
        self.type = str(document.get("type", "about:blank"))
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.field: str | None = document.get("field")
        self.errors: list[dict[str, Any]] = document.get("errors") or []
        self.retry_after_s = retry_after_s
        where = f"{self.field}: " if self.field else ""
        super().__init__(f"{where}{self.detail or self.title or 'no reason given'} ({status})")


class Malformed(ProblemError):
    """400: not what it has to be: a wrong type, a missing field."""

    of = 400


class Unauthorized(ProblemError):
    """401: no or bad credentials."""

    of = 401


class Forbidden(ProblemError):
    """403: another's, or beyond the key's scopes."""

    of = 403


class NotFound(ProblemError):
    """404."""

    of = 404


class Conflict(ProblemError):
    """409: there is one already, or it has ended."""

    of = 409


class TooLarge(ProblemError):
    """413."""

    of = 413


class Refused(ProblemError):
    """422: read, and refused by a rule."""

    of = 422


class TooMany(ProblemError):
    """429: too much, or too often."""

    of = 429


class Unavailable(ProblemError):
    """503: not now. Without an idempotency key it may have been taken."""

    of = 503


_BY_STATUS: dict[int, type[ProblemError]] = {
    kind.of: kind
    for kind in (Malformed, Unauthorized, Forbidden, NotFound, Conflict, TooLarge, Refused, TooMany, Unavailable)
    if kind.of is not None
}


def problem_of(status: int, document: Mapping[str, Any], retry_after_s: float | None = None) -> ProblemError:
    """The exception of a problem document."""
    return _BY_STATUS.get(status, ProblemError)(status, document, retry_after_s)


def problem_of_answer(status: int, body: bytes, retry_after_s: float | None = None) -> ProblemError:
    """Of an answer's body, which may be another's: a proxy's page."""
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        document = {"detail": "the answer is not the gateway's: is something in between?"}
    return problem_of(status, document, retry_after_s)
